"""Zip files of images: `ZipFiles`. A uri is the file's path, `#` and the member's name."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from beamvec.transforms.files.ranges import Range, RangedFile, buffered, read_ranges
from beamvec.transforms.files.storage import ReadResult
from beamvec.transforms.files.zip_damage import ZIP_DAMAGES
from beamvec.transforms.inputs.containers import (
    Containers,
    DamagedContainerError,
    Found,
    Wanted,
    in_runs,
    is_image,
    printable,
)
from beamvec.transforms.records.own_columns import NO_COLUMNS

_HEADER = struct.Struct("<4s5H3L2H")
"""What stands before a member: APPNOTE.TXT 4.3.7. Its sizes may be missing, those of the directory
count."""

_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 1
_READ = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MOST_OVERHEAD = 1 << 16


class _UnreadableMemberError(OSError):
    """A member is stored in a way that is not read."""


class _Place(NamedTuple):
    """Where a member is, and what it must be.

    Attributes:
        part: its header and its bytes.
        packed: how many bytes it takes.
        size: how many it has.
        crc: their CRC-32.
        method: how they are packed.
        trouble: why it cannot be read, empty if it can.
    """

    part: Range
    packed: int
    size: int
    crc: int
    method: int
    trouble: str


@dataclass(frozen=True)
class ZipFiles(Containers):
    """Zip files with an image a member, stored or deflated."""

    kind = "input_zip"
    help = "zip files of images: files, folders or quoted globs; repeatable"
    extensions = (".zip",)

    def look_at(self, file: RangedFile) -> pa.Schema | None:
        """Look whether the directory names an image."""
        return NO_COLUMNS if next(self.list_members(file), None) else None

    def list_members(self, file: RangedFile) -> Iterator[Found]:
        """Read the directory, and yield its images in the order in which they lie."""
        images: dict[str, Found] = {}
        again = []
        for name, place in _read_directory(file):
            if is_image(name):
                if images.pop(name, None):
                    again.append(name)
                images[name] = Found(printable(name), place.size, place)
        yield from in_runs(images.values(), (images[name] for name in again))

    def read_members(
        self, file: RangedFile, wanted: Sequence[Wanted]
    ) -> Iterator[tuple[int, ReadResult]]:
        """Read members, neighbours in one read, and unpack them."""
        for each in wanted:
            if each.at.trouble:
                error = _UnreadableMemberError(each.at.trouble)
                yield each.number, ReadResult(b"", error, 0)
        there = [each for each in wanted if not each.at.trouble]
        for i, data in read_ranges(file, [each.at.part for each in there]):
            each = there[i]
            try:
                if isinstance(data, OSError):
                    raise data
                result = ReadResult(_unpack(data, each.at, each.limited(each.at.size)), None, 0)
            except OSError as error:
                result = ReadResult(b"", error, 0)
            yield each.number, result


def _read_directory(file: RangedFile) -> Iterator[tuple[str, _Place]]:
    """Yield the names of all files and where they are, in the order in which they lie."""
    try:
        with buffered(file) as source, zipfile.ZipFile(source) as archive:
            members = sorted(archive.infolist(), key=lambda info: info.header_offset)
            ends = [info.header_offset for info in members[1:]] + [archive.start_dir]
    except ZIP_DAMAGES as error:
        raise DamagedContainerError(f"no directory at its end: {error}") from error
    for info, end in zip(members, ends, strict=True):
        if not info.is_dir():
            part = Range(info.header_offset, max(0, end - info.header_offset))
            yield info.filename, _describe(info, part)


def _describe(info: zipfile.ZipInfo, part: Range) -> _Place:
    trouble = ""
    if info.flag_bits & _ENCRYPTED:
        trouble = "it is encrypted"
    elif info.compress_type not in _READ:
        trouble = f"it is packed by method {info.compress_type}; only 0 and 8 (deflate) are read"
    elif info.compress_size > info.file_size + _MOST_OVERHEAD + (info.file_size >> 8):
        trouble = f"it takes {info.compress_size:,} bytes to hold {info.file_size:,}"
    return _Place(part, info.compress_size, info.file_size, info.CRC, info.compress_type, trouble)


def _unpack(data: bytes, place: _Place, limit_bytes: int) -> bytes:
    """Return the first bytes of a member; all of it is checked.

    Raises:
        DamagedContainerError: if it is not what the directory tells.
    """
    where = f"at byte {place.part.start:,}"
    if len(data) < _HEADER.size or not data.startswith(_SIGNATURE):
        raise DamagedContainerError(f"no member begins {where}")
    *_, name_bytes, extra_bytes = _HEADER.unpack_from(data)
    start = _HEADER.size + name_bytes + extra_bytes
    packed = memoryview(data)[start : start + place.packed]
    if len(packed) < place.packed:
        raise DamagedContainerError(f"the member {where} is cut")
    if place.method == zipfile.ZIP_STORED:
        content = bytes(packed[:limit_bytes])
    else:
        try:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, limit_bytes + 1)
        except zlib.error as error:
            raise DamagedContainerError(
                f"the member {where} cannot be unpacked: {error}"
            ) from error
    if limit_bytes < place.size:
        return content[:limit_bytes]
    if len(content) != place.size or zlib.crc32(content) != place.crc:
        raise DamagedContainerError(f"the member {where} has another checksum (CRC-32)")
    return content
