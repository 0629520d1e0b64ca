"""The short text at the end of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from beamvec.embeddings import RunRecord
from beamvec.embeddings.failure_count import FailureCount
from beamvec.embeddings.run_record import Counts, InputRecord, Timings
from beamvec.embeddings.settings import Settings
from beamvec.pipeline.commands.summary import (
    RANDOM_WEIGHTS,
    failures_folder,
    seconds_by_step,
    summarize,
)

TIMINGS = Timings(startup_s=2.0, run_s=8.0, images_per_s=12.5, read_s=1.0, infer_s=3.0)
RECORD = RunRecord(
    Settings("f" * 64),
    "m",
    2048,
    counts=Counts(inputs=100, embeddings=100),
    timings=TIMINGS,
)
FAILURES = tuple(
    FailureCount("read", f"E{i}", i, f"message {i}", f"cause {i}") for i in range(1, 8)
)


def lines(record: RunRecord) -> dict[str, str]:
    """Return the lines of a summary that have a name, by the name."""
    _, *rest = summarize(record, "out")
    return {line[2:15].strip(): line[15:] for line in rest if line[2:15].strip()}


def test_a_good_run_is_told_in_a_few_lines():
    assert summarize(RECORD, "out") == [
        "100 images in 10.0 s, 12.5 images/s after 2.0 s of start-up",
        "  embedded     100  (2048 numbers each)",
        "  failed       0",
        "  time went to read 25%, decode 0%, infer 75%, write 0%",
        "  dataset      out",
        "  next         beamvec inspect out",
    ]


def test_failures_are_named_the_most_frequent_first():
    counts = Counts(inputs=1028, embeddings=1000, failures=28)
    shown = summarize(replace(RECORD, counts=counts, failures=FAILURES), "gs://b/out")
    assert "  failed       28  (2.72%)" in shown
    first, *_ = (line for line in shown if "top errors" in line)
    assert first.endswith("7 x read: cause 7")
    text = "\n".join(shown)
    assert "cause 3" in text
    assert "cause 2" not in text
    assert "beamvec failures gs://b/out says which and why" in text


@pytest.mark.parametrize(
    ("changes", "name", "text"),
    [
        ({"duplicates": 3}, "duplicates", "3  (same uri, embedded once)"),
        ({"taken_over": 4}, "taken over", "4  (from a run before)"),
        ({"read_retries": 5}, "retried", "5 reads that failed at first"),
    ],
)
def test_what_is_worth_a_line_gets_one(changes, name, text):
    assert name not in lines(RECORD)
    assert lines(replace(RECORD, counts=replace(RECORD.counts, **changes)))[name] == text


def test_an_append_tells_of_itself_and_of_all():
    counts = Counts(inputs=5, embeddings=5, known=95, changed=7, relabelled=1)
    changed = tuple(f"{i}.jpg" for i in range(5))
    whole = RECORD.append(replace(RECORD, counts=counts, changed=changed, relabelled=changed[:1]))
    found = lines(whole)
    assert found["embedded"].startswith("5 ")
    assert found["had already"] == "95"
    assert found["in all"] == "105 embedded, 0 failed"
    assert found["changed"] == (
        "7 of them, embedded anew only with --overwrite: 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, ..."
    )
    assert found["relabelled"] == (
        "1 of them, whose columns stay as they were without --overwrite: 0.jpg"
    )


def test_random_weights_are_warned_of_last():
    assert summarize(replace(RECORD, weights="random"), "out")[-1] == RANDOM_WEIGHTS


def test_a_run_without_work_has_no_shares():
    shown = summarize(replace(RECORD, timings=Timings(run_s=1.0)), "out")
    assert not any("time went to" in line for line in shown)
    assert seconds_by_step(TIMINGS) == {"read": 1.0, "decode": 0.0, "infer": 3.0, "write": 0.0}


def test_long_messages_are_cut():
    record = replace(RECORD, failures=(FailureCount("decode", "OSError", 1000, "long " * 99),))
    (line,) = record.describe_failures()
    assert line == "1,000 x decode: OSError, such as: " + " ".join(["long"] * 18)


def test_the_folder_of_failures_has_one_slash():
    assert failures_folder("out") == failures_folder("out/") == "out/failures"


def test_a_float32_run_points_to_what_is_faster_here(monkeypatch):
    monkeypatch.setattr("beamvec.pipeline.commands.summary.has_fast_int8", lambda: True)
    named = replace(RECORD, input=InputRecord("input_tar", ("my photos.tar",)))
    assert lines(named)["faster"].endswith("beamvec tune --input-tar 'my photos.tar' --model m")
    quantised = replace(named, settings=replace(RECORD.settings, precision="int8"))
    assert "faster" not in lines(quantised)
    few = replace(named, counts=replace(RECORD.counts, embeddings=63))
    assert "faster" not in lines(few)  # int8 could not be calibrated on them.
    piped = replace(named, input=replace(named.input, source="input_list", names=("-",)))
    assert "faster" not in lines(piped)
    monkeypatch.setattr("beamvec.pipeline.commands.summary.has_fast_int8", lambda: False)
    assert "faster" not in lines(named)
