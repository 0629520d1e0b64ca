"""What a person sees while a run goes on."""

from __future__ import annotations

import io
import re
import sys
import threading
import time

import pytest

from beamvec.embeddings.layout import Layout
from beamvec.pipeline.run import progress
from beamvec.pipeline.run.progress import (
    ChunkWatcher,
    Progress,
    describe_status,
    show_progress,
)
from beamvec.transforms.files.storage import write_file
from beamvec.transforms.output.chunk_files import write_chunk
from beamvec.transforms.output.target import Target
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.images import ImageRef


@pytest.fixture
def add_chunk(tmp_path):
    import numpy as np

    from beamvec.transforms.records.chunks import Effort, EmbeddedChunk
    from beamvec.transforms.records.images import Failure, ImageInfo

    target = Target(Layout(str(tmp_path)))

    def add(digest: str, good: int, bad: int) -> None:
        refs = [ImageRef(f"{digest}{i}") for i in range(good + bad)]
        images = [ImageInfo(ref, "", 1, 1, "PNG", 1) for ref in refs[:good]]
        failures = [Failure(ref, "read", "OSError", "gone", None) for ref in refs[good:]]
        chunk = Chunk(0, 0, digest, tuple(refs))
        features = np.zeros((good, 2), np.float32)
        write_chunk(EmbeddedChunk(chunk, features, images, failures, Effort(), "l"), target)

    return add


def test_progress_is_counted_from_chunk_files(add_chunk, tmp_path):
    watcher = ChunkWatcher(Layout(str(tmp_path)))
    assert watcher.poll() == Progress()
    write_file(str(tmp_path / "chunks" / "total.json"), b'{"images": 10}')
    add_chunk("a", 3, 1)
    assert watcher.poll() == Progress(4, 1, 10)
    add_chunk("b", 0, 2)
    (tmp_path / "chunks" / "half.parquet.0123.tmp").write_bytes(b"PAR1")
    assert watcher.poll() == Progress(6, 3, 10)
    assert watcher.poll() == Progress(6, 3, 10)


def test_failed_images_are_named_as_they_are_counted(add_chunk, tmp_path):
    heard = []
    watcher = ChunkWatcher(Layout(str(tmp_path)), on_failed=heard.append)
    add_chunk("a", 3, 1)
    add_chunk("b", 2, 0)
    watcher.poll()
    watcher.poll()
    assert heard == [("a3", "read", "OSError", "gone")]


def test_lines_where_there_is_no_terminal(add_chunk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.02)
    write_file(str(tmp_path / "chunks" / "total.json"), b'{"images": 10}')
    add_chunk("a", 4, 1)
    work = threading.Thread(target=time.sleep, args=(0.2,))
    work.start()
    show_progress(ChunkWatcher(Layout(str(tmp_path))), work, 0.01)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert lines[0].startswith("5 of 10 images")
    assert lines[0].endswith("1 failed")


def test_a_bar_on_a_terminal(add_chunk, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    write_file(str(tmp_path / "chunks" / "total.json"), b'{"images": 10}')
    add_chunk("a", 4, 1)
    work = threading.Thread(target=time.sleep, args=(0.1,))
    work.start()
    show_progress(ChunkWatcher(Layout(str(tmp_path))), work, 0.01)
    shown = terminal.getvalue()
    assert "embedding" in shown
    assert "5/10" in shown
    assert "1 failed" in shown


@pytest.mark.parametrize(
    ("status", "before", "elapsed_s", "told"),
    [
        (Progress(5, 0, 10), 5, 0.0, "5 of 10 images, 0.0 images/s, unknown time left, 0 failed"),
        (Progress(4, 0, 10), 5, 1.0, "4 of 10 images, 0.0 images/s, unknown time left, 0 failed"),
        (Progress(12, 1, 10), 2, 2.0, "12 of 10 images, 5.0 images/s, 0.0 s left, 1 failed"),
        (Progress(3, 1), 0, 1.0, "listing images"),
    ],
)
def test_no_rate_and_no_time_is_negative(status, before, elapsed_s, told):
    assert describe_status(status, before, elapsed_s) == told


@pytest.mark.parametrize("tty", [False, True])
def test_a_clock_that_is_set_shows_nowhere(tty, add_chunk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.02)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: tty, raising=False)
    write_file(str(tmp_path / "chunks" / "total.json"), b'{"images": 10}')
    days = iter(range(10**6, 0, -1))
    monkeypatch.setattr(time, "time", lambda: 86_400.0 * next(days))  # It goes back, and far.
    watcher = ChunkWatcher(Layout(str(tmp_path)))
    work = threading.Thread(target=lambda: (time.sleep(0.1), add_chunk("a", 4, 1), time.sleep(0.2)))
    work.start()
    show_progress(watcher, work, 0.01)
    shown = capsys.readouterr().err
    rates = [float(rate) for rate in re.findall(r"(\S+) images/s", shown)]
    assert max(rates) > 1
    assert min(rates) >= 0
    assert not re.search(r"-\d|\d h", shown)


def test_it_is_told_when_there_is_no_progress(add_chunk, tmp_path, monkeypatch):
    now, heard = [1000.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def poll_after(seconds: float) -> None:
        now[0] += seconds
        watcher.poll()

    watcher = ChunkWatcher(Layout(str(tmp_path)), lambda *told: heard.append(told))
    for seconds in (59, 2, 30, 30):
        poll_after(seconds)
    assert heard == [(Progress(), 61.0), (Progress(), 121.0)]
    write_file(str(tmp_path / "chunks" / "total.json"), b'{"images": 10}')
    add_chunk("a", 4, 1)
    for seconds in (1000, 59, 1):
        poll_after(seconds)
    assert heard[2:] == [(Progress(5, 1, 10), 60.0)]
    assert [told.phase for told, _ in heard] == ["listing images", "listing images", "embedding"]
