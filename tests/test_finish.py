"""The end of a run: the accounts, the record, publishing."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamvec.embeddings import RunRecord
from beamvec.embeddings.failure_count import FailureCount
from beamvec.embeddings.layout import Layout, part_name
from beamvec.embeddings.run_record import Counts, InputRecord
from beamvec.embeddings.settings import Settings
from beamvec.errors import LostOutputError, OutputError
from beamvec.pipeline.run.claim import Claim
from beamvec.pipeline.run.finish import (
    Begun,
    close_accounts,
    finish_record,
    format_time,
    measure_throughput,
)
from beamvec.pipeline.run.lock import hold_output
from beamvec.pipeline.run.stopwatch import Stopwatch
from beamvec.transforms.files import storage
from beamvec.transforms.records.account import Account, AccountingError, ErrorCount
from beamvec.transforms.records.chunks import Effort

RECORD = RunRecord(
    Settings("f" * 64), "m", 3, state="running", input=InputRecord("input", ("photos",))
)
BEGUN = Begun(Layout("out"), Claim(RECORD), stopwatch=Stopwatch("", 0.0, 1000.0), started_s=1002.5)


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
        errors={("read", "OSError", "gone"): ErrorCount(2, "gone")},
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
    assert record.failures == (FailureCount("read", "OSError", 2, "gone", "gone"),)
    assert record.model_loads == 2
    timings = record.timings
    assert (timings.startup_s, timings.run_s, timings.images_per_s) == (2.5, 3.0, 2.0)
    assert (timings.read_s, timings.decode_s, timings.infer_s, timings.write_s) == (1, 2, 3, 4)
    assert (timings.launched, timings.finished) == (format_time(1000), format_time(1005.5))
    assert record.throughput == measure_throughput({1003: 6}, 1002.5, 1005.5)


def test_an_append_counts_all_runs_and_tells_of_itself():
    before = finish_record(Account(inputs=3, embeddings=2, failures=1), BEGUN, 1010.0)
    later = replace(BEGUN, claim=Claim(replace(RECORD, generation=1)), before=before)
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
    layout = Layout(str(tmp_path / "out"))
    with hold_output(layout) as hold:
        yield replace(BEGUN, layout=layout, claim=Claim(RECORD, hold.token).write(layout))


def test_the_end_leaves_record_and_mark_and_no_chunks(begun):
    folder = Path(begun.layout.path)
    storage.write_file(begun.layout.chunk_file("ab" * 32), b"")
    close_accounts(Account(inputs=1, embeddings=1), begun)
    assert set(os.listdir(folder)) == {"_LOCK", "_SUCCESS", "chunks", "run.json"}
    # What the run was is told until whoever holds the folder frees it.
    assert os.listdir(folder / "chunks") == ["run.json"]
    assert RunRecord.from_json((folder / "run.json").read_bytes(), "f").state == "finished"


def test_accounts_that_do_not_close_mark_nothing(begun):
    with pytest.raises(AccountingError):
        close_accounts(Account(inputs=2, embeddings=1), begun)
    assert set(os.listdir(begun.layout.path)) == {"_LOCK", "chunks"}


def test_a_run_whose_claim_another_has_taken_commits_nothing(begun):
    replace(begun.claim, token="b" * 32).write(begun.layout)
    with pytest.raises(LostOutputError, match="another run has taken"):
        close_accounts(Account(inputs=1, embeddings=1), begun)
    assert set(os.listdir(begun.layout.path)) == {"_LOCK", "chunks"}


def test_what_was_put_among_the_parts_meanwhile_is_not_published_over(begun):
    name = f"embeddings/{part_name(0, 1)}"
    storage.write_file(f"{begun.layout.path}/{name}", b"ten years of work")
    with pytest.raises(OutputError, match="was put there while the run went on"):
        close_accounts(Account(inputs=1, embeddings=1), begun)
    assert storage.read_bytes(f"{begun.layout.path}/{name}") == b"ten years of work"
