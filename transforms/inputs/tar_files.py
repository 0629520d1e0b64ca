"""Tar files of images, WebDataset's too: `TarFiles`.

A uri is the file's path, `#` and the member's name. WebDataset's rule parts a member's name at the
first dot of its base name into the key of its sample and an extension; members of a sample need
not be adjacent.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import BinaryIO

import pyarrow as pa

from beamvec.transforms.files.ranges import Range, RangedFile, buffered, read_ranges
from beamvec.transforms.files.storage import ReadResult
from beamvec.transforms.inputs.containers import (
    ContainerError,
    Containers,
    DamagedContainerError,
    Found,
    Wanted,
    in_runs,
    is_image,
    printable,
)

SIDECARS = ("txt", "json", "cls")
"""Extensions of the members that ride along as text with the images of their sample."""

MAX_SIDECAR_BYTES = 1 << 20

_LOOK_AT = 1_000
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class _UnreadableMemberError(OSError):
    """A member has no bytes that could be read."""


@dataclass
class _Listing:
    """The members of a container that count.

    Attributes:
        images: by name, in the order in which they lie: where, or why they cannot be read.
        again: names that came more than once; the last counts, as for tar itself.
        sidecars: their texts by key, then by extension.
    """

    images: dict[str, Range | str] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)
    sidecars: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        """Take a member, if it counts."""
        key, extension = split_name(info.name)
        if is_image(info.name):
            if self.images.pop(info.name, None) is not None:
                self.again.append(info.name)
            self.images[info.name] = self._find(info)
        elif extension in SIDECARS and info.isreg():
            self.sidecars.setdefault(key, {})[extension] = _read_text(tar, info)

    def _find(self, info: tarfile.TarInfo) -> Range | str:
        if info.issparse():
            return "it is stored with holes (sparse), which is not read"
        if info.isreg():
            return Range(info.offset_data, info.size)
        if not (info.islnk() or info.issym()):
            return "it is no file"
        folder = posixpath.dirname(info.name) if info.issym() else ""
        target = posixpath.normpath(posixpath.join(folder, info.linkname))
        found = self.images.get(info.linkname if info.islnk() else target)
        return found or f"it is a link to {info.linkname}, which is no image before it"


@dataclass(frozen=True)
class TarFiles(Containers):
    """Tar files with an image a member; .txt, .json and .cls beside an image become columns."""

    kind = "input_tar"
    help = "tar files of images (WebDataset): files, folders or quoted globs; repeatable"
    extensions = (".tar",)

    def look_at(self, file: RangedFile) -> pa.Schema | None:
        """Look at the first members, and on until there is an image."""
        listing = _Listing()
        numbers = count(1)
        for tar, info in _read_members(file):
            listing.add(tar, info)
            if next(numbers) >= _LOOK_AT and listing.images:
                break
        if not listing.images:
            return None
        keys = {split_name(name)[0] for name in listing.images}
        found = {name for key, texts in listing.sidecars.items() if key in keys for name in texts}
        return pa.schema([pa.field(name, pa.string()) for name in SIDECARS if name in found])

    def list_members(self, file: RangedFile) -> Iterator[Found]:
        """Go through all of a container, then yield its images."""
        listing = _Listing()
        for tar, info in _read_members(file):
            listing.add(tar, info)
        images = {name: self._find(name, at, listing) for name, at in listing.images.items()}
        yield from in_runs(images.values(), (images[name] for name in listing.again))

    def _find(self, name: str, at: Range | str, listing: _Listing) -> Found:
        texts = listing.sidecars.get(split_name(name)[0], {})
        more = set(texts) - set(self.columns.names)
        if more:
            raise ContainerError(
                f"beside {name!r} is a .{min(more)}, of which there is none in the first container "
                f"(its first {_LOOK_AT:,} members); name one first that has it"
            )
        columns = tuple(texts.get(column) for column in self.columns.names)
        size_bytes = at.size if isinstance(at, Range) else None
        return Found(printable(name), size_bytes, at, columns=columns)

    def read_members(
        self, file: RangedFile, wanted: Sequence[Wanted]
    ) -> Iterator[tuple[int, ReadResult]]:
        """Read the bytes of members, neighbours in one read."""
        for each in wanted:
            if not isinstance(each.at, Range):
                yield each.number, ReadResult(b"", _UnreadableMemberError(each.at), 0)
        there = [each for each in wanted if isinstance(each.at, Range)]
        sizes = [each.limited(each.at.size) for each in there]
        parts = [Range(each.at.start, size) for each, size in zip(there, sizes, strict=True)]
        for i, data in read_ranges(file, parts):
            yield there[i].number, to_result(data, parts[i])


def to_result(data: bytes | OSError, part: Range) -> ReadResult:
    """Return what came of reading a part of a container."""
    if isinstance(data, OSError):
        return ReadResult(b"", data, 0)
    if len(data) < part.size:
        at = part.start + len(data)
        return ReadResult(b"", DamagedContainerError(f"the container ends at byte {at:,}"), 0)
    return ReadResult(data, None, 0)


def split_name(name: str) -> tuple[str, str]:
    """Part a member's name into the key of its sample and its extension, in lower case.

    >>> split_name("train.v1/0001.left.JPG"), split_name("README")
    (('train.v1/0001', 'left.jpg'), ('README', ''))
    """
    folder, slash, base = name.rpartition("/")
    key, _, extension = base.partition(".")
    return folder + slash + key, extension.lower()


def _read_members(file: RangedFile) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield the members of a tar file; where it does not end as it should, it is damaged."""
    with buffered(file) as source:
        _require_plain(source)
        try:
            with tarfile.open(fileobj=source, mode="r:", errors="surrogateescape") as tar:
                while (info := tar.next()) is not None:
                    yield tar, info
                    tar.members = []  # type: ignore[attr-defined] # Else it remembers all.
                _require_end(source, tar.offset)
        except tarfile.TarError as error:
            raise DamagedContainerError(f"before byte {source.tell():,}: {error}") from error


def _require_plain(source: BinaryIO) -> None:
    start = source.read(6)
    source.seek(0)
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise ContainerError(
                f"it is compressed as a whole ({name}), so that no image in it can be found "
                "without reading all before it; unpack it (images are compressed anyway)"
            )


def _require_end(source: BinaryIO, at: int) -> None:
    """Raise `DamagedContainerError` unless there is an end's mark, and nothing behind it.

    `tarfile` takes whatever is no header for the end.
    """
    source.seek(at)
    block = source.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise DamagedContainerError(f"it ends at byte {at + len(block):,}, without an end's mark")
    if any(block):
        raise DamagedContainerError(f"what begins at byte {at:,} is no header of a member")
    while block := source.read(1 << 20):
        if any(block):
            behind = at + tarfile.BLOCKSIZE
            raise DamagedContainerError(
                f"its end's mark is at byte {at:,}, but there is more behind byte {behind:,}, as "
                "where several were put together"
            )


def _read_text(tar: tarfile.TarFile, info: tarfile.TarInfo) -> str:
    """Read a member that rides along; what is no UTF-8 becomes escapes."""
    if info.size > MAX_SIDECAR_BYTES:
        raise ContainerError(
            f"{info.name!r} has {info.size:,} bytes; no more than {MAX_SIDECAR_BYTES:,} ride along "
            "with an image"
        )
    content = tar.extractfile(info)
    assert content is not None
    return content.read().decode(errors="backslashreplace")
