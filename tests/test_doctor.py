"""`beamvec doctor`: a line for each thing, exit code 0 or 2, and nothing left behind."""

from __future__ import annotations

from importlib import metadata

import pytest

from beamvec.pipeline.commands.main import main


@pytest.fixture
def doctor(capsys):
    """Run `beamvec doctor`; return its exit code, and mark and text of each check by name."""

    def run(*flags):
        code = main(["doctor", *map(str, flags)])
        lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()[:-1]]
        return code, {name: (mark, text) for mark, name, text in lines}

    return run


def test_what_is_fit(doctor, photos, model_path, tmp_path):
    flags = ["--input", photos / "group0", "--output", tmp_path / "new" / "out"]
    code, found = doctor(*flags, "--model", model_path)
    assert code == 0
    assert {mark for mark, _ in found.values()} == {"ok"}
    assert {"python", "apache-beam", "tensorflow", "cpu", "gpu", "runner"} < set(found)
    assert "openvino" not in found
    assert found["apache-beam"][1].startswith(metadata.version("apache-beam"))
    assert str(photos / "group0") in found["input"][1]
    assert "are free" in found["output"][1]
    assert "32x32 pixels to 16 numbers" in found["model"][1]
    assert "embedded the first image" in found["model"][1]
    assert not (tmp_path / "new").exists()


def test_what_is_not_given_is_not_checked(doctor, model_path):
    code, found = doctor("--model", model_path)
    assert code == 0
    assert [name for name, (mark, _) in found.items() if mark == "-"] == ["input", "output"]
    assert "embedded a black image" in found["model"][1]


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        ("flags", ["--batch-size", "1"], "--batch-size 1 is out of range; it takes 2 to 4096"),
        ("flags", ["--runer", "X"], "unknown argument --runer; did you mean --runner?"),
        ("input", ["--input", "/nowhere"], "--input /nowhere: no such file or folder"),
        ("input", ["--manifest", "/nowhere.csv"], "/nowhere.csv"),
        ("output", ["--output", "/dev/null/out"], "cannot write to /dev/null"),
        ("runner", ["--runner", "Nobody"], "--runner Nobody"),
        ("model", ["--model", "/nowhere"], "no model at /nowhere"),
        ("model", ["--precision", "float16"], "--precision float16 needs a GPU"),
    ],
)
def test_what_is_not_fit_says_so_in_its_line(doctor, model_path, name, flags, expected):
    code, found = doctor("--model", model_path, *flags)
    assert code == 2
    assert found[name][0] == "FAIL"
    assert expected in found[name][1]


def test_a_first_image_that_cannot_be_read_fails_and_a_broken_one_does_not(
    doctor, model_path, tmp_path
):
    images = tmp_path / "list.txt"
    images.write_text(f"{tmp_path}/missing.jpg\n")
    code, found = doctor("--model", model_path, "--input-list", images)
    assert code == 2
    assert "missing.jpg" in found["input"][1]
    (tmp_path / "missing.jpg").write_bytes(b"no image")
    code, found = doctor("--model", model_path, "--input-list", images)
    assert code == 0
    assert "the first one of the input fails" in found["model"][1]


def test_versions_outside_the_tested_range_and_missing_packages(doctor, model_path, monkeypatch):
    versions = {"numpy": "1.26.4", "tqdm": None}

    def version(name):
        if versions.get(name, "") is None:
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or metadata.version(name)

    monkeypatch.setattr("beamvec.pipeline.commands.doctor.version", version)
    code, found = doctor("--model", model_path)
    assert code == 2
    assert [name for name, (mark, _) in found.items() if mark == "FAIL"] == ["numpy", "tqdm"]
    assert found["numpy"][1].startswith("1.26.4 is outside the tested range: pip install 'numpy")
    assert found["tqdm"][1].startswith("not installed: pip install 'tqdm")
