"""What is tried again, and for how long."""

from __future__ import annotations

import errno
import io

import disk_filesystem
import pytest

from beamvec.transforms.files import retrying, storage
from beamvec.transforms.files.errors import (
    ConflictError,
    NoStoreError,
    StoreError,
    ThrottledError,
    TransientError,
)


class Clock:
    """A clock that moves on by what is slept, and no more."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(retrying, "time", clock)
    return clock


class Flaky:
    """What fails so many times."""

    def __init__(self, faults: int, error: OSError):
        self.faults, self.error, self.calls = faults, error, 0

    def __call__(self, *_: object) -> bytes:
        self.calls += 1
        if self.calls <= self.faults:
            raise self.error
        return b"content"


URI = "s3://bucket/key"
PASSING = [
    (ThrottledError(errno.EIO, "slow down", URI), retrying.THROTTLED_S),
    (TransientError(errno.EIO, "it failed", URI), retrying.TRANSIENT_S),
    (ConnectionResetError(errno.ECONNRESET, "reset"), retrying.TRANSIENT_S),
    (TimeoutError(errno.ETIMEDOUT, "too slow"), retrying.TRANSIENT_S),
    (OSError(errno.EIO, "a disk"), retrying.DISK_S),
]


@pytest.mark.parametrize(("error", "patience_s"), PASSING)
def test_what_may_pass_is_tried_again_for_a_limited_time(clock, error, patience_s):
    assert retrying.call(Flaky(3, error)) == b"content"
    assert len(clock.waits) == 3
    assert all(0.25 * 2**i <= wait <= 0.75 * 2**i for i, wait in enumerate(clock.waits))
    clock.waits.clear()
    for_ever = Flaky(1_000, error)
    with pytest.raises(OSError, match=error.strerror) as raised:
        retrying.call(for_ever)
    assert type(raised.value) is (StoreError if isinstance(error, StoreError) else type(error))
    longest_s = 1.5 * retrying.MAX_DELAY_S
    assert patience_s - longest_s < sum(clock.waits) <= patience_s
    assert for_ever.calls == len(clock.waits) + 1


def test_the_last_error_tells_how_often_it_was_tried(clock):
    with pytest.raises(StoreError, match=r"slow down; tried \d+ times in \d+ s: 's3://bucket"):
        retrying.call(Flaky(1_000, PASSING[0][0]))
    assert sum(clock.waits) > 200


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "gone"),
        PermissionError(errno.EACCES, "no"),
        OSError(errno.EINVAL, "no name"),
        OSError(errno.ENOSPC, "full"),
        StoreError(errno.EIO, "lasting"),
        ConflictError(errno.EEXIST, "another one"),
        NoStoreError("no package"),
    ],
)
def test_what_lasts_is_not_tried_again(clock, error):
    with pytest.raises(type(error)) as raised:
        retrying.call(Flaky(9, error))
    assert raised.value is error
    assert clock.waits == []


def test_a_limit_holds_for_a_block(clock):
    with retrying.limited(10.0), pytest.raises(StoreError):
        retrying.call(Flaky(1_000, PASSING[0][0]))
    assert sum(clock.waits) <= 10
    retrying.call(Flaky(9, PASSING[0][0]))


@pytest.mark.parametrize("faults", [2, 1_000])
@pytest.mark.usefixtures("clock")
def test_reads_count_what_was_tried_again(monkeypatch, faults):
    error = ConnectionResetError(errno.ECONNRESET, "reset")
    flaky = Flaky(faults, error)
    opened = lambda *_, **__: io.BytesIO(flaky())  # noqa: E731
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "open", opened)
    result = storage.try_read("disk://a")
    assert (result.data, result.error) == ((b"content", None) if faults == 2 else (b"", error))
    assert result.retries == flaky.calls - 1 < 20
