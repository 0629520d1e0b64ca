"""What a killed run leaves behind, moment by moment; `test_chaos.py` kills at random ones."""

from __future__ import annotations

import os

import pytest
from conftest import hash_files

TEMPORARY = "0123456789abcdef0123456789abcdef.tmp"


@pytest.mark.parametrize(
    "left", [None, f"chunks/run.json.{TEMPORARY}", f"chunks/settings.json.{TEMPORARY}"]
)
def test_a_run_killed_at_its_first_file_is_started_again(extract, photos, tmp_path, left):
    (tmp_path / "out" / "chunks").mkdir(parents=True)
    if left:
        (tmp_path / "out" / left).write_text("{")
    assert extract("--input", photos / "group0") == 0
    assert not (tmp_path / "out" / "chunks").exists()


@pytest.mark.parametrize("file", ["notes.txt", f"notes.txt.{TEMPORARY}", f"mine/run.{TEMPORARY}"])
def test_chunks_of_somebody_else_are_refused(extract, photos, tmp_path, file):
    path = tmp_path / "out" / "chunks" / file
    path.parent.mkdir(parents=True)
    path.write_text("ten years of work")
    assert extract("--input", photos, "--overwrite") == 2
    assert path.exists()


@pytest.mark.parametrize("name", ["run.json", "_SUCCESS"])
def test_a_run_killed_at_its_last_files_leaves_nothing_behind(extract, photos, tmp_path, name):
    output = tmp_path / "out"
    extract("--input", photos / "group0")
    hashes, names = hash_files(output), sorted(os.listdir(output))
    (output / "_SUCCESS").unlink()
    (output / "run.json").unlink()
    (output / "chunks").mkdir()
    (output / f"{name}.{TEMPORARY}").write_text("{")
    for table in ("embeddings", "failures", "_inputs"):
        (output / table).rename(tmp_path / table)
    assert extract("--input", photos / "group0") == 0
    assert (hash_files(output), sorted(os.listdir(output))) == (hashes, names)


def test_a_run_killed_after_it_finished_leaves_nothing_behind(extract, photos, tmp_path, capsys):
    output = tmp_path / "out"
    extract("--input", photos / "group0")
    before = sorted(os.listdir(output))
    (output / "chunks").mkdir()
    (output / "_LOCK").write_text("{}")
    capsys.readouterr()
    assert extract("--input", photos / "group0") == 0
    assert "finished already" in capsys.readouterr().out
    assert sorted(os.listdir(output)) == before
