"""A pipeline from its start to its end, and why it failed."""

from __future__ import annotations

import re

import grpc
import pytest

import samples
from beamvec.pipeline.run import progress
from beamvec.pipeline.run.running import explain_failure
from beamvec.transforms.decoding.pool import SharedPool


def chain() -> BaseException:
    error = RuntimeError("outer")
    error.__cause__ = OSError("inner")
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("first\n\nlast"), "last"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (MemoryError(), "MemoryError"),
        (
            RuntimeError("Channel closed prematurely."),
            "a worker process ended unexpectedly (was it killed, or short of memory?)",
        ),
        (chain(), "inner"),
        (
            RuntimeError("cannot read https://me:secret@host/x?token=1"),
            "cannot read https://host/x",
        ),
        (
            RuntimeError(
                "Traceback (most recent call last):\n  File x\na.b.SomeError: gone\n\nnote: of a "
                "runner"
            ),
            "a.b.SomeError: gone",
        ),
    ],
)
def test_a_failure_is_explained_in_one_line(error, reason):
    assert explain_failure(error) == reason


def test_a_runner_that_is_gone_is_told_in_words():
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        call = channel.unary_unary("/org.apache.beam.Jobs/State")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=10)
    reason = explain_failure(caught.value)
    assert reason.startswith("a runner's process no longer answers: ")
    assert "127.0.0.1:1" in reason


def test_a_run_that_stands_still_says_what_it_waits_for(extract, tmp_path, monkeypatch, capsys):
    pool = SharedPool(1, "bad_decoders:decode", timeout_s=3)
    monkeypatch.setattr("beamvec.pipeline.run.launch.SharedPool", lambda **_: pool)
    monkeypatch.setattr(progress, "STILL_S", 0.5)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "hang.jpg").write_bytes(samples.encode(samples.make_image(1), "JPEG") + b"@@hang ")
    assert extract("--input", folder, "--max-failure-ratio", "1") == 0
    pool.get().close()
    lines = [line for line in capsys.readouterr().err.splitlines() if "no progress" in line]
    assert any(
        re.fullmatch(
            r"no progress for [\d.]+ s while embedding: waiting for decoders \(pids \d+\), the "
            rf"oldest of them busy for \d+ s with {folder}/hang.jpg",
            line,
        )
        for line in lines
    )
