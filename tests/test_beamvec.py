"""What is public."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

import beamvec


@pytest.mark.parametrize("name", beamvec.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(beamvec, name)
    assert name in dir(beamvec)
    if name != "__version__":
        assert value.__doc__
        assert value.__module__.startswith("beamvec.")


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = beamvec.nothing


def test_public_names_are_sorted_and_named_once():
    assert beamvec.__all__ == sorted(set(beamvec.__all__))


def test_the_version_is_one_that_setup_can_read():
    assert re.fullmatch(r"\d+\.\d+\.\d+", beamvec.__version__)


def loaded_by(code: str) -> list[str]:
    """Return which of the large packages a new Python has loaded after some code."""
    known = ["apache_beam", "tensorflow", "pyarrow", "numpy", "PIL"]
    code += f"\nimport json, sys\nprint(json.dumps([m for m in {known} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_importing_it_loads_nothing_large():
    assert loaded_by("import beamvec; dir(beamvec); beamvec.DatasetError") == []


def test_opening_datasets_needs_numpy_and_pyarrow_only():
    assert loaded_by("from beamvec import open_dataset") == ["pyarrow", "numpy"]


def test_scripts_of_the_user_s_in_the_working_folder_are_no_libraries(tmp_path, photos, model_path):
    for name in ("calendar", "json", "numpy", "pandas", "python", "queue", "string", "tensorflow"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('mine')")
    flags = ["--model", model_path, "--output", "out", "--max-failure-ratio", "1"]
    command = [sys.executable, "-m", "beamvec", "extract", "--input", str(photos), *flags]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "embedded     21" in done.stdout
