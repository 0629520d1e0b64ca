"""Whether the files of a dataset are those that were written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import old_formats
import pytest

import samples
from beamvec.embeddings import DatasetError, open_dataset
from beamvec.embeddings.checksums import list_unchecked
from beamvec.embeddings.run_record import FileRecord
from beamvec.embeddings.verify import check_dataset
from beamvec.pipeline.commands.main import main

PART = "part-00001-of-00002.parquet"


@pytest.fixture
def made(tmp_path):
    """A dataset of 20 rows in two parts."""
    folder = tmp_path / "dataset"
    vectors = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    samples.write_dataset(folder, vectors, parts=2, failures=2)
    return folder


def verify(folder, capsys):
    capsys.readouterr()
    code = main(["inspect", str(folder), "--verify"])
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def test_a_sound_dataset_has_no_problem_and_all_of_it_is_covered(made, capsys):
    code, shown = verify(made, capsys)
    assert code == 0
    assert "no problem" in shown
    assert "no checksum" not in shown


@pytest.mark.parametrize("table", ["embeddings", "failures", "_inputs"])
def test_parts_that_are_gone_added_or_changed_are_named(made, table, capsys):
    place = made / table / PART
    content = place.read_bytes()
    shutil.copy(place, made / table / "part-00002-of-00002.parquet")
    code, shown = verify(made, capsys)
    assert code == 1
    assert f"{table}/part-00002-of-00002.parquet is there, but run.json does not" in shown
    (made / table / "part-00002-of-00002.parquet").unlink()
    place.write_bytes(content + b"x")
    code, shown = verify(made, capsys)
    assert code == 1
    assert f"{place} has changed since it was written: it has {len(content) + 1:,} bytes" in shown
    place.write_bytes(content[:5] + bytes([content[5] ^ 1]) + content[6:])
    code, shown = verify(made, capsys)
    assert code == 1
    assert f"{place} has changed since it was written: its SHA-256 is" in shown
    place.unlink()
    code, shown = verify(made, capsys)
    assert code == 1
    assert f"{place} is missing" in shown


def test_inputs_that_do_not_fit_the_embeddings_are_named(made):
    first, second = sorted((made / "_inputs").iterdir())
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    samples.sign(made)
    problems = check_dataset(open_dataset(made))
    assert problems == [f"{path}: other uris than in embeddings" for path in (first, second)]


def test_every_byte_of_run_json_and_success_counts(made):
    for name in ("run.json", "_SUCCESS"):
        content = (made / name).read_bytes()
        digits = [i for i, byte in enumerate(content) if byte in b"0123456789"]
        for place in digits[:: max(1, len(digits) // 20)]:
            other = b"1" if content[place : place + 1] != b"1" else b"2"
            (made / name).write_bytes(content[:place] + other + content[place + 1 :])
            with pytest.raises(DatasetError, match="SHA-256 is not the one in _SUCCESS"):
                open_dataset(made)
        (made / name).write_bytes(b"")
        with pytest.raises(DatasetError, match=r"run\.json is damaged"):
            open_dataset(made)
        (made / name).write_bytes(content)
    assert len(open_dataset(made)) == 20


def test_what_no_checksum_covers_is_named(made, capsys):
    (made / "notes.txt").write_text("mine")
    (made / "embeddings" / ".DS_Store").write_text("the system's")
    (made / "sub").mkdir()
    code, shown = verify(made, capsys)
    assert code == 0
    assert "no checksum  embeddings/.DS_Store, notes.txt, sub/: " in shown
    record = open_dataset(made).run
    sizes = {name: FileRecord(file.size_bytes) for name, file in record.files.items()}
    settings = dataclasses.replace(record.settings, format_version=2)
    older = dataclasses.replace(record, files=sizes, settings=settings)
    (made / "run.json").write_text(older.to_json())
    (made / "_SUCCESS").write_text("\n")
    unchecked = list_unchecked(str(made), open_dataset(made).run)
    assert {*sizes, "run.json", "_SUCCESS", "notes.txt"} < set(unchecked)
    assert verify(made, capsys)[0] == 0
    place = made / "failures" / PART
    place.write_bytes(place.read_bytes() + b"x")
    assert verify(made, capsys)[0] == 1


def test_a_dataset_of_format_1_is_read_and_checked_by_its_pages(extract, photos, tmp_path, capsys):
    extract("--input", photos / "group0")
    out = tmp_path / "out"
    old_formats.age(out)
    code, shown = verify(out, capsys)
    assert code == 0
    assert "no checksum  _SUCCESS, _inputs/part-00000-of-00001.parquet, embeddings/" in shown
    (out / "_inputs" / "part-00000-of-00001.parquet").unlink()
    code, shown = verify(out, capsys)
    assert code == 1
    assert "_inputs/part-00000-of-00001.parquet is missing" in shown


def test_names_in_a_record_are_not_followed(made, tmp_path, capsys):
    outside = tmp_path / "secret.parquet"
    outside.write_bytes(b"secret")
    record = open_dataset(made).run
    names = ["../secret.parquet", "embeddings/../../secret.parquet", str(outside)]
    true = FileRecord(6, hashlib.sha256(b"secret").hexdigest())
    files = dict.fromkeys(names, true)
    samples.write_record(made, dataclasses.replace(record, files={**record.files, **files}))
    code, shown = verify(made, capsys)
    assert code == 1
    assert all(f"{made}/{name} is missing" in shown for name in names)


def test_a_publication_between_two_reads_is_no_damage(made, monkeypatch):
    from beamvec.embeddings import opening

    read, calls = opening.read_start, []

    def publish_meanwhile(filesystem, path):
        content = read(filesystem, path)
        if not calls:
            samples.write_record(made, json.loads((made / "run.json").read_text()))
        calls.append(path)
        return content

    monkeypatch.setattr(opening, "read_start", publish_meanwhile)
    assert len(open_dataset(made)) == 20
    assert len(calls) == 4
