"""Pixels come through memory that a decoder uses again: each image has its own all the same."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import samples
from beamvec.transforms.decoding.decode import LEAST_PARCEL_BYTES, PARCEL_BYTES, decode_chunk
from beamvec.transforms.decoding.decoder import Decoder
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.pool import DecoderPool
from beamvec.transforms.decoding.reading import ImageFile
from beamvec.transforms.decoding.resize import Resizing
from beamvec.transforms.decoding.shared import PixelMemory, create_shared_file
from beamvec.transforms.files.storage import ReadResult
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.images import ImageRef


class Named:
    """Reads images by their names; of some it says that they are local files, which are not there.

    Args:
        contents: of the files, by name.
        absent: for which the decoder finds no file.
    """

    def __init__(self, contents: dict[str, bytes], absent: set[str]):
        self._contents, self._absent = contents, absent

    def read(self, ref: ImageRef, limit_bytes: int | None = None) -> ReadResult:
        return ReadResult(self._contents[ref.uri][:limit_bytes], None, 0)

    def local_path(self, ref: ImageRef) -> str | None:
        return f"/no/such/{ref.uri}" if ref.uri in self._absent else None


def test_a_chunk_has_each_images_own_pixels_whatever_was_tried_again(tmp_path):
    """Files are decoded in parcels, alone, and once more; the pixels of all land in their rows."""
    endings = {
        3: f"@@crash-once {tmp_path}/crashed",
        5: f"@@no-memory-once {tmp_path}/short",
        8: "@@crash ",
        9: "@@exit ",
    }
    contents = {
        f"{i:02d}.jpg": samples.encode(samples.make_image(i), "JPEG") + endings.get(i, "").encode()
        for i in range(16)
    }
    contents["12.jpg"] = b"no image"
    resizing = Resizing(24, "crop")
    pool = DecoderPool(2, "bad_decoders:decode")
    chunk = Chunk(0, 0, "", tuple(map(ImageRef, contents)))
    with ThreadPoolExecutor(4) as threads:
        reader = Named(contents, {"01.jpg", "05.jpg", "12.jpg", "15.jpg"})
        decoded = decode_chunk(chunk, resizing, threads, pool, reader)
    pool.close()
    names = [image.ref.uri for image in decoded.images]
    assert names == [name for name in contents if name[:2] not in ("08", "09", "12")]
    for name, pixels in zip(names, decoded.pixels, strict=True):
        assert np.array_equal(pixels, decode_image(contents[name], resizing).pixels), name


def test_pixels_of_one_answer_survive_the_next():
    """They lie in memory that the decoder uses again, and that grows with larger requests."""
    expected, found = [], []
    pool = DecoderPool(1)
    for count, size in ((1, 8), (3, 8), (2, 40), (1, 9), (64, 40)):
        files = [samples.encode(samples.make_image(i), "JPEG") for i in range(count)]
        resizing = Resizing(size, "stretch")
        expected += [decode_image(file, resizing).pixels for file in files]
        found += [each.image.pixels for each in pool.decode_parcel(name_all(files), resizing)]
    pool.close()
    assert len(found) == 71
    assert all(map(np.array_equal, expected, found))


def name_all(files: list[bytes]) -> list[ImageFile]:
    return [ImageFile(ImageRef(f"{i}.jpg"), file) for i, file in enumerate(files)]


def test_pixels_of_large_models_go_in_small_parcels(photos, monkeypatch):
    """The memory that a decoder shares does not grow with the number of files."""
    asked = note_parcels(monkeypatch)
    refs = tuple(ImageRef(str(file)) for file in sorted((photos / "group0").glob("*.jpg")))
    pool = DecoderPool(1)
    with ThreadPoolExecutor(2) as threads:
        decode_chunk(Chunk(0, 0, "", refs * 8), Resizing(1600, "stretch"), threads, pool)
    pool.close()
    assert max(asked) == 2
    assert sum(asked) == 8 * len(refs)


def note_parcels(monkeypatch) -> list[int]:
    """Note how many images each parcel has that a decoder is sent."""
    asked = []
    ask = Decoder.ask
    monkeypatch.setattr(
        Decoder,
        "ask",
        lambda self, request, turn: asked.append(len(request.files)) or ask(self, request, turn),
    )
    return asked


@pytest.mark.parametrize("knows_size", [True, False])
def test_large_files_are_sent_one_by_one_also_where_nobody_has_told_their_size(
    knows_size, tmp_path, monkeypatch
):
    """Those of `Embedder.embed` and `EmbedImages`; in one parcel only one core would decode."""
    asked = note_parcels(monkeypatch)
    large, small = tmp_path / "large.jpg", tmp_path / "small.jpg"
    samples.make_image(1).save(small)
    large.write_bytes(small.read_bytes() + bytes(PARCEL_BYTES))
    files = [large, large, *[small] * 5, large]
    refs = tuple(ImageRef(str(file), file.stat().st_size if knows_size else None) for file in files)
    pool = DecoderPool(1)
    with ThreadPoolExecutor(1) as threads:
        decoded = decode_chunk(Chunk(0, 0, "", refs), Resizing(16), threads, pool)
    pool.close()
    assert len(decoded.images) == len(files)
    assert sorted(asked) == [1, 1, 6]


def test_towards_the_end_of_a_chunk_decoders_are_sent_less(tmp_path, monkeypatch):
    """One that had as much as before would be busy with it when the others have nothing to do."""
    asked = note_parcels(monkeypatch)
    file = tmp_path / "a.jpg"
    samples.make_image(1).save(file)
    file.write_bytes(file.read_bytes() + bytes(LEAST_PARCEL_BYTES // 2))
    refs = (ImageRef(str(file), file.stat().st_size),) * 64
    pool = DecoderPool(2)
    with ThreadPoolExecutor(1) as threads:
        decode_chunk(Chunk(0, 0, "", refs), Resizing(16), threads, pool)
    pool.close()
    assert sum(asked) == len(refs)
    assert asked == sorted(asked, reverse=True)
    assert asked[0] > 8 > 2 >= asked[-1]


def test_a_decoder_cannot_take_memory_away_from_its_parent():
    """To read what is gone would end the parent, by SIGBUS."""
    descriptor = create_shared_file()
    memory = PixelMemory(descriptor)
    memory.view(1, 8)
    if hasattr(os, "memfd_create"):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
    memory.close()
    memory.close()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no such files")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EACCES])
def test_pixels_go_through_a_temporary_file_where_the_system_refuses_one_in_memory(
    number, monkeypatch
):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "memfd_create", refuse)
    file = samples.encode(samples.make_image(1), "JPEG")
    pool = DecoderPool(1, start_s=0.1)
    found = pool.decode(file, Resizing(40))
    pool.close()
    assert np.array_equal(found.pixels, decode_image(file, Resizing(40)).pixels)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no such files")
def test_a_file_that_cannot_be_sealed_is_not_left_open(monkeypatch):
    create, made = os.memfd_create, []
    monkeypatch.setattr(os, "memfd_create", lambda name, _: made.append(create(name)) or made[-1])
    memory = PixelMemory(create_shared_file())
    memory.view(1, 8)[:] = 7
    memory.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])
