"""Images damaged in ways that files get damaged, and in ways that attack a decoder.

A seed and an index name one mutant, the same on every machine that has the same originals.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

import samples
from beamvec.transforms.inputs.patterns import IMAGE_EXTENSIONS

_MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "F")
_HEADER_BYTES = 256
_EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x100, 0x4000, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
PNG = b"\x89PNG\r\n\x1a\n"
_BOXES = (b"ftyp", b"jP  ")


class ImageFile(NamedTuple):
    """The bytes of an image; the name tells where they come from."""

    name: str
    data: bytes


class Layout(NamedTuple):
    """Where a file's chunks start, and where in a chunk the field is that gives its length."""

    starts: list[int]
    length_at: int = 0
    length_code: str = ">I"


@functools.cache
def load_originals(folder: Path | None) -> list[list[ImageFile]]:
    """Return groups of images: one made in every format and mode, and those of each subfolder."""
    groups = [list(_make_originals())]
    for group in sorted(folder.iterdir()) if folder else []:
        files = [f for f in sorted(group.rglob("*")) if f.suffix.lower() in IMAGE_EXTENSIONS]
        groups.append([ImageFile(str(f.relative_to(folder)), f.read_bytes()) for f in files])
    return groups


def _make_originals() -> Iterator[ImageFile]:
    Image.init()
    for format_ in sorted(set(Image.SAVE) & set(Image.ID) - {"EPS"}):
        for seed, mode in enumerate(_MODES):
            image = samples.make_image(seed)
            # Each format has an error of its own for a mode that it cannot hold.
            with contextlib.suppress(Exception):
                image = image.convert("I") if mode == "I;16" else image
                data = samples.encode(image.convert(mode), format_)
                yield ImageFile(f"made/{mode.replace(';', '')}.{format_.lower()}", data)


def mutate(folder: Path | None, seed: int, index: int) -> ImageFile:
    """Return an original of `load_originals` with one to three mutations."""
    draw = random.Random(f"{seed} {index}")
    groups = load_originals(folder)
    name, data = draw.choice(draw.choice(groups))
    splice = functools.partial(splice_header, other=draw.choice(draw.choice(groups)).data)
    ways: list[Callable[[bytes, random.Random], bytes]]
    ways = [flip_bits, cut_end, cut_out, swap_chunks, set_length, splice]
    for _ in range(draw.choice((1, 1, 2, 3))):
        data = draw.choice(ways)(data, draw)
    # Behind a wrong checksum nothing is parsed.
    return ImageFile(name, repair_png(data) if draw.random() < 0.5 else data)


def flip_bits(data: bytes, draw: random.Random) -> bytes:
    """Flip up to 32 bits, of the whole file or of its header."""
    flipped = bytearray(data)
    end = min(len(data), draw.choice((_HEADER_BYTES, len(data))))
    for _ in range(draw.choice((1, 2, 8, 32)) if end else 0):
        flipped[draw.randrange(end)] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def cut_end(data: bytes, draw: random.Random) -> bytes:
    """Cut the file short."""
    return data[: draw.randint(0, len(data))]


def cut_out(data: bytes, draw: random.Random) -> bytes:
    """Cut a piece out of the middle."""
    start = draw.randint(0, len(data))
    return data[:start] + data[start + draw.randint(1, 1000) :]


def swap_chunks(data: bytes, draw: random.Random) -> bytes:
    """Exchange two chunks, or double one."""
    starts = find_layout(data).starts
    edges = [*starts, len(data)]
    chunks = [data[a:b] for a, b in itertools.pairwise(edges)]
    if not chunks:
        return data
    a, b = draw.randrange(len(chunks)), draw.randrange(len(chunks))
    if draw.random() < 0.3:
        chunks.insert(a, chunks[b])
    else:
        chunks[a], chunks[b] = chunks[b], chunks[a]
    return data[: starts[0]] + b"".join(chunks)


def set_length(data: bytes, draw: random.Random) -> bytes:
    """Put an extreme value into a field that gives a length, or into any field of the header."""
    layout = find_layout(data)
    if layout.starts and draw.random() < 0.5:
        at, code = draw.choice(layout.starts) + layout.length_at, layout.length_code
    else:
        at, code = draw.randrange(_HEADER_BYTES), draw.choice(("<H", ">H", "<I", ">I"))
    size = struct.calcsize(code)
    value = struct.pack(code, draw.choice(_EXTREMES) & (256**size - 1))
    return data[:at] + value + data[at + size :]


def splice_header(data: bytes, draw: random.Random, other: bytes) -> bytes:
    """Put the head of another image before the rest of this one."""
    length = draw.choice((4, 8, 12, 16, 32, 64, _HEADER_BYTES, 1024))
    return other[:length] + data[length:]


def repair_png(data: bytes) -> bytes:
    """Make the checksums of a PNG right; other files stay as they are."""
    if not data.startswith(PNG):
        return data
    repaired = bytearray(data)
    for start in find_layout(data).starts:
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        if end + 4 <= len(data):
            repaired[end : end + 4] = zlib.crc32(data[start + 4 : end]).to_bytes(4, "big")
    return bytes(repaired)


def find_layout(data: bytes) -> Layout:
    """Return the chunks of PNG, RIFF, JPEG, TIFF and box formats; elsewhere, blocks of 64 bytes."""
    if data.startswith(PNG):
        return Layout(_walk(data, 8, 0, ">I", 12))
    if data.startswith(b"RIFF"):
        return Layout(_walk(data, 12, 4, "<I", 8), 4, "<I")
    if data.startswith(b"\xff\xd8"):
        return Layout(_walk(data, 2, 2, ">H", 2), 2, ">H")
    if data[4:8] in _BOXES:
        return Layout(_walk(data, 0, 0, ">I", 0))
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _find_tiff_entries(data)
    return Layout(list(range(0, len(data), 64)))


def _walk(data: bytes, at: int, length_at: int, code: str, extra: int) -> list[int]:
    """Follow the lengths of chunks; `extra` bytes are not counted in them."""
    starts = []
    while at + length_at + struct.calcsize(code) <= len(data):
        starts.append(at)
        step = extra + struct.unpack_from(code, data, at + length_at)[0]
        at += max(1, step + step % 2 if code == "<I" else step)
    return starts


def _find_tiff_entries(data: bytes) -> Layout:
    order = "<" if data.startswith(b"II") else ">"
    if len(data) < 8:
        return Layout([])
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    if first + 2 > len(data):
        return Layout([])
    (count,) = struct.unpack_from(f"{order}H", data, first)
    starts = [first + 2 + 12 * i for i in range(count)]
    return Layout([start for start in starts if start + 12 <= len(data)], 4, f"{order}I")
