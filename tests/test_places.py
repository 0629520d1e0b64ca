"""The places of a pool's decoders, with decoders that are none."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from beamvec.transforms.decoding.places import (
    ROOM_BYTES,
    DecoderStartError,
    Places,
    PoolClosedError,
)

HANG_S = 60.0


class FakeDecoder:
    """A decoder that is no process."""

    pid = 4711

    def __init__(self, is_ready: bool = True):
        self.is_ready = is_ready
        self.is_stopped = False

    def is_alive(self) -> bool:
        return not self.is_stopped

    def wait_ready(self) -> None:
        if not self.is_ready:
            self.stop()
            raise OSError("a new decoder exited with 1")

    def kill(self) -> None:
        pass

    def stop(self) -> None:
        self.is_stopped = True


def make(count: int, start: Callable[[], FakeDecoder] = FakeDecoder, stuck_s: float = HANG_S):
    return Places(count, start, start_s=0.2, stuck_s=stuck_s)


def start_first(*decoders: FakeDecoder) -> Callable[[], FakeDecoder]:
    """Start these decoders, and no more."""
    left = list(decoders)

    def start() -> FakeDecoder:
        if not left:
            raise BlockingIOError(11, "no process")
        return left.pop(0)

    return start


def borrow(places: Places) -> FakeDecoder:
    with places.borrow("a.jpg") as (_, decoder):
        return decoder


def test_it_goes_on_with_fewer_decoders_where_no_more_can_be_started():
    only = FakeDecoder()
    places = make(3, start_first(only))
    assert borrow(places) is only
    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(lambda _: borrow(places), range(100))) == {only}


def test_a_thread_that_cannot_start_one_waits_for_one_that_is_busy():
    only = FakeDecoder()
    places = make(2, start_first(only))
    with ThreadPoolExecutor(1) as threads:
        with places.borrow("a.jpg"):
            waiting = threads.submit(borrow, places)
            while "no process" not in places.describe():  # Until it was refused.
                time.sleep(0.001)
            time.sleep(0.3)  # Longer than `start_s`, which is for where there is none.
        assert waiting.result(HANG_S) is only


def test_a_decoder_that_ended_while_it_was_idle_is_replaced():
    first, second = FakeDecoder(), FakeDecoder()
    places = make(1, start_first(first, second))
    assert borrow(places) is first
    first.is_stopped = True
    assert borrow(places) is second


def test_no_place_is_lost_when_decoders_die_before_they_are_ready():
    places = make(1, start_first(*[FakeDecoder(is_ready=False) for _ in range(2)], FakeDecoder()))
    assert borrow(places).is_ready
    places = make(1, start_first())
    for _ in range(2):
        with pytest.raises(DecoderStartError, match="no process"):
            borrow(places)


def test_a_lasting_error_is_not_waited_out():
    def start() -> FakeDecoder:
        raise PermissionError(13, "Permission denied", "python")

    places = Places(1, start, start_s=HANG_S, stuck_s=HANG_S)
    with pytest.raises(DecoderStartError, match=r"can be started: .*Permission denied"):
        borrow(places)


def test_who_is_alone_waits_for_the_others_and_holds_them_back():
    places, events = make(2), []

    def be_alone() -> None:
        with places.borrow("large.tif", alone=True):
            events.append("alone in")
            time.sleep(0.05)
            events.append("alone out")

    with ThreadPoolExecutor(2) as threads:
        with places.borrow("a.jpg"):
            alone = threads.submit(be_alone)
            while "wants to be alone" not in places.describe():
                time.sleep(0.001)
            other = threads.submit(lambda: (borrow(places), events.append("other")))
            time.sleep(0.05)
            events.append("first out")
        alone.result(HANG_S)
        other.result(HANG_S)
    assert events == ["first out", "alone in", "alone out", "other"]


def test_large_images_have_one_turn_at_a_time_which_ends_with_the_place():
    places, log = make(4), []

    def decode_large() -> None:
        with places.borrow("large.tif") as (place, _):
            places.take_turn(place, 2 * ROOM_BYTES)
            places.take_turn(place, ROOM_BYTES)  # The next large image of the same parcel.
            log.append("in")
            time.sleep(0.01)
            log.append("out")

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(decode_large) for _ in range(8)]:
            future.result(HANG_S)
    assert log == ["in", "out"] * 8


def test_images_are_decoded_together_as_long_as_they_have_room_and_none_is_passed_over():
    places, held, most = make(6), [], []

    def decode(size_bytes: int) -> None:
        with places.borrow("large.tif") as (place, _):
            places.take_turn(place, size_bytes)
            held.append(size_bytes)
            most.append((sum(held), len(held)))
            time.sleep(0.01)
            held.remove(size_bytes)

    quarter = ROOM_BYTES // 4
    with ThreadPoolExecutor(6) as threads:
        sizes = [quarter, quarter, quarter, 3 * ROOM_BYTES, quarter, 3 * quarter, quarter] * 3
        for future in [threads.submit(decode, size) for size in sizes]:
            future.result(HANG_S)
    assert all(total <= ROOM_BYTES or together == 1 for total, together in most)
    assert len(most) == len(sizes)
    assert max(together for _, together in most) > 1


def test_closing_frees_who_waits_for_a_turn_and_who_waits_to_be_alone():
    places = make(3)

    def wait_for_turn() -> None:
        with places.borrow("b.tif") as (place, _):
            places.take_turn(place, 1)

    def wait_to_be_alone() -> None:
        with places.borrow("c.tif", alone=True):
            pass

    with ThreadPoolExecutor(2) as threads, places.borrow("a.tif") as (place, decoder):
        places.take_turn(place, ROOM_BYTES)
        waiting = [threads.submit(wait_for_turn), threads.submit(wait_to_be_alone)]
        places.close()
        for future in waiting:
            assert isinstance(future.exception(HANG_S), PoolClosedError)
    assert decoder.is_stopped


def test_nobody_waits_for_ever_for_a_decoder_that_is_stuck():
    places = make(1, stuck_s=0.1)
    with places.borrow("a.tif"), pytest.raises(DecoderStartError, match="are stuck: none has"):
        borrow(places)


def test_it_says_what_is_waited_for():
    places = make(2)
    assert places.describe() == "no decoder is busy"
    with places.borrow("s3://me:secret@bucket/a.tif"), places.borrow("b.tif"):
        assert places.describe() == (
            "waiting for decoders (pids 4711, 4711), the oldest of them busy for 0 s with "
            "s3://bucket/a.tif"
        )
