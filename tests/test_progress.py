"""What a person sees while a run goes on."""

from __future__ import annotations

import io
import re
import sys
import threading
import time

import numpy as np
import pytest

from beamvec.embeddings.layout import Layout
from beamvec.pipeline.run import progress
from beamvec.pipeline.run import show_progress as showing
from beamvec.pipeline.run.pace import Pace
from beamvec.pipeline.run.progress import ChunkWatcher, Progress
from beamvec.pipeline.run.show_progress import describe_pace, describe_status, show_progress
from beamvec.transforms.files.storage import write_file
from beamvec.transforms.output.chunk_files import write_chunk
from beamvec.transforms.output.target import Target
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.images import ImageRef
from beamvec.transforms.records.tally import Tally


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
    monkeypatch.setattr(showing, "LINE_EVERY_S", 0.02)
    write_file(str(tmp_path / "chunks" / "total.json"), b'{"images": 10}')
    add_chunk("a", 4, 1)
    work = threading.Thread(target=time.sleep, args=(0.2,))
    work.start()
    show_progress(ChunkWatcher(Layout(str(tmp_path))), work, 0.01)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert lines[0].startswith("5 of 10 images")
    assert "1 failed" in lines[0]


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


def pace_of(*steps: tuple[float, int], total: int | None = None) -> Pace:
    """Return the pace after some steps: at which second how many images were done."""
    pace = Pace(0, 0.0)
    for at_s, done in steps:
        pace.note(done, total, at_s)
    return pace


@pytest.mark.parametrize(
    ("status", "pace", "told"),
    [
        (Progress(5, 0, 10), Pace(5, 0.0), "5 of 10 images, 0 failed, 0.0 s so far"),
        (Progress(4, 0, 10), pace_of((1, 4), total=10), "4 of 10 images, 0 failed, 1.0 s so far"),
        (
            Progress(12, 1, 10),
            pace_of((1, 2), (3, 12), total=10),
            "12 of 10 images, 1 failed, 0.0 s left, 5.0 images/s",
        ),
        (Progress(3, 1), pace_of((1, 3)), "listing images"),
    ],
)
def test_no_rate_and_no_time_is_negative_or_made_up(status, pace, told):
    assert describe_status(status, pace) == told


def test_what_failed_comes_first_where_there_is_little_room():
    pace = pace_of((1, 100), (2, 200), total=1000)
    told = describe_pace(Progress(200, 3, 1000), pace, is_short=True)
    assert told == "3 failed, 8.0 s left, 100.0/s"


def test_the_rate_is_of_the_last_half_minute():
    pace = Pace(0, 0.0)
    for second in range(100):
        pace.note(10 * second, 10_000, second)
    assert pace.rate == pytest.approx(10, rel=0.05)
    for second in range(100, 140):
        pace.note(990 + 100 * (second - 99), 10_000, second)
    assert pace.rate == pytest.approx(100, rel=0.05)


def test_chunks_that_take_longer_than_the_window_have_a_rate_and_a_stand_still_has_less():
    pace = Pace(0, 0.0)
    for minute in range(1, 12):
        pace.note(128 * minute, 100_000, 60.0 * minute)
    assert pace.rate == pytest.approx(128 / 60)
    pace.note(128 * 11, 100_000, 60.0 * 11 + 59)
    assert pace.rate == pytest.approx(128 / 60)
    pace.note(128 * 11, 100_000, 60.0 * 30)
    assert pace.rate < 1


def test_the_time_left_falls_on_a_steady_machine_and_is_true():
    left, truth = [], []
    pace, total = Pace(0, 0.0), 3000
    random = np.random.default_rng(0)
    done, now = 0, 5.0  # It has started up.
    while done < total:
        now += 0.5
        done = min(total, done + int(random.integers(0, 3)) * 16)
        pace.note(done, total, now)
        if pace.left_s is not None:
            left.append(pace.left_s)
            truth.append(now)
    truth = [now - at for at in truth]
    later = len(left) // 3
    for told, true in list(zip(left, truth, strict=True))[later:]:
        assert abs(told - true) < max(4.0, 0.25 * true)
    rises = sum(b > a for a, b in zip(left[later:], left[later + 1 :], strict=False))
    assert rises <= 3  # Of some hundred and twenty.


def test_batches_count_before_their_chunks_are_written(add_chunk, tmp_path):
    tally = Tally()
    tally.add(1000)  # Of an earlier run of this process.
    add_chunk("before", 4, 1)
    write_file(str(tmp_path / "chunks" / "total.json"), b'{"images": 20}')
    watcher = ChunkWatcher(Layout(str(tmp_path)), tally=tally)
    assert watcher.poll() == Progress(5, 1, 20)
    tally.add(4)
    assert watcher.poll() == Progress(9, 1, 20)
    add_chunk("a", 4, 2)
    assert watcher.poll() == Progress(11, 3, 20)
    tally.add(3)
    tally.add(3)
    assert watcher.poll() == Progress(17, 3, 20)
    tally.add(50)  # Batches that were tried again.
    assert watcher.poll() == Progress(20, 3, 20)


@pytest.mark.parametrize("tty", [False, True])
def test_a_clock_that_is_set_shows_nowhere(tty, add_chunk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(showing, "LINE_EVERY_S", 0.02)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: tty, raising=False)
    write_file(str(tmp_path / "chunks" / "total.json"), b'{"images": 10}')

    def work_in_steps() -> None:
        for name in "abc":
            time.sleep(0.1)
            add_chunk(name, 4, 1)
        time.sleep(0.2)

    days = iter(range(10**6, 0, -1))
    monkeypatch.setattr(time, "time", lambda: 86_400.0 * next(days))  # It goes back, and far.
    watcher = ChunkWatcher(Layout(str(tmp_path)))
    work = threading.Thread(target=work_in_steps)
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
