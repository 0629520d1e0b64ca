"""Two runs at once into one output: local ones, and those of a filesystem without conditions."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace

import disk_filesystem
import pytest

from beamvec.embeddings.layout import LOCK_FILE, Layout
from beamvec.errors import LostOutputError, OutputError, PipelineError
from beamvec.pipeline.run import lease, local_lock
from beamvec.pipeline.run.lock import check_held, hold_output, release
from beamvec.pipeline.run.lock_record import MAX_BYTES, LockRecord
from beamvec.transforms.files import storage


def hold_for_ever(output: str, is_done: bool, ready) -> None:
    with hold_output(Layout(output)) as hold:
        if is_done:
            hold.mark_done()
        ready.set()
        time.sleep(600)


def start_holder(output: str, is_done: bool = False):
    """Start another process that holds an output."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold_for_ever, args=(output, is_done, ready))
    process.start()
    assert ready.wait(60)
    return process


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path / "out"."""
    process = start_holder(str(tmp_path / "out"))
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


@pytest.mark.parametrize("is_done", [False, True])
def test_what_a_dead_run_has_noted_is_known_to_the_next(tmp_path, is_done):
    output = str(tmp_path / "out")
    process = start_holder(output, is_done)
    process.kill()
    process.join()
    with hold_output(Layout(output)) as hold:
        assert (hold.previous.pid, hold.previous.done) == (process.pid, is_done)
        assert hold.token != hold.previous.token
        check_held(Layout(output), hold.token)
        with pytest.raises(LostOutputError, match=f"by another run: process {os.getpid()} of"):
            check_held(Layout(output), hold.previous.token)
    with hold_output(Layout(output)) as hold:
        assert hold.previous is None


@pytest.fixture(params=["local", "store"])
def layout(request, tmp_path, monkeypatch):
    """The same folder, as a local one and in a store without conditions."""
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "root", tmp_path)
    (tmp_path / "out").mkdir()
    return Layout(str(tmp_path / "out") if request.param == "local" else "disk://out")


def leave(tmp_path, content: bytes) -> None:
    """Leave a lock file behind, as a run does that died long ago."""
    (tmp_path / "out" / LOCK_FILE).write_bytes(content)
    os.utime(tmp_path / "out" / LOCK_FILE, (1, 1))


def test_the_lock_is_gone_after_a_failed_block(layout, tmp_path):
    with pytest.raises(RuntimeError), hold_output(layout):
        raise RuntimeError
    assert os.listdir(tmp_path / "out") == []


GARBAGE = {
    "nothing in it": b"{}",
    "half": b'{"host": "h", "pid"',
    "a string for a number": b'{"host": "h", "pid": "1"}',
    "null": b'{"host": null}',
    "infinity": b'{"pid": 1e400}',
    "a list for a token": b'{"token": ["a"], "pid": 1}',
    "true for a number": b'{"pid": true}',
    "nested": b"[" * MAX_BYTES,
    "nested deeper": b'{"a":' * 100_000,
    "a long number": b'{"pid": ' + b"1" * 4000 + b".5}",
    "no UTF-8": b"\xff\xfe{}",
    "no JSON object": b"7",
    "of the old kind": b'{"renewed_s": "soon", "pid": "\\u001b[31m"}',
    "large": b" " * (3 << 20),
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_a_lock_file_with_anything_in_it_is_a_dead_run_s(layout, tmp_path, content):
    leave(tmp_path, content)
    with hold_output(layout) as hold:
        assert hold.previous == LockRecord()
        found = json.loads((tmp_path / "out" / LOCK_FILE).read_text())
        assert (found["pid"], found["token"]) == (os.getpid(), hold.token)
    assert os.listdir(tmp_path / "out") == []


def test_a_folder_that_is_handed_over_stays_locked_until_the_job_frees_it(layout, tmp_path):
    with hold_output(layout) as hold:
        hold.hand_over("job-\x1b[31m7")
    os.utime(tmp_path / "out" / LOCK_FILE, (1, 1))  # It never ends by itself.
    with pytest.raises(OutputError) as error:
        hold_output(layout).__enter__()
    assert (
        f"held for the job job-[31m7, which goes on elsewhere; wait for it, and if it has ended "
        f"without a word, remove {layout.lock_file}" in str(error.value)
    )
    check_held(layout, hold.token)
    release(layout, "another")
    check_held(layout, hold.token)
    release(layout, hold.token)
    release(layout, hold.token)
    with pytest.raises(LostOutputError, match="no longer held by this run, but by nobody"):
        check_held(layout, hold.token)
    with hold_output(layout) as hold:
        release(layout, hold.token)  # Not handed over.
        hold.check()
        assert hold.previous is None


def test_a_lock_file_that_was_removed_is_noticed(layout, tmp_path):
    with hold_output(layout) as first:
        (tmp_path / "out" / LOCK_FILE).unlink()
        with hold_output(layout) as second:
            with pytest.raises(LostOutputError):
                first.check()
            second.check()
            with pytest.raises(LostOutputError):
                check_held(layout, first.token)
    assert os.listdir(tmp_path / "out") == []


def test_the_end_of_a_lost_hold_leaves_the_other_s_lock(layout, tmp_path):
    first = hold_output(layout)
    first.__enter__()
    (tmp_path / "out" / LOCK_FILE).unlink()
    with hold_output(layout) as second:
        first.__exit__(None, None, None)
        second.check()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_a_regular_file_is_a_lock_file(tmp_path, kind):
    output, mine = tmp_path / "out", tmp_path / "mine"
    output.mkdir()
    mine.write_text("mine")
    lock_file = output / LOCK_FILE
    make = {"link": lambda: lock_file.symlink_to(mine), "pipe": lambda: os.mkfifo(lock_file)}
    make.get(kind, lock_file.mkdir)()
    with pytest.raises(OutputError, match="cannot write to `output="):
        hold_output(Layout(str(output))).__enter__()
    assert mine.read_text() == "mine"


def test_a_full_disk_is_one_line_before_any_work(extract, photos, tmp_path, capsys, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(local_lock.os, "pwrite", fail)
    assert extract("--input", photos / "group0") == 2
    error = capsys.readouterr().err
    assert "cannot write to --output" in error
    assert "No space left on device" in error
    assert error.count("\n") == 1
    assert os.listdir(tmp_path / "out") == []


def test_a_full_disk_loses_nobody_s_word(tmp_path, monkeypatch):
    layout = Layout(str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    done = replace(LockRecord.of_this_process(), done=True)
    leave(tmp_path, done.to_json())
    monkeypatch.setattr(local_lock.os, "pwrite", lambda *_: 0)
    with pytest.raises(OutputError, match="No space left"):
        hold_output(layout).__enter__()
    monkeypatch.undo()
    with hold_output(layout) as hold:
        assert hold.previous == done
        monkeypatch.setattr(local_lock.os, "pwrite", lambda *_: 0)
        with pytest.raises(PipelineError, match=r"cannot write to .*_LOCK: .*No space left"):
            hold.mark_done()


def test_a_lock_file_that_cannot_be_removed_is_only_told_of(tmp_path, monkeypatch):
    told: list[str] = []
    with hold_output(Layout(str(tmp_path / "out")), told.append):
        monkeypatch.setattr(local_lock.os, "unlink", lambda path: os.rmdir(path))
    assert len(told) == 1
    assert "the lock file could not be removed" in told[0]


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_where_no_folder_can_be_nothing_is_held(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write to `output="):
        hold_output(Layout(f"{tmp_path}/{name}")).__enter__()


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A folder in a store without conditions."""
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "root", tmp_path)
    return Layout("disk://out")


def test_a_remote_lease_is_exclusive_and_renewed(remote, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.01)
    told: list[str] = []
    with hold_output(remote, told.append) as hold:
        with pytest.raises(OutputError, match=f"process {os.getpid()} of .* ends by itself"):
            hold_output(remote).__enter__()
        first = storage.read_versioned(remote.lock_file)
        while storage.read_versioned(remote.lock_file) == first:
            time.sleep(0.01)
        hold.check()
    assert not storage.exists(remote.lock_file)
    (note,) = told
    assert "does not obey conditions" in note


def test_without_conditions_a_lease_that_was_not_renewed_in_time_is_lost(remote, monkeypatch):
    with hold_output(remote) as hold:
        hold.check()
        monkeypatch.setattr(lease, "LEASE_S", -1)
        with pytest.raises(LostOutputError, match="its lease has ended"):
            hold.check()
        with pytest.raises(LostOutputError):
            hold.mark_done()


def test_a_filesystem_that_tells_no_times_keeps_the_lock(remote, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    leave(tmp_path, b"{}")
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "last_updated", lambda *_: 0.0)
    with pytest.raises(OutputError, match="of which its lock file tells nothing"):
        hold_output(remote).__enter__()
