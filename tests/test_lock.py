"""Two runs at once into one output."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time

import disk_filesystem
import pytest

from beamvec.embeddings.layout import LOCK_FILE, Layout
from beamvec.errors import OutputError
from beamvec.pipeline.run import lock
from beamvec.pipeline.run.lock import hold_output


def hold_for_ever(output: str, ready) -> None:
    with hold_output(Layout(output)):
        ready.set()
        time.sleep(600)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path / "out"."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold_for_ever, args=(str(tmp_path / "out"), ready))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


def test_the_second_run_is_told_who_holds_it(holder, extract, photos, tmp_path, capsys):
    assert extract("--input", photos / "group0") == 2
    error = capsys.readouterr().err
    assert f"in use by another run: process {holder.pid} of " in error
    assert error.count("\n") == 1
    assert os.listdir(tmp_path / "out") == [LOCK_FILE]


def test_a_lock_of_a_dead_run_needs_no_human(holder, extract, photos, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert (tmp_path / "out" / LOCK_FILE).exists()
    assert extract("--input", photos / "group0") == 0
    assert not (tmp_path / "out" / LOCK_FILE).exists()


def test_the_lock_is_gone_after_a_failed_block(tmp_path):
    with pytest.raises(RuntimeError), hold_output(Layout(str(tmp_path / "out"))):
        raise RuntimeError
    assert os.listdir(tmp_path / "out") == []


@pytest.fixture
def remote(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "root", tmp_path)
    return "disk://out"


def test_a_remote_lease_is_exclusive_and_renewed(remote, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "RENEW_EVERY_S", 0.01)
    with hold_output(Layout(remote)):
        with pytest.raises(OutputError, match=f"process {os.getpid()} of .* ends by itself"):
            hold_output(Layout(remote)).__enter__()
        file = tmp_path / "out" / LOCK_FILE
        first = json.loads(file.read_text())["renewed_s"]
        while json.loads(file.read_text())["renewed_s"] == first:
            time.sleep(0.01)
    assert not file.exists()
    with hold_output(Layout(remote)):
        pass


@pytest.mark.parametrize("content", ["{}", "half of a", '{"renewed_s": 1.0, "pid": 1}'])
def test_a_remote_lease_of_a_dead_run_needs_no_human(remote, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK_FILE).write_text(content)
    with hold_output(Layout(remote)):
        assert os.getpid() == json.loads((tmp_path / "out" / LOCK_FILE).read_text())["pid"]
