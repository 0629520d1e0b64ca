"""Nobody's files are touched: what beamvec has not provably written stops a run, by name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beamvec.embeddings.layout import Layout
from beamvec.pipeline.run.claim import read_claim
from beamvec.transforms.files import storage

WORK = "ten years of work"


def snapshot(folder: Path) -> dict[str, object]:
    """Return what is in a folder: the content of files, the targets of links."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(WORK)
    return path


STRANGERS = [
    "embeddings/index.faiss",
    "embeddings/deep/er/notes.txt",
    "embeddings/part-00000-of-00002.parquet",
    "embeddings/.DS_Store",
    "failures/notes.txt",
    "failures/part-00001-of-00001.parquet",
    "_inputs/a.jpg",
    "_inputs/part-00007-of-00009.parquet",
    "_inputs/mine.tmp",
    "chunks/thesis.txt",
    "chunks/parts/mine/a.txt",
    "chunks/0123.parquet",
]


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("flags", [["--append"], ["--overwrite"]])
def test_a_dataset_with_something_of_the_users_is_left_as_it_is(
    extract, photos, tmp_path, capsys, name, flags
):
    output = tmp_path / "out"
    extract("--input", photos / "group0")
    put(output / name)
    before = snapshot(output)
    assert extract("--input", photos / "group1", *flags) == 2
    assert f"{output / name} is there, but beamvec did not write it" in capsys.readouterr().err
    assert snapshot(output) == before


@pytest.mark.parametrize("name", [*STRANGERS, "_SUCCESS", "run.json"])
@pytest.mark.parametrize("mark", [False, True])
@pytest.mark.parametrize("flags", [[], ["--append"], ["--overwrite"]])
def test_a_folder_of_the_users_with_such_names_is_left_as_it_is(
    extract, photos, tmp_path, name, mark, flags
):
    output = tmp_path / "out"
    put(output / name)
    if mark:
        (output / "_SUCCESS").write_text("")
    before = snapshot(output)
    assert extract("--input", photos / "group0", *flags) == 2
    assert snapshot(output) == before


def test_the_input_in_inputs_is_not_deleted(extract, photos, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(photos / "group0", output / "_inputs")
    (output / "_SUCCESS").write_text("")
    before = snapshot(output)
    assert extract("--input", output / "_inputs") == 2
    assert snapshot(output) == before


@pytest.mark.parametrize("name", ["embeddings/mine.txt", "failures/mine.txt", "_inputs/mine.txt"])
def test_half_a_run_with_something_of_the_users_is_left_as_it_is(
    extract, photos, tmp_path, monkeypatch, name
):
    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("beamvec.transforms.output.merge.merge_shard", fail)
        assert extract("--input", photos / "group0") == 3
    put(tmp_path / "out" / name)
    before = snapshot(tmp_path / "out")
    assert extract("--input", photos / "group0") == 2
    assert snapshot(tmp_path / "out") == before
    (tmp_path / "out" / name).unlink()
    assert extract("--input", photos / "group0") == 0


def test_a_parquet_file_of_somebody_elses_is_no_part(extract, photos, tmp_path):
    output = tmp_path / "out"
    extract("--input", photos / "group0")
    path = output / "embeddings" / "part-00005-of-00009.parquet"
    pq.write_table(pa.table({"uri": ["mine"]}), path)
    assert extract("--input", photos / "group0", "--overwrite") == 2
    assert pq.read_table(path)["uri"].to_pylist() == ["mine"]


def test_parts_that_no_record_tells_of_are_known_by_their_footers(extract, photos, tmp_path):
    """A run that was killed while it merged has written some, and so have earlier versions."""
    output = tmp_path / "out"
    extract("--input", photos / "group0", "--rows-per-shard", "3")
    content = json.loads((output / "run.json").read_text())
    assert content["files"]
    (output / "run.json").write_text(json.dumps({**content, "files": {}}))
    assert extract("--input", photos / "group1", "--overwrite") == 0
    assert len(os.listdir(output / "embeddings")) == 1


@pytest.mark.parametrize("place", ["embeddings", "failures", "_inputs", "chunks"])
def test_a_link_in_place_of_a_folder_is_refused(extract, photos, tmp_path, place):
    output, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    extract("--input", photos / "group0")
    if place == "chunks":
        elsewhere.mkdir()
        put(elsewhere / "thesis.txt")
    else:
        (output / place).rename(elsewhere)
    (output / place).symlink_to(elsewhere)
    before = snapshot(output), snapshot(elsewhere)
    for flags in (["--append"], ["--overwrite"]):
        assert extract("--input", photos / "group1", *flags) == 2
        assert (snapshot(output), snapshot(elsewhere)) == before


def test_a_lock_that_is_a_link_overwrites_nothing(extract, photos, tmp_path, capsys):
    mine = put(tmp_path / "mine.txt")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_LOCK").symlink_to(mine)
    assert extract("--input", photos / "group0") == 2
    assert "cannot write to --output" in capsys.readouterr().err
    assert mine.read_text() == WORK


@pytest.fixture
def half_published(extract, photos, tmp_path, monkeypatch):
    """A dataset whose append was killed while it was published."""
    flags = ["--max-failure-ratio", "1"]
    extract("--input", photos / "group0", "--input", photos / "broken.jpg", *flags)
    rename = storage.rename

    def fail(source, target):
        if "failures" in target and "chunks" not in target:
            raise OSError("killed")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "rename", fail)
        assert extract("--input", photos, "--append", *flags) == 3
    assert read_claim(Layout(str(tmp_path / "out"))).publication
    return tmp_path / "out"


def test_a_copy_of_half_a_publication_touches_the_copy_only(half_published, extract, photos):
    copy = half_published.parent / "copy"
    shutil.copytree(half_published, copy)
    before = snapshot(half_published)
    flags = ["--input", photos, "--append", "--max-failure-ratio", "1"]
    assert extract(*flags, output=copy) == 0
    assert snapshot(half_published) == before
    assert extract(*flags) == 0
    rows = [
        {name: content for name, content in snapshot(folder).items() if name.endswith(".parquet")}
        for folder in (copy, half_published)
    ]
    assert rows[0] == rows[1]
    counts = json.loads((copy / "run.json").read_text())["counts"]
    assert (counts["embeddings"], counts["failures"]) == (21, 2)


def test_another_wish_after_half_a_publication_is_done_too(half_published, extract, photos, capsys):
    capsys.readouterr()
    assert extract("--input", photos / "group1", "--overwrite", "--resize", "crop") == 0
    assert "is whole now" in capsys.readouterr().err
    content = json.loads((half_published / "run.json").read_text())
    assert (content["spec"]["resize"], content["counts"]["inputs"]) == ("crop", 10)
    assert content["appended"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"removed": ["/etc/passwd"]},
        {"removed": ["../../mine.txt"]},
        {"removed": ["_inputs/mine.txt"]},
        {"added": ["../../bin/part-00000-of-00001.parquet"]},
        {"added": ["bin/part-00000-of-00001.parquet"]},
        {"added": ["embeddings/../../part-00000-of-00001.parquet"]},
        {"added": ["embeddings/part-00077-of-00099.parquet"]},
        {"added": [3]},
        {"added": None},
        {"removed": 7},
    ],
)
def test_a_plan_of_a_strangers_touches_nothing(half_published, extract, photos, change, tmp_path):
    mine = put(tmp_path / "mine.txt")
    plan = half_published / "chunks" / "run.json"
    content = json.loads(plan.read_text())
    content["claim"]["publication"] |= change
    del content["sha256"]  # A stranger could sign it too.
    plan.write_text(json.dumps(content))
    before = snapshot(half_published)
    assert extract("--input", photos, "--append", "--max-failure-ratio", "1") == 2
    assert snapshot(half_published) == before
    assert mine.read_text() == WORK


@pytest.mark.parametrize("token", ["../..", "/etc", "x" * 32, 7, None])
def test_a_token_of_a_strangers_leads_nowhere(half_published, extract, photos, token):
    plan = half_published / "chunks" / "run.json"
    content = json.loads(plan.read_text())
    content["claim"]["token"] = token
    del content["sha256"]
    plan.write_text(json.dumps(content))
    before = snapshot(half_published)
    assert extract("--input", photos, "--append", "--max-failure-ratio", "1") == 2
    assert snapshot(half_published) == before


def test_a_plan_of_which_a_byte_has_changed_is_not_carried_out(half_published, extract, photos):
    plan = half_published / "chunks" / "run.json"
    plan.write_text(plan.read_text().replace('"embeddings": 1', '"embeddings": 2', 1))
    before = snapshot(half_published)
    assert extract("--input", photos, "--append", "--max-failure-ratio", "1") == 2
    assert snapshot(half_published) == before


@pytest.mark.parametrize("paths", [False, True])
def test_a_plan_of_an_earlier_version_is_carried_out(half_published, extract, photos, paths):
    chunks = half_published / "chunks"
    content = json.loads((chunks / "run.json").read_text())
    claim = content.pop("claim")
    added, removed = claim["publication"]["added"], claim["publication"]["removed"]
    plan = {"run": content, "replaced": [name.split("/")[1] for name in removed]}
    if paths:  # Format 1 had absolute ones, of which the names count.
        plan["replaced"] = [f"/somewhere/else/{name}" for name in removed]
        plan["tables"] = sorted({name.split("/")[0] for name in added})
    else:
        plan["added"] = added
    (chunks / "publish.json").write_text(json.dumps(plan))
    (chunks / "run.json").write_text(json.dumps(content))
    for table in (chunks / "parts" / claim["token"]).iterdir():
        table.rename(chunks / "parts" / table.name)
    (chunks / "parts" / claim["token"]).rmdir()
    assert extract("--input", photos, "--append", "--max-failure-ratio", "1") == 0
    counts = json.loads((half_published / "run.json").read_text())["counts"]
    assert (counts["embeddings"], counts["failures"]) == (21, 2)
    assert not chunks.exists()


def test_the_record_tells_of_each_file_its_size_and_its_checksum(extract, photos, tmp_path):
    output = tmp_path / "out"
    flags = ["--rows-per-shard", "4", "--max-failure-ratio", "1"]
    for group in ("group0", "group1"):
        extract("--input", photos / group, "--input", photos / "broken.jpg", "--append", *flags)
        files = json.loads((output / "run.json").read_text())["files"]
        found = list(output.rglob("*.parquet"))
        assert files == {
            str(path.relative_to(output)): {
                "size_bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in found
        }
        check = ["sha256sum", "--check", "--status", "_SUCCESS"]
        assert subprocess.run(check, cwd=output, check=False).returncode == 0


@pytest.mark.parametrize("name", ["run[1]", "run*", "what?", "[!a]"])
def test_an_output_whose_name_looks_like_a_pattern(extract, photos, tmp_path, name):
    extract("--input", photos / "group0", output=tmp_path / "run1")
    before = snapshot(tmp_path / "run1")
    output = tmp_path / name
    for flags in ([], [], ["--append"], ["--overwrite", "--resize", "pad"]):
        assert extract("--input", photos / "group0", *flags, output=output) == 0
    assert sorted(os.listdir(output)) == sorted(os.listdir(tmp_path / "run1"))
    assert snapshot(tmp_path / "run1") == before
