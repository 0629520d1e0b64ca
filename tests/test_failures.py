"""`beamvec failures`: the list of what could not be embedded, and copies of it."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import tarfile

import numpy as np
import pytest

import samples
from beamvec.pipeline.commands.main import main


@pytest.fixture
def failed(extract, photos, tmp_path, capsys):
    """A dataset with two failures."""
    extract("--input", photos, "--max-failure-ratio", "1")
    capsys.readouterr()
    return str(tmp_path / "out")


def test_each_failure_is_a_line(failed, photos, capsys):
    assert main(["failures", failed]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"decode  {photos / 'broken.jpg'}  ")
    assert second.startswith(f"decode  {photos / 'empty.png'}  ")
    assert second.endswith("the file is empty")


def test_csv_and_json_have_all_columns(failed, capsys):
    assert main(["failures", failed, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert main(["failures", failed, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [list(row) for row in (*rows, *found)] == 4 * [
        ["uri", "stage", "error_type", "message", "size_bytes"]
    ]
    assert [row["uri"] for row in rows] == [row["uri"] for row in found]
    assert found[1]["size_bytes"] == 0


def test_stages_can_be_chosen(failed, capsys):
    assert main(["failures", failed, "--stage", "read", "--stage", "infer"]) == 0
    assert capsys.readouterr().out == "no failures of stage read or infer\n"
    assert main(["failures", failed, "--stage", "decode"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["failures", failed, "--stage", "decod"]) == 2


def test_no_failures_are_none(tmp_path, capsys):
    samples.write_dataset(tmp_path / "d", np.ones((3, 2), np.float32))
    assert main(["failures", str(tmp_path / "d")]) == 0
    assert capsys.readouterr().out == "no failures\n"
    assert main(["failures", str(tmp_path / "d"), "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_copies_overwrite_nothing_and_are_told_apart(extract, tmp_path, capsys):
    for folder in "abc":
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "x.jpg").write_bytes(folder.encode() * 9)
    extract("--input", tmp_path / "in", "--max-failure-ratio", "1")
    to = tmp_path / "copies"
    to.mkdir()
    (to / "x.jpg").write_text("mine")
    (to / "x-2.jpg").symlink_to(tmp_path / "nowhere")
    command = ["failures", str(tmp_path / "out"), "--json", "--copy-to", str(to)]
    capsys.readouterr()
    assert main(command) == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)
    assert {row["copied_to"].rpartition("/")[2] for row in rows} == {
        *("x-3.jpg", "x-4.jpg", "x-5.jpg")
    }
    for row in rows:
        with open(row["uri"], "rb") as image, open(row["copied_to"], "rb") as copy:
            assert image.read() == copy.read()
    assert shown.err == f"copied 3 of 3 images to {to}\n"
    assert (to / "x.jpg").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    assert main(command) == 0  # A second time finds them.
    assert len(list(to.iterdir())) == 5


def test_what_is_gone_is_counted(failed, photos, tmp_path, capsys):
    moved = photos / "broken.jpg"
    content = moved.read_bytes()
    moved.unlink()
    try:
        assert main(["failures", failed, "--copy-to", str(tmp_path / "c")]) == 0
    finally:
        moved.write_bytes(content)
    told = capsys.readouterr().err
    assert told == f"copied 1 of 2 images to {tmp_path / 'c'}; 1 not there any more\n"


def test_members_of_containers_are_copied_from_any_folder(extract, tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "in.tar", "w") as archive:
        for name, content in (("a/1.jpg", b"no image"), ("b/1.jpg", b"no image either")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.chdir(tmp_path)
    extract("--input-tar", "in.tar", "--max-failure-ratio", "1")
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    assert main(["failures", "../out", "--copy-to", "copies"]) == 0
    copies = {file.read_bytes() for file in (tmp_path / "else/copies").iterdir()}
    assert copies == {b"no image", b"no image either"}


def test_a_folder_that_cannot_be_made_ends_with_2(failed, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["failures", failed, "--copy-to", str(tmp_path / "file" / "c")]) == 2
    assert "cannot make --copy-to" in capsys.readouterr().err


def test_on_a_full_disk_no_part_of_a_copy_stays(failed, tmp_path):
    to = tmp_path / "copies"
    command = [sys.executable, "-m", "beamvec", "failures", failed, "--copy-to", str(to)]
    limited = ["bash", "-c", 'ulimit -f 0; exec "$@"', "bash", *command]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"beamvec: cannot write \S+: File too large\n", done.stderr)
    assert [file.name for file in to.iterdir() if file.name != "empty.png"] == []


def test_a_run_again_names_the_flag_that_tries_failures_again(extract, photos, capsys):
    flags = ["--input", photos, "--max-failure-ratio", "1"]
    extract(*flags)
    first = capsys.readouterr().out
    assert "says which and why" in first
    assert extract(*flags) == 0
    told = capsys.readouterr().out
    assert "nothing to do, but 2 images failed: --append tries them again" in told
