"""The lock of a folder on S3 and GCS: who is first, who has lost it, what a fault does to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest

from beamvec.embeddings.layout import Layout
from beamvec.errors import LostOutputError, OutputError, PipelineError
from beamvec.pipeline.run import lease
from beamvec.pipeline.run.lock import check_held, hold_output, release
from beamvec.transforms.files import retrying, storage
from beamvec.transforms.files.storage import ConflictError
from object_stores import STORES, enter, leave

CONTENDERS = 10
ROUNDS = 50
"""Of contests for each store; there are two stores."""

NEVER_S = 3600.0


@pytest.fixture(scope="module", params=STORES)
def server(request):
    server = STORES[request.param]()
    yield server
    server.stop()


@pytest.fixture
def store(server, tmp_path, monkeypatch):
    """A store; leases are not renewed by themselves, and nobody waits long."""
    enter(server, tmp_path, monkeypatch)
    monkeypatch.setattr(retrying, "FIRST_DELAY_S", 0.005)
    monkeypatch.setattr(lease, "RENEW_EVERY_S", NEVER_S)
    yield server
    leave(server)


@pytest.fixture
def layout(store):
    return Layout(f"{store.scheme}://bucket/out")


@pytest.fixture
def expire(monkeypatch) -> Callable[[], None]:
    """Let all leases be over from now on, for those who want to take them."""
    return lambda: monkeypatch.setattr(lease, "LEASE_S", -1.0)


def contest(layout: Layout) -> int:
    """Let many start in the same instant; return how many then hold the folder."""
    start, tried, checked = (threading.Barrier(CONTENDERS) for _ in range(3))
    holders: list[str] = []

    def contend() -> None:
        start.wait()
        with ExitStack() as stack:
            hold = None
            with suppress(OutputError):
                hold = stack.enter_context(hold_output(layout))
            tried.wait()
            with suppress(LostOutputError):
                if hold:
                    hold.check()
                    holders.append(hold.token)
            checked.wait()

    threads = [threading.Thread(target=contend) for _ in range(CONTENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(holders)


def test_of_many_in_the_same_instant_one_holds_the_folder(store, layout):
    assert [contest(layout) for _ in range(ROUNDS)] == [1] * ROUNDS
    assert store.names("") == []


def test_of_many_who_take_over_one_holds_the_folder(store, layout, expire):
    expire()
    for _ in range(ROUNDS // 5):
        storage.write_file(layout.lock_file, b"dead")
        assert contest(layout) == 1  # Those that were first have lost it to the last.
    assert store.names("") == []


def test_the_one_that_was_taken_over_is_refused_everywhere(layout, expire):
    first = hold_output(layout)
    held = first.__enter__()
    seen = storage.read_versioned(layout.lock_file)
    expire()
    with hold_output(layout) as second:
        assert (second.previous.token, second.previous.done) == (held.token, False)
        with pytest.raises(LostOutputError, match="no longer held by this run: another run"):
            held.check()
        with pytest.raises(LostOutputError, match="no longer held"):
            held.check()  # And it stays so.
        for note in (held.mark_done, lambda: held.hand_over("job")):
            with pytest.raises(LostOutputError):
                note()
        with pytest.raises(LostOutputError, match=f"but by another run: process {os.getpid()}"):
            check_held(layout, held.token)
        with pytest.raises(ConflictError):
            storage.write_if(layout.lock_file, b"mine", seen[1])
        first.__exit__(None, None, None)
        second.check()
        check_held(layout, second.token)
    with pytest.raises(LostOutputError, match="but by nobody"):
        check_held(layout, second.token)


def test_a_lease_that_nobody_took_is_still_held_however_late(layout, expire):
    with hold_output(layout) as hold:
        expire()
        hold.check()
        hold.mark_done()
    with hold_output(layout) as hold:
        assert hold.previous is None


def test_a_lease_is_renewed(layout, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.01)
    with hold_output(layout) as hold:
        first = storage.read_versioned(layout.lock_file)
        while storage.read_versioned(layout.lock_file) == first:
            time.sleep(0.01)
        hold.check()
        with pytest.raises(OutputError, match=f"process {os.getpid()} of .* ends by itself"):
            hold_output(layout).__enter__()


@pytest.mark.parametrize("ahead_s", [-10_000.0, 10_000.0])
def test_no_machine_s_clock_counts(layout, monkeypatch, ahead_s):
    now = time.time
    with hold_output(layout):
        monkeypatch.setattr(time, "time", lambda: now() + ahead_s)
        with pytest.raises(OutputError, match="in use by another run"):
            hold_output(layout).__enter__()


@pytest.mark.parametrize("kind", ["lost", "reset", "slow_down"])
def test_faults_that_pass_lose_no_lock(store, layout, kind):
    for method in ("GET", "HEAD", "DELETE", store.write):
        store.proxy.inject(kind, method, "_LOCK", times=2)
    with hold_output(layout) as hold:
        for _ in range(3):
            store.proxy.inject(kind, store.write, "_LOCK")
            hold.check()
        hold.mark_done()
        store.proxy.inject(kind, "DELETE", "_LOCK")
    assert store.names("") == []


def test_a_renewal_that_comes_late_is_the_holder_s_own(layout):
    """One that was given up may still reach the store."""
    with hold_output(layout) as hold:
        content, _ = storage.read_versioned(layout.lock_file)
        storage.write_file(layout.lock_file, content.replace(b'"renewals": 0', b'"renewals": 1'))
        hold.check()
        storage.write_file(layout.lock_file, content.replace(b'"renewals": 0', b'"renewals": 9'))
    assert not storage.exists(layout.lock_file)


def test_credentials_that_run_out_end_in_one_line(store, layout, monkeypatch):
    store.proxy.inject("denied", store.write, "_LOCK")
    with pytest.raises(OutputError, match=r"cannot write to `output=.*Access denied"):
        hold_output(layout).__enter__()
    monkeypatch.setattr(lease, "RENEW_EVERY_S", 0.01)
    told: list[str] = []
    with hold_output(layout, told.append) as hold:
        store.proxy.inject("denied", store.write, "_LOCK", times=10_000)
        while store.proxy.injected["denied"] < 3:  # The thread goes on.
            time.sleep(0.01)
        with pytest.raises(LostOutputError, match=r"cannot tell whether .*: .*Access denied"):
            hold.check()
        with pytest.raises(PipelineError, match="Access denied"):
            hold.mark_done()
        for method in ("GET", "DELETE"):
            store.proxy.inject("denied", method, "_LOCK", times=10_000)
        with pytest.raises(LostOutputError, match=r"cannot tell who .*Access denied"):
            check_held(layout, hold.token)
    assert len(told) == 1
    assert "the lock file could not be removed" in told[0]
    with pytest.raises(OutputError, match=r"cannot remove .*Access denied"):
        release(layout, hold.token)


def test_a_folder_that_is_handed_over_never_times_out(layout, expire):
    with hold_output(layout) as hold:
        hold.hand_over("job-7")
    expire()
    with pytest.raises(OutputError, match=rf"held for the job job-7, .* {layout.lock_file}"):
        hold_output(layout).__enter__()
    check_held(layout, hold.token)
    release(layout, hold.token)
    with hold_output(layout):
        pass


def test_an_empty_or_foreign_lock_file_is_refused_while_it_is_new(layout, expire):
    for content in (b"", b"\xff" * 10_000):
        storage.write_file(layout.lock_file, content)
        with pytest.raises(OutputError, match="another run, of which its lock file tells nothing"):
            hold_output(layout).__enter__()
    expire()
    for content in (b"", b"\xff" * 10_000):
        storage.write_file(layout.lock_file, content)
        with hold_output(layout) as hold:
            assert hold.previous.token == ""


def test_without_conditions_there_is_a_word_and_what_can_be_done(store, layout):
    store.proxy.conditions = False
    told: list[str] = []
    with hold_output(layout, told.append) as hold:
        (note,) = told
        assert "does not obey conditions" in note
        hold.check()
        with pytest.raises(OutputError, match="in use by another run"):
            hold_output(layout).__enter__()
        storage.write_file(layout.lock_file, b"another's")
        with pytest.raises(LostOutputError):
            hold.check()
    assert storage.read_bytes(layout.lock_file) == b"another's"


def ask_when_told(output: str, ready, go, answers) -> None:
    lease.RENEW_EVERY_S = 0.05
    with hold_output(Layout(output)) as hold:
        ready.set()
        go.wait()
        try:
            hold.check()
            answers.put("held")
        except LostOutputError as error:
            answers.put(str(error))


def test_a_process_that_was_stopped_past_its_lease_has_lost_it(layout, monkeypatch):
    """As when a laptop sleeps, or a virtual machine is moved."""
    context = multiprocessing.get_context("spawn")
    ready, go, answers = context.Event(), context.Event(), context.Queue()
    process = context.Process(target=ask_when_told, args=(layout.path, ready, go, answers))
    process.start()
    assert ready.wait(60)
    with pytest.raises(OutputError):  # While it renews, it holds.
        hold_output(layout).__enter__()
    os.kill(process.pid, signal.SIGSTOP)
    monkeypatch.setattr(lease, "LEASE_S", 0.5)
    held = None
    while held is None:
        with suppress(OutputError):
            second = hold_output(layout)
            held = second.__enter__()
    os.kill(process.pid, signal.SIGCONT)
    go.set()
    assert "is no longer held by this run" in answers.get(timeout=60)
    process.join()
    held.check()
    second.__exit__(None, None, None)
