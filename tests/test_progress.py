"""What a person sees while a run goes on."""

from __future__ import annotations

import io
import sys
import threading
import time

import pytest

from beamvec.embeddings.layout import Layout
from beamvec.pipeline.run import progress
from beamvec.pipeline.run.progress import ChunkWatcher, Progress, show_progress
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
    assert "failed=1" in shown
