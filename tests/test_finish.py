"""The end of a run: the accounts, the record, publishing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamvec.embeddings import RunRecord
from beamvec.embeddings.layout import TABLE_DIRS, Layout, part_name
from beamvec.embeddings.run_record import Counts, FailureCount, InputRecord, Settings
from beamvec.pipeline.run.finish import (
    AccountingError,
    Begun,
    close_accounts,
    finish_record,
    format_time,
    measure_throughput,
    publish,
)
from beamvec.transforms.files import storage
from beamvec.transforms.records.account import Account, ErrorCount
from beamvec.transforms.records.chunks import Effort

RECORD = RunRecord(
    Settings("f" * 64), "m", 3, state="running", input=InputRecord("input", ("photos",))
)
BEGUN = Begun(Layout("out"), RECORD, launched_s=1000.0, started_s=1002.5)


def test_accounts_that_do_not_close_are_an_error():
    assert finish_record(Account(inputs=3, embeddings=1, failures=1, duplicates=1), BEGUN, 1010.0)
    with pytest.raises(AccountingError, match="3 inputs, but 1 embeddings"):
        finish_record(Account(inputs=3, embeddings=1, failures=1), BEGUN, 1010.0)


def test_a_record_tells_all_that_the_account_does():
    account = Account(
        inputs=11,
        embeddings=8,
        failures=2,
        duplicates=1,
        chunks=3,
        taken_over=4,
        effort=Effort(1.0, 2.0, 3.0, 4.0, 5),
        errors={("read", "OSError"): ErrorCount(2, "gone")},
        load_ids=frozenset("ab"),
        images_at=Counter({1003: 6}),
        input_digest=255,
    )
    record = finish_record(account, BEGUN, 1005.5)
    assert record.state == "finished"
    assert record.input == InputRecord("input", ("photos",), f"{255:064x}")
    assert record.counts == Counts(
        inputs=11, embeddings=8, failures=2, duplicates=1, taken_over=4, chunks=3, read_retries=5
    )
    assert record.failures == (FailureCount("read", "OSError", 2, "gone"),)
    assert record.model_loads == 2
    timings = record.timings
    assert (timings.startup_s, timings.run_s, timings.images_per_s) == (2.5, 3.0, 2.0)
    assert (timings.read_s, timings.decode_s, timings.infer_s, timings.write_s) == (1, 2, 3, 4)
    assert (timings.launched, timings.finished) == (format_time(1000), format_time(1005.5))
    assert record.throughput == measure_throughput({1003: 6}, 1002.5, 1005.5)


def test_an_append_counts_all_runs_and_tells_of_itself():
    before = finish_record(Account(inputs=3, embeddings=2, failures=1), BEGUN, 1010.0)
    later = replace(BEGUN, record=replace(RECORD, generation=1), before=before)
    account = Account(inputs=0, embeddings=1, known=2, changed=1, changed_uris=("a.jpg",))
    record = finish_record(account, later, 1020.0)
    assert (record.counts.inputs, record.counts.embeddings, record.counts.failures) == (3, 3, 0)
    assert (record.latest.generation, record.latest.changed) == (1, ("a.jpg",))
    assert record.latest.counts.known == 2


@given(
    st.dictionaries(st.integers(900, 3000), st.integers(1, 9)),
    st.floats(1000, 1001),
    st.floats(0.1, 1500),
)
def test_throughput_holds_every_image_in_at_most_100_intervals(images_at, started_s, took_s):
    found = measure_throughput(images_at, started_s, started_s + took_s)
    assert sum(found.images) == sum(images_at.values())
    assert 1 <= len(found.images) <= 100
    assert found.interval_s >= 1


def test_times_are_in_utc():
    assert format_time(0) == "1970-01-01T00:00:00+00:00"


@pytest.fixture
def begun(tmp_path):
    return replace(BEGUN, layout=Layout(str(tmp_path)))


def test_the_end_leaves_record_and_mark_and_no_chunks(begun, tmp_path):
    storage.write_file(begun.layout.chunk_file("ab" * 32), b"")
    close_accounts(Account(inputs=1, embeddings=1), begun)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["_SUCCESS", "run.json"]
    assert RunRecord.from_json((tmp_path / "run.json").read_bytes(), "f").state == "finished"


def test_accounts_that_do_not_close_mark_nothing(begun, tmp_path):
    with pytest.raises(AccountingError):
        close_accounts(Account(inputs=2, embeddings=1), begun)
    assert list(tmp_path.iterdir()) == []


def test_an_append_is_published_and_can_be_published_again(begun, tmp_path, monkeypatch):
    before = finish_record(Account(inputs=1, failures=1), begun, 1010.0)
    later = replace(begun, record=replace(RECORD, generation=1), before=before)
    layout = begun.layout
    old, new = part_name(0, 1), part_name(0, 1, 1)
    storage.write_file(f"{layout.table('failures')}/{old}", b"old")
    files = {f"{table}/{new}": 3 for table in TABLE_DIRS}
    for name in files:
        storage.write_file(f"{layout.staged.path}/{name}", b"new")
    moved = []
    rename = storage.rename

    def die(source, target):
        if moved and not source.endswith(".tmp"):
            raise OSError("killed")
        moved.append(source)
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "rename", die)
        with pytest.raises(OSError, match="killed"):
            close_accounts(Account(embeddings=1, files=files), later)
    assert not (tmp_path / "_SUCCESS").exists()
    publish(layout)
    found = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert found == {"run.json", "_SUCCESS", *files}
    content = json.loads((tmp_path / "run.json").read_text())
    assert len(content["appended"]) == 1
