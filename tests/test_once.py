"""What follows from files is computed once, until one of them changes."""

from __future__ import annotations

import os
import threading

import pytest

from beamvec.transforms.files.once import OncePerContent


@pytest.fixture
def file(tmp_path):
    """A file of four bytes."""
    path = tmp_path / "file"
    path.write_bytes(b"true")
    return path


def test_it_is_computed_once_for_all_threads(file):
    once, calls = OncePerContent[bytes](), []

    def compute() -> bytes:
        calls.append(1)
        return file.read_bytes()

    threads = [threading.Thread(target=once.get, args=([str(file)], compute)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (once.get([str(file)], compute), len(calls)) == (b"true", 1)


def test_a_file_that_was_written_or_replaced_is_read_again(file, tmp_path):
    once = OncePerContent[bytes]()
    assert once.get([str(file)], file.read_bytes) == b"true"
    seen = file.stat()
    file.write_bytes(b"fake")
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert once.get([str(file)], file.read_bytes) == b"fake"
    other = tmp_path / "other"
    other.write_bytes(b"lies")
    os.utime(other, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    other.replace(file)
    assert once.get([str(file)], file.read_bytes) == b"lies"


def test_a_file_that_is_gone_is_an_error_and_errors_are_not_kept(file):
    once = OncePerContent[bytes]()

    def fail() -> bytes:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        once.get([str(file)], fail)
    assert once.get([str(file)], file.read_bytes) == b"true"
    file.unlink()
    with pytest.raises(FileNotFoundError):
        once.get([str(file)], file.read_bytes)
