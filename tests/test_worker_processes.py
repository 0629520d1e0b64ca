"""Worker processes that end before the run does."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import children
import pytest

from beamvec.pipeline.commands.main import main

WORKERS = ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]


def find_worker(parent: int) -> int | None:
    """Return the id of a worker process of a process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if found == parent and b"run.worker import" in (folder / "cmdline").read_bytes():
                return int(folder.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


@pytest.mark.parametrize(
    ("how", "chunks", "told"),
    [
        (signal.SIGKILL, 0, "was killed by SIGKILL, most likely for want of memory"),
        (signal.SIGKILL, 1, "was killed by SIGKILL, most likely for want of memory"),
        (signal.SIGABRT, 1, "was killed by SIGABRT"),
    ],
)
def test_a_worker_that_is_killed_ends_the_run_with_3_and_one_line(
    how, chunks, told, photos, model_path, tmp_path
):
    output, log = tmp_path / "out", tmp_path / "log"
    given = ["--input", str(photos), "--model", model_path, "--output", str(output)]
    run = children.start(main, ["extract", *given, "--chunk-size", "1", *WORKERS], log=log)
    worker = None
    while run.is_alive():
        worker = worker or find_worker(run.pid)
        if worker and len(list((output / "chunks").glob("*.parquet"))) >= chunks:
            os.kill(worker, how)
            break
        time.sleep(0.005)
    assert children.wait(run, log) == 3
    progress = re.compile(r"listing images|[\d,]+ of [\d,]+ images, ")
    lines = [line for line in log.read_text().splitlines() if not progress.match(line)]
    assert len(lines) == 1
    assert lines[0].startswith(f"beamvec: the pipeline failed: a worker process {told}; finished")


@pytest.mark.parametrize("ends", ["&&", "||"])
def test_a_worker_that_is_late_ends_with_a_run_that_has_failed(
    ends, extract, photos, tmp_path, monkeypatch, capfd
):
    """The first one, or the second one, ends at once, while the other one imports."""
    script = tmp_path / "python"
    first = f'case "$*" in *run.worker*) mkdir {tmp_path}/first 2>/dev/null {ends} exit 1;; esac'
    script.write_text(f'#!/bin/sh\n{first}\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    assert extract("--input", photos, *WORKERS) == 3
    assert "a worker process exited with 1" in capfd.readouterr().err


def test_a_worker_that_cannot_be_started_ends_the_run_with_3(extract, photos, monkeypatch, capfd):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert extract("--input", photos, *WORKERS) == 3
    assert "a worker process exited with 127" in capfd.readouterr().err
