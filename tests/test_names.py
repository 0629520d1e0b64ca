"""beamvec among modules of others that have the names of its folders, and how it is packaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import hash_files

ROOT = Path(__file__).parents[1]
FOREIGN = ("pipeline", "transforms", "embeddings", "run", "config", "commands", "records", "files")


@pytest.fixture
def strangers(tmp_path):
    """A folder full of packages and modules that fail when they are imported."""
    folder = tmp_path / "strangers"
    for name in FOREIGN:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise SystemExit('{name} of a stranger')\n")
    modules = tmp_path / "modules"
    modules.mkdir()
    for name in FOREIGN:
        (modules / f"{name}.py").write_text(f"raise SystemExit('{name}.py of a stranger')\n")
    return folder, {**os.environ, "PYTHONPATH": os.pathsep.join([str(modules), str(ROOT)])}


def run(strangers, *command: str | Path) -> str:
    folder, env = strangers
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_command_works_among_strangers(strangers, photos, model_path, tmp_path):
    beamvec = [sys.executable, "-m", "beamvec"]
    out, image = tmp_path / "out", photos / "group0" / "00.jpg"
    extract = ["extract", "--input", photos / "group0", "--model", model_path, "--output", out]
    run(strangers, *beamvec, "doctor", *extract[1:])
    run(strangers, *beamvec, *extract)
    run(strangers, *beamvec, "inspect", out, "--verify")
    run(strangers, *beamvec, "search", out, "--image", image, "--model", model_path)
    run(strangers, *beamvec, "duplicates", out)
    run(strangers, *beamvec, "model", "check", model_path)
    code = f"import beamvec; print(beamvec.open_dataset({str(out)!r}).read_vectors().shape)"
    assert run(strangers, sys.executable, "-c", code).strip() == "(11, 16)"


def test_worker_processes_work_among_strangers(strangers, extract, photos, model_path, tmp_path):
    extract("--input", photos / "group0", output=tmp_path / "reference")
    beamvec = [sys.executable, "-m", "beamvec", "extract", "--input", photos / "group0"]
    beamvec += ["--model", model_path, "--output", tmp_path / "out", "--chunk-size", "3"]
    run(strangers, *beamvec, "--direct_running_mode=multi_processing", "--direct_num_workers=2")
    assert hash_files(tmp_path / "out") == hash_files(tmp_path / "reference")


def test_a_pipeline_of_others_works_among_strangers(strangers, photos, model_path, tmp_path):
    script = ROOT / "examples" / "embed_to_parquet.py"
    image = photos / "group0" / "00.jpg"
    run(
        strangers,
        sys.executable,
        script,
        model_path,
        tmp_path / "out",
        image,
        "--runner=FnApiRunner",
    )
    assert next((tmp_path / "out").glob("embeddings*"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What is in the repository, as a clone has it."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("beamvec", "pipeline", "transforms", "embeddings"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def build(source, target, *command):
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, *command, *options, str(source)], cwd=target, check=True)


def modules(names):
    return {name for name in names if name.endswith(".py")}


def tracked():
    folders = ("pipeline", "transforms", "embeddings")
    own = {f"beamvec/{file.name}" for file in (ROOT / "beamvec").glob("*.py")}
    return own | {
        f"beamvec/{file.relative_to(ROOT)}"
        for folder in folders
        for file in (ROOT / folder).rglob("*.py")
    }


def test_the_wheel_holds_beamvec_only_and_all_of_it(source, tmp_path):
    build(source, tmp_path, "wheel")
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"beamvec"}
    assert modules(names) == tracked()
    assert {"beamvec/py.typed", "beamvec/pipeline/pages/templates/base.html"} <= set(names)


def test_a_wheel_works_where_it_is_installed(source, tmp_path, photos, model_path):
    build(source, tmp_path, "install", "--target", "site")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import beamvec;"
        "assert beamvec.__file__.startswith(sys.argv[1]), beamvec.__file__;"
        "run = beamvec.extract(sys.argv[2], output='out', model=sys.argv[3]);"
        "assert run.counts.embeddings == 11, run"
    )
    command = [sys.executable, "-c", code, tmp_path / "site", photos / "group0", model_path]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_the_source_distribution_builds_the_same_wheel(source, tmp_path):
    sdist = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", tmp_path]
    subprocess.run(sdist, cwd=source, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.glob("beamvec-*") if path.is_dir())
    build(unpacked, tmp_path, "wheel")
    (wheel,) = tmp_path.glob("*.whl")
    assert modules(zipfile.ZipFile(wheel).namelist()) == tracked()


def test_importing_it_is_light():
    code = (
        "import sys, beamvec; beamvec.open_dataset; beamvec.ModelError;"
        "heavy = {'apache_beam', 'tensorflow', 'pandas', 'PIL'} & sys.modules.keys();"
        "sys.exit(f'{heavy} are imported' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there():
    import beamvec

    for name in beamvec.__all__:
        assert getattr(beamvec, name) is not None
    assert set(beamvec.__all__) <= set(dir(beamvec))
    with pytest.raises(AttributeError, match="no attribute 'extrac'"):
        _ = beamvec.extrac
