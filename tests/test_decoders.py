"""Files that bring the decoder down cost their own row only."""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import samples
from beamvec.transforms.decoding.decode import decode_chunk
from beamvec.transforms.decoding.decoder import CRASHED, TIMED_OUT, DecoderDiedError
from beamvec.transforms.decoding.limits import Limits
from beamvec.transforms.decoding.outcome import Cause, Outcome
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.places import DecoderStartError, PoolClosedError
from beamvec.transforms.decoding.pool import SLOW_PARCELS, DecoderError, DecoderPool, SharedPool
from beamvec.transforms.decoding.process import decode_file
from beamvec.transforms.decoding.reading import ImageFile, read_file
from beamvec.transforms.decoding.resize import Resizing
from beamvec.transforms.decoding.retries import decode_with_retries
from beamvec.transforms.files.readers import FILES
from beamvec.transforms.files.storage import ReadResult
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.images import ImageRef

BAD = "bad_decoders:decode"
LIMIT = 1_000_000
REAL_TIME = getattr(signal, "SIGRTMIN", 0) + 1  # It has no name.


def image(ending: str = "") -> bytes:
    return samples.encode(samples.make_image(1), "JPEG") + ending.encode()


@pytest.fixture
def pool():
    made = DecoderPool(2, BAD, timeout_s=4)
    yield made
    made.close()


def test_a_process_decodes_as_the_function_does(pool):
    decoded = pool.decode(image(), Resizing(16, "crop"))
    expected = decode_image(image(), Resizing(16, "crop"))
    np.testing.assert_array_equal(decoded.pixels, expected.pixels)
    assert decoded[1:] == expected[1:]


def test_errors_of_pillow_come_through(pool):
    with pytest.raises(DecoderError, match="a text, not an image") as caught:
        pool.decode(b"text", Resizing(16, "stretch"))
    assert caught.value.error_type == "UnidentifiedImageError"


@pytest.mark.parametrize(
    ("ending", "error_type", "message"),
    [
        ("@@crash ", "DecoderCrashed", "was killed by SIGSEGV"),
        ("@@exit ", "DecoderCrashed", "exited with 7"),
        pytest.param(
            f"@@signal {REAL_TIME}",
            "DecoderCrashed",
            f"was killed by signal {REAL_TIME}",
            marks=pytest.mark.skipif(REAL_TIME == 1, reason="no real-time signals here"),
        ),
        ("@@kill ", "DecoderCrashed", "killed by SIGKILL, most likely for want of memory"),
        ("@@hang ", "DecoderTimeout", "more than 4 s"),
    ],
)
def test_a_file_that_brings_the_decoder_down_is_named(pool, ending, error_type, message):
    for _ in range(2):
        with pytest.raises(DecoderError, match=message) as caught:
            pool.decode(image(ending), Resizing(16, "stretch"))
        assert caught.value.error_type == error_type
    assert pool.decode(image(), Resizing(16, "stretch")).width == 60


def test_it_works_beside_more_than_1024_open_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    made = DecoderPool(1)
    try:
        assert max(held) > 1024
        assert made.decode(image(), Resizing(16)).width == 60
    finally:
        made.close()
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def sources(*contents: bytes | str) -> list[ImageFile]:
    return [ImageFile(ImageRef(f"{i}.jpg"), content) for i, content in enumerate(contents)]


@pytest.mark.parametrize("ending", ["@@crash ", "@@exit ", "@@hang "])
def test_a_file_that_brings_the_decoder_down_costs_the_others_of_its_parcel_nothing(pool, ending):
    parcel = sources(image(), b"text", image(ending), image("more"))
    outcomes = pool.decode_parcel(parcel, Resizing(16, "stretch"))
    errors = [outcome.error for outcome in outcomes]
    assert [outcome.image is None for outcome in outcomes] == [False, True, True, False]
    assert [error is None for error in errors] == [True, False, False, True]
    assert errors[1].error_type == "UnidentifiedImageError"
    assert errors[2].error_type in ("DecoderCrashed", "DecoderTimeout")
    assert [outcome.size_bytes for outcome in outcomes] == [len(one.content) for one in parcel]
    assert all(outcome.decode_s > 0 for outcome in outcomes)


def test_a_parcel_is_decoded_in_order(pool, tmp_path):
    files = [samples.encode(samples.make_image(seed, 30 + seed), "PNG") for seed in range(5)]
    for i in (1, 4):  # Those that are on disk are read by the process.
        (tmp_path / str(i)).write_bytes(files[i])
    contents = [str(tmp_path / str(i)) if i in (1, 4) else file for i, file in enumerate(files)]
    outcomes = pool.decode_parcel(sources(*contents), Resizing(16, "stretch"))
    for file, outcome in zip(files, outcomes, strict=True):
        expected = decode_image(file, Resizing(16))
        np.testing.assert_array_equal(outcome.image.pixels, expected.pixels)
        assert outcome.image[1:] == expected[1:]
        assert outcome.size_bytes == len(file)
        assert outcome.sha256 == hashlib.sha256(file).hexdigest()
    assert pool.decode_parcel([], Resizing(16, "stretch")) == []


def test_what_a_process_cannot_read_is_read_by_its_parent(pool, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "good").write_bytes(image())
    (tmp_path / "folder").mkdir()
    names = ("missing", "pipe", "good", "nul\0", "folder")
    parcel = [ImageFile(ImageRef(uri, 5), uri) for uri in (f"{tmp_path}/{name}" for name in names)]
    errors = [outcome.error for outcome in pool.decode_parcel(parcel, Resizing(16, "stretch"))]
    assert errors.pop(2) is None
    assert {error.stage for error in errors} == {"read"}
    types = [error.error_type for error in errors]
    assert types == ["FileNotFoundError", "OSError", "OSError", "IsADirectoryError"]


class PatientReader:
    """Reads what a decoder process cannot, at the second try."""

    def read(self, ref: ImageRef, limit_bytes: int | None = None) -> ReadResult:  # noqa: ARG002
        return ReadResult(ref.uri.encode(), None, 1)

    def local_path(self, ref: ImageRef) -> str | None:
        return ref.uri


class FakeDecoder:
    """Decodes nothing, and dies of contents that say so; notes what it was asked."""

    def __init__(self, unread: str = ""):
        self.asked: list[list[bytes | str]] = []
        self.alone: list[bytes | str] = []
        self.unread = unread

    def __call__(self, parcel: list[ImageFile], alone: bool) -> list[Outcome]:
        self.asked.append([source.content for source in parcel])
        self.alone += self.asked[-1] if alone else []
        for i, source in enumerate(parcel):
            if source.content in (b"crash", b"hang"):
                error_type = CRASHED if source.content == b"crash" else TIMED_OUT
                raise DecoderDiedError(error_type, "died", index=i)
            if source.content == b"killed" or (source.content == b"memory" and not alone):
                raise DecoderDiedError(CRASHED, "died", was_killed=True, index=i)
            if source.content == b"once" and self.asked.count([b"once"]) < 1:
                raise DecoderDiedError(CRASHED, "died", index=i)
        return [self.decode(source.content) for source in parcel]

    def decode(self, content: bytes | str) -> Outcome:
        stage = "read" if content == self.unread else "decode"
        return Outcome(None, Cause(stage, "E", repr(content)), read_s=1, decode_s=2)


def test_of_a_parcel_that_died_a_crash_is_decoded_once_more_and_a_time_limit_is_paid_once():
    ask = FakeDecoder()
    contents = [b"good", b"crash", b"hang", b"once"]
    outcomes = decode_with_retries(sources(*contents), ask, FILES, LIMIT)
    after_crash = [[b"crash"], [b"crash"], [b"good", b"hang", b"once"]]
    after_hang = [[b"good", b"once"], [b"once"], [b"good"]]
    assert ask.asked == [contents, *after_crash, *after_hang]
    assert [outcome.error.error_type for outcome in outcomes] == ["E", CRASHED, TIMED_OUT, "E"]
    assert [outcome.size_bytes for outcome in outcomes] == [None, 5, 4, None]


def test_what_was_killed_for_want_of_memory_is_decoded_alone_before_it_counts_as_its_fault():
    ask = FakeDecoder()
    contents = [b"good", b"memory", b"killed", b"crash"]
    errors = [one.error for one in decode_with_retries(sources(*contents), ask, FILES, LIMIT)]
    assert ask.alone == [b"memory", b"killed"]
    assert [error.error_type for error in errors] == ["E", "E", CRASHED, CRASHED]
    assert errors[2].message == (
        "the decoder was killed by SIGKILL, most likely for want of memory, also when it decoded "
        "alone"
    )
    assert errors[3].message == "died"


def test_images_that_are_killed_when_they_meet_are_decoded_one_at_a_time(pool, tmp_path):
    with ThreadPoolExecutor(2) as threads:
        images = [image(f"@@meet {tmp_path}") for _ in range(2)]
        futures = [threads.submit(pool.decode, one, Resizing(16, "stretch")) for one in images]
    assert [future.result().width for future in futures] == [60, 60]


@pytest.mark.parametrize("others", [0, 2])
def test_an_image_that_memory_did_not_suffice_for_is_decoded_once_more(pool, tmp_path, others):
    parcel = sources(image(f"@@no-memory-once {tmp_path}/mark"), *[image()] * others)
    outcomes = pool.decode_parcel(parcel, Resizing(16, "stretch"))
    assert [outcome.error for outcome in outcomes] == [None] * (1 + others)
    assert (tmp_path / "mark").exists()


def test_a_file_that_the_decoder_could_not_read_is_read_once_and_sent():
    ask = FakeDecoder(unread="a")
    parcel = [ImageFile(ImageRef(uri), uri) for uri in "ab"]
    first, second = decode_with_retries(parcel, ask, PatientReader(), LIMIT)
    assert ask.asked == [["a", "b"], [b"a"]]
    assert first.error.message == "b'a'"
    assert (first.read_s, first.decode_s, second.read_s) == (2, 4, 1)


def test_an_image_that_could_not_be_read_is_never_sent():
    ask = FakeDecoder()
    error = Cause("read", "OSError", "gone")
    unread = ImageFile(ImageRef("a", 9), b"", error, read_s=3, read_retries=2)
    outcomes = decode_with_retries([unread, *sources(b"good")], ask, FILES, LIMIT)
    assert ask.asked == [[b"good"]]
    assert outcomes[0] == Outcome(None, error, 9, read_s=3, read_retries=2)


class CountingReader:
    """Reads images of any length, and notes how much of them it was asked for."""

    def __init__(self):
        self.limits: list[int | None] = []

    def read(self, ref: ImageRef, limit_bytes: int | None = None) -> ReadResult:
        self.limits.append(limit_bytes)
        return ReadResult(bytes(int(ref.uri))[:limit_bytes], None, 0)

    def local_path(self, ref: ImageRef) -> str | None:  # noqa: ARG002 As the protocol has it.
        return None


def test_an_image_that_is_too_large_is_not_read_or_not_to_its_end():
    reader = CountingReader()
    known, unknown, fits = (ImageRef("11", 11), ImageRef("11"), ImageRef("10", 10))
    read = [read_file(ref, reader, 10) for ref in (known, unknown, fits)]
    assert reader.limits == [11, 11]
    assert [one.content for one in read] == [b"", b"", bytes(10)]
    messages = [one.error and one.error.message for one in read]
    assert messages[:2] == [
        f"{told}more than the 10 bytes of --max-file-size" for told in ("11 bytes, ", "")
    ]
    assert {one.error[:2] for one in read[:2]} == {("read", "FileTooLarge")}
    assert read[2].error is None


@pytest.mark.parametrize("limit", [99, 100])
def test_a_local_file_is_read_by_a_process_up_to_the_limit(limit, tmp_path):
    (tmp_path / "a").write_bytes(bytes(100))
    pool = DecoderPool(1, limits=Limits(max_file_size=limit))
    [outcome] = pool.decode_parcel(sources(str(tmp_path / "a")), Resizing(16, "stretch"))
    pool.close()
    assert outcome.error.stage == ("read" if limit == 99 else "decode")
    assert outcome.size_bytes == 100
    if limit == 99:
        assert outcome.error[1:] == (
            "FileTooLarge",
            "100 bytes, more than the 99 bytes of --max-file-size",
        )


@pytest.mark.parametrize(("limit", "stage"), [(50, "read"), (1 << 20, "decode")])
def test_a_file_that_does_not_tell_its_size_is_read_up_to_the_limit(limit, stage):
    assert os.path.getsize("/proc/cpuinfo") == 0
    outcome = decode_file("/proc/cpuinfo", lambda _: 1 / 0, limit)
    assert outcome.error.stage == stage
    whole = len(Path("/proc/cpuinfo").read_bytes())
    assert outcome.size_bytes == (None if stage == "read" else whole)


def test_a_file_of_gigabytes_is_one_failure_and_takes_no_memory(extract, dataset, photos, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    with open(folder / "sparse.jpg", "wb") as file:
        file.truncate(600 << 30)  # No machine has the memory for it.
    good = next((photos / "group0").glob("*.jpg"))
    (folder / "good.jpg").write_bytes(good.read_bytes())
    flags = ["--input", folder, "--max-failure-ratio", "1"]
    assert extract(*flags) == 0
    [failure] = dataset().read_failures().to_pylist()
    assert (failure["stage"], failure["error_type"]) == ("read", "FileTooLarge")
    assert failure["message"] == (
        "644,245,094,400 bytes, more than the 536,870,912 bytes of --max-file-size"
    )
    assert failure["size_bytes"] == 600 << 30
    assert dataset().run.counts.embeddings == 1
    assert extract(*flags, "--max-file-size", "1kB", "--overwrite") == 0
    assert dataset().run.counts.failures == 2
    assert dataset().run.settings.max_file_size == 1000


def test_slow_storage_is_noticed_and_read_by_many_threads(photos, tmp_path):
    refs = tuple(ImageRef(str(file)) for file in sorted((photos / "group0").glob("*.jpg")))
    long = tmp_path / "long"  # Takes longer to read than to find that it is no image.
    with open(long, "wb") as file:
        file.truncate(100_000_000)
    pool = DecoderPool(1)
    with ThreadPoolExecutor(4) as threads:
        quick = decode_chunk(Chunk(0, 0, "", refs), Resizing(16, "stretch"), threads, pool)
        assert not pool.reads_slowly
        for _ in range(SLOW_PARCELS):
            pool.decode_parcel(sources(str(long)), Resizing(16, "stretch"))
        assert pool.reads_slowly
        slow = decode_chunk(Chunk(0, 0, "", refs), Resizing(16, "stretch"), threads, pool)
    pool.close()
    np.testing.assert_array_equal(quick.pixels, slow.pixels)
    assert quick.images == slow.images


def test_a_process_killed_for_another_reason_costs_nothing(pool, tmp_path):
    decoded = pool.decode(image(f"@@crash-once {tmp_path}/mark"), Resizing(16, "stretch"))
    assert decoded.width == 60
    assert (tmp_path / "mark").exists()


def test_large_images_take_turns(pool, tmp_path):
    log = tmp_path / "log"
    with ThreadPoolExecutor(4) as threads:
        futures = [
            threads.submit(pool.decode, image(f"@@large {log}"), Resizing(16, "stretch"))
            for _ in range(6)
        ]
    assert all(future.result().width == 60 for future in futures)
    assert log.read_text() == "in out " * 6


def test_the_waiting_are_not_timed_while_another_large_image_hangs(pool, tmp_path):
    mark = tmp_path / "mark"
    mark.touch()
    with ThreadPoolExecutor(2) as threads:
        hanging = threads.submit(pool.decode, image("@@hang "), Resizing(16, "stretch"))
        large = threads.submit(pool.decode, image(f"@@large {mark}"), Resizing(16, "stretch"))
    assert large.result().width == 60
    with pytest.raises(DecoderError, match="took more than"):
        hanging.result()


def test_a_run_ends_with_one_failure_for_each_bad_file(
    extract, dataset, photos, tmp_path, monkeypatch
):
    pool = SharedPool(2, BAD, timeout_s=10)
    monkeypatch.setattr("beamvec.pipeline.run.launch.SharedPool", lambda **_: pool)
    folder = tmp_path / "in"
    folder.mkdir()
    for file in (photos / "group0").glob("*.jpg"):
        (folder / file.name).write_bytes(file.read_bytes())
    good = len(os.listdir(folder))
    for name in ("crash", "hang", "exit"):
        (folder / f"{name}.jpg").write_bytes(image(f"@@{name} "))
    assert extract("--input", folder, "--max-failure-ratio", "1") == 0
    pool.get().close()
    failures = {
        Path(row["uri"]).stem: row["error_type"] for row in dataset().read_failures().to_pylist()
    }
    expected = {"crash": "DecoderCrashed", "exit": "DecoderCrashed", "hang": "DecoderTimeout"}
    assert failures == expected
    assert dataset().read_embeddings().num_rows == good


def test_no_process_outlives_its_parent():
    code = (
        "import time\nfrom beamvec.transforms.decoding.pool import DecoderError, DecoderPool\n"
        "from beamvec.transforms.decoding.resize import Resizing\n"
        "pool = DecoderPool(1)\n"
        "try: pool.decode(b'text', Resizing(8, 'stretch'))\nexcept DecoderError: pass\n"
        "print(*pool.pids(), flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        child = int(run.stdout.readline())
        os.kill(child, 0)
        run.send_signal(signal.SIGKILL)
        run.wait()
    while is_running(child):  # The test hangs if it never ends.
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["hang", "hang-in-c"])
def test_no_busy_process_outlives_its_parent(how, tmp_path):
    mark = tmp_path / "mark"
    code = (
        "import sys, threading, time\n"
        "from beamvec.transforms.decoding.pool import DecoderPool\n"
        "from beamvec.transforms.decoding.resize import Resizing\n"
        f"pool = DecoderPool(1, {BAD!r})\npool.start()\nprint(*pool.pids(), flush=True)\n"
        f"pool.decode(b'@@{how} {mark}', Resizing(8, 'stretch'))\n"
    )
    tests = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((tests, *filter(None, sys.path)))}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as run:
        child = int(run.stdout.readline())
        while not mark.exists():  # The test hangs if it never comes so far.
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
    start = time.monotonic()
    while is_running(child) and time.monotonic() - start < 30:
        time.sleep(0.01)
    assert not is_running(child)


def test_a_process_outlives_the_thread_that_started_it(pool):
    thread = threading.Thread(target=pool.start)
    thread.start()
    thread.join()
    pids = pool.pids()
    assert pool.decode(image(), Resizing(16, "crop")).width == 60
    assert pool.pids() == pids


def test_a_process_needs_no_temporary_folder(tmp_path, monkeypatch):
    """Others can make a file in one that all share, and hold its lock for ever."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    made = DecoderPool(1, BAD)
    log = tmp_path / "log"
    assert made.decode(image(f"@@large {log}"), Resizing(16, "crop")).width == 60
    made.close()
    assert os.listdir(tmp_path) == ["log"]


STOP_S = 9.0


def test_a_run_that_was_stopped_for_long_goes_on():
    """As by Ctrl-Z, or with its decoders by who suspends jobs: longer than any time limit."""
    code = (
        "import sys\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "from beamvec.transforms.decoding.pool import DecoderPool\n"
        "from beamvec.transforms.decoding.resize import Resizing\n"
        f"pool = DecoderPool(1, {BAD!r}, timeout_s=2, start_s=2)\n"
        "data = sys.stdin.buffer.read()\npool.decode(data, Resizing(8))\n"
        "print(*pool.pids(), flush=True)\n"
        "with ThreadPoolExecutor(4) as threads:\n"
        "    images = threads.map(lambda _: pool.decode(data, Resizing(8)), range(30))\n"
        "    print(*{image.width for image in images})\npool.close()\n"
    )
    tests = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((tests, *filter(None, sys.path)))}
    start = functools.partial(
        subprocess.Popen, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    command = [sys.executable, "-c", code]
    with start(command) as alone, start(command) as whole:
        for run in (alone, whole):
            run.stdin.write(image("@@nap 0.1"))
            run.stdin.close()
        decoders = [int(run.stdout.readline()) for run in (alone, whole)]
        stopped = (alone.pid, whole.pid, decoders[1])
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(STOP_S)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        assert [run.stdout.read().split() for run in (alone, whole)] == [[b"60"], [b"60"]]


def test_decoders_work_where_the_standard_streams_are_closed():
    """New files take their numbers then, as in a daemon that has closed them."""
    code = (
        "import os, sys\n"
        "from beamvec.transforms.decoding.pool import DecoderPool\n"
        "from beamvec.transforms.decoding.resize import Resizing\n"
        "data = sys.stdin.buffer.read()\n"
        "for number in range(3): os.close(number)\n"
        "width = DecoderPool(1, start_s=0.1).decode(data, Resizing(8)).width\n"
        "os._exit(width)"
    )
    ended = subprocess.run([sys.executable, "-c", code], input=image(), check=False)
    assert ended.returncode == 60


def test_a_fork_of_a_process_whose_decoders_are_busy_has_its_own(tmp_path):
    """As of `multiprocessing`, in a program that embeds images in a thread."""
    mark = tmp_path / "mark"
    handle = SharedPool(1, BAD)
    with ThreadPoolExecutor(1) as threads:
        pool = handle.get()
        hanging = threads.submit(pool.decode, image(f"@@hang {mark}"), Resizing(16))
        while not mark.exists():
            time.sleep(0.01)
        fork = multiprocessing.get_context("fork").Process(target=decode_and_exit, args=(handle,))
        fork.start()
        fork.join(30)  # Without decoders of its own it waits for minutes.
        fork.kill()
        assert handle.get() is pool
        pool.close()
        assert isinstance(hanging.exception(), PoolClosedError)
    fork.join()
    assert fork.exitcode == 60


def decode_and_exit(handle: SharedPool) -> None:
    os._exit(handle.get().decode(image(), Resizing(16)).width)


def refuse_processes(monkeypatch, errors: list[Exception]) -> None:
    """Let starting a process fail with these errors, one after the other."""
    popen = subprocess.Popen

    def start(*args, **options):
        if errors:
            raise errors.pop(0)
        return popen(*args, **options)

    monkeypatch.setattr("beamvec.transforms.decoding.decoder.subprocess.Popen", start)


REFUSALS = [BlockingIOError(11, "no process"), OSError(12, "no memory"), MemoryError()]


def test_starting_a_process_is_tried_again(pool, monkeypatch):
    refuse_processes(monkeypatch, [*REFUSALS])
    pool.start()
    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(pool.decode, image(), Resizing(16, "crop")) for _ in range(8)]
    assert {future.result().width for future in futures} == {60}


@pytest.mark.parametrize("error", REFUSALS, ids=repr)
def test_whoever_waits_for_a_process_that_cannot_be_started_is_told(error, monkeypatch):
    pool = DecoderPool(2, BAD, start_s=0.1)
    refuse_processes(monkeypatch, errors := [error] * 1000)
    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(pool.decode, image(), Resizing(16, "crop")) for _ in range(8)]
    for future in futures:
        assert isinstance(future.exception(), DecoderStartError)
        assert "raise the limits of processes" in str(future.exception())
    assert "no decoder can be started" in pool.describe()
    errors.clear()
    assert pool.decode(image(), Resizing(16, "crop")).width == 60
    assert pool.describe() == "no decoder is busy"
    pool.close()


def test_a_process_that_dies_before_it_can_be_asked_is_no_files_fault():
    pool = DecoderPool(1, "no_such_module:decode", start_s=0.1)
    with pytest.raises(DecoderStartError, match="a new decoder exited with 1"):
        pool.decode(image(), Resizing(16, "crop"))
    pool.close()


def test_a_run_whose_decoders_cannot_be_started_ends_with_3(extract, photos, monkeypatch, capsys):
    pool = SharedPool(2, BAD, start_s=0.2)
    monkeypatch.setattr("beamvec.pipeline.run.launch.SharedPool", lambda **_: pool)
    refuse_processes(monkeypatch, [OSError(12, "Cannot allocate memory")] * 1000)
    assert extract("--input", photos) == 3
    pool.get().close()
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "no process that decodes could be started for 0.2 s: [Errno 12]" in shown


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_equal_handles_give_the_one_pool_of_the_process():
    copies = [SharedPool(2, BAD), *(pickle.loads(pickle.dumps(SharedPool(2, BAD))) for _ in "ab")]
    with ThreadPoolExecutor(8) as threads:
        pools = list(threads.map(lambda handle: handle.get(), copies * 20))
    assert set(map(id, pools)) == {id(pools[0])}
    assert SharedPool(3, BAD).get() is not pools[0]
    pools[0].close()
    assert SharedPool(2, BAD).get() is not pools[0]


def test_a_closed_pool_decodes_nothing_and_leaves_no_process(pool):
    pool.start()
    pids = pool.pids()
    assert len(set(pids)) == 2
    for _ in range(2):
        pool.close()
    assert pool.is_closed
    assert pool.pids() == []
    assert not any(map(is_running, pids))
    for call in (pool.start, lambda: pool.decode(image(), Resizing(16, "stretch"))):
        with pytest.raises(PoolClosedError):
            call()


def test_closing_a_pool_frees_threads_that_decode_and_threads_that_wait(tmp_path):
    pool = DecoderPool(1, BAD)
    mark = tmp_path / "mark"
    with ThreadPoolExecutor(3) as threads:
        hanging = threads.submit(pool.decode, image(f"@@hang {mark}"), Resizing(16, "stretch"))
        while not mark.exists():  # Until then it may not have been taken.
            time.sleep(0.01)
        pids = pool.pids()
        parcel = sources(image(), image())
        waiting = [
            threads.submit(pool.decode_parcel, parcel, Resizing(16, "crop")) for _ in range(2)
        ]
        start = time.monotonic()
        pool.close()
        for future in (hanging, *waiting):
            assert isinstance(future.exception(), PoolClosedError)
    assert time.monotonic() - start < 5
    assert not any(map(is_running, pids))


def test_a_chunk_ends_with_its_pool(photos):
    pool = DecoderPool(1)
    pool.close()
    refs = tuple(ImageRef(str(file)) for file in sorted((photos / "group0").glob("*.jpg")))
    with ThreadPoolExecutor(2) as threads, pytest.raises(PoolClosedError):
        decode_chunk(Chunk(0, 0, "", refs), Resizing(16, "stretch"), threads, pool)


def test_a_process_loads_neither_beam_nor_pyarrow():
    code = (
        "import sys, beamvec.transforms.decoding.process\n"
        "assert not {'apache_beam', 'pyarrow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_default_timeout_of_sockets_changes_nothing():
    """Beam sets one when it looks for Google's credentials."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(60)
    try:
        made = DecoderPool(1)
        made.start()
    finally:
        socket.setdefaulttimeout(before)
    pids = made.pids()
    for _ in range(3):
        made.decode(image(), Resizing(16, "crop"))
        time.sleep(0.2)  # The process waits for the next one.
    assert made.pids() == pids
    made.close()
