"""Files that bring the decoder down cost their own row only."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import samples
from transforms import decoders
from transforms.decode import decode_chunk
from transforms.decoders import DecoderError, DecoderPool
from transforms.pixels import decode_image
from transforms.records import Chunk, ImageRef

BAD = "bad_decoders:decode"


def image(ending: str = "") -> bytes:
    return samples.encode(samples.make_image(1), "JPEG") + ending.encode()


@pytest.fixture
def pool():
    made = DecoderPool(2, BAD, timeout_s=4)
    yield made
    made.close()


def test_a_process_decodes_as_the_function_does(pool):
    decoded = pool.decode(image(), 16, "crop")
    expected = decode_image(image(), 16, "crop")
    np.testing.assert_array_equal(decoded.pixels, expected.pixels)
    assert decoded[1:] == expected[1:]


def test_errors_of_pillow_come_through(pool):
    with pytest.raises(DecoderError, match="cannot identify image file") as caught:
        pool.decode(b"text", 16, "stretch")
    assert caught.value.error_type == "UnidentifiedImageError"


@pytest.mark.parametrize(
    ("ending", "error_type", "message"),
    [
        ("@@crash ", "DecoderCrashed", "was killed by SIGSEGV"),
        ("@@exit ", "DecoderCrashed", "exited with 7"),
        ("@@hang ", "DecoderTimeout", "more than 4 s"),
    ],
)
def test_a_file_that_brings_the_decoder_down_is_named(pool, ending, error_type, message):
    for _ in range(2):
        with pytest.raises(DecoderError, match=message) as caught:
            pool.decode(image(ending), 16, "stretch")
        assert caught.value.error_type == error_type
    assert pool.decode(image(), 16, "stretch").width == 60


@pytest.mark.parametrize("ending", ["@@crash ", "@@exit ", "@@hang "])
def test_a_file_that_brings_the_decoder_down_costs_the_others_of_its_batch_nothing(pool, ending):
    batch = [image(), b"text", image(ending), image("more")]
    files = pool.decode_batch(batch, 16, "stretch")
    results = [file.result for file in files]
    assert [isinstance(result, DecoderError) for result in results] == [False, True, True, False]
    assert results[1].error_type == "UnidentifiedImageError"
    assert results[2].error_type in ("DecoderCrashed", "DecoderTimeout")
    assert [file.size_bytes for file in files] == [len(data) for data in batch]
    assert all(file.decode_s > 0 for file in files)


def test_a_batch_is_decoded_in_order(pool, tmp_path):
    files = [samples.encode(samples.make_image(seed, 30 + seed), "PNG") for seed in range(5)]
    for i in (1, 4):  # Those that are on disk are read by the process.
        (tmp_path / str(i)).write_bytes(files[i])
    sources = [str(tmp_path / str(i)) if i in (1, 4) else file for i, file in enumerate(files)]
    for file, decoded in zip(files, pool.decode_batch(sources, 16, "stretch"), strict=True):
        expected = decode_image(file, 16)
        np.testing.assert_array_equal(decoded.result.pixels, expected.pixels)
        assert decoded.result[1:] == expected[1:]
        assert decoded[1:3] == (len(file), hashlib.sha256(file).hexdigest())
    assert pool.decode_batch([], 16, "stretch") == []


def test_what_a_process_cannot_read_is_left_to_its_parent(pool, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "good").write_bytes(image())
    names = ("missing", "", "pipe", "good", "nul\0")
    files = pool.decode_batch([str(tmp_path / name) for name in names], 16, "stretch")
    assert [file.result is None for file in files] == [True, True, True, False, True]


def test_slow_storage_is_noticed_and_read_by_many_threads(photos, tmp_path):
    refs = tuple(ImageRef(str(file)) for file in sorted((photos / "group0").glob("*.jpg")))
    long = tmp_path / "long"  # Takes longer to read than to find that it is no image.
    with open(long, "wb") as file:
        file.truncate(20_000_000)
    pool = DecoderPool(1)
    with ThreadPoolExecutor(4) as threads:
        quick = decode_chunk(Chunk(0, 0, "", refs), 16, "stretch", threads, pool)
        assert not pool.reads_slowly
        for _ in range(decoders.SLOW_BATCHES):
            pool.decode_batch([str(long)], 16, "stretch")
        assert pool.reads_slowly
        slow = decode_chunk(Chunk(0, 0, "", refs), 16, "stretch", threads, pool)
    pool.close()
    np.testing.assert_array_equal(quick.pixels, slow.pixels)
    assert quick.images == slow.images


def test_a_process_killed_for_another_reason_costs_nothing(pool, tmp_path):
    decoded = pool.decode(image(f"@@crash-once {tmp_path}/mark"), 16, "stretch")
    assert decoded.width == 60
    assert (tmp_path / "mark").exists()


def test_large_images_take_turns(pool, tmp_path):
    log = tmp_path / "log"
    with ThreadPoolExecutor(4) as threads:
        futures = [
            threads.submit(pool.decode, image(f"@@large {log}"), 16, "stretch") for _ in range(6)
        ]
    assert all(future.result().width == 60 for future in futures)
    assert log.read_text() == "in out " * 6


def test_the_waiting_are_not_timed_while_another_large_image_hangs(pool, tmp_path):
    mark = tmp_path / "mark"
    mark.touch()
    with ThreadPoolExecutor(2) as threads:
        hanging = threads.submit(pool.decode, image("@@hang "), 16, "stretch")
        large = threads.submit(pool.decode, image(f"@@large {mark}"), 16, "stretch")
    assert large.result().width == 60
    with pytest.raises(DecoderError, match="took more than"):
        hanging.result()


def test_a_run_ends_with_one_failure_for_each_bad_file(
    extract, dataset, photos, tmp_path, monkeypatch
):
    pool = DecoderPool(2, BAD, timeout_s=10)
    monkeypatch.setattr("transforms.decode.shared_pool", lambda: pool)
    folder = tmp_path / "in"
    folder.mkdir()
    for file in (photos / "group0").glob("*.jpg"):
        (folder / file.name).write_bytes(file.read_bytes())
    good = len(os.listdir(folder))
    for name in ("crash", "hang", "exit"):
        (folder / f"{name}.jpg").write_bytes(image(f"@@{name} "))
    assert extract("--input", folder, "--max-failure-ratio", "1") == 0
    pool.close()
    failures = {
        Path(row["uri"]).stem: row["error_type"] for row in dataset().read_failures().to_pylist()
    }
    expected = {"crash": "DecoderCrashed", "exit": "DecoderCrashed", "hang": "DecoderTimeout"}
    assert failures == expected
    assert dataset().read_embeddings().num_rows == good


def test_no_process_outlives_its_parent():
    code = (
        "import time\nfrom transforms import decoders\n"
        "pool = decoders.DecoderPool(1)\n"
        "try: pool.decode(b'text', 8, 'stretch')\nexcept decoders.DecoderError: pass\n"
        "print(pool._idle.get()._process.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        child = int(run.stdout.readline())
        os.kill(child, 0)
        run.send_signal(signal.SIGKILL)
        run.wait()
    while is_running(child):  # The test hangs if it never ends.
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_there_is_one_pool_for_a_process():
    assert decoders.shared_pool() is decoders.shared_pool()


def test_a_default_timeout_of_sockets_changes_nothing():
    """Beam sets one when it looks for Google's credentials."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(60)
    try:
        made = DecoderPool(1)
        made.start()
    finally:
        socket.setdefaulttimeout(before)
    (decoder,) = made._take_idle()
    for _ in range(3):
        decoder.decode([image()], 16, "crop")
        time.sleep(0.2)  # The process waits for the next one.
    decoder.stop()
