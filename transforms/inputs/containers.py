"""Containers: files that hold many images each. What their kinds share: `Containers`.

An image's uri is the container's path, `#`, and a name that the kind gives it. Containers are
listed one by one, and cut into runs of `RUN_IMAGES` neighbours: a shard gets whole runs, and a
chunk is of one run, so that its images lie side by side and are read together.
"""

from __future__ import annotations

import os
import urllib.parse
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, NamedTuple, TypeVar

import pyarrow as pa

from beamvec.errors import InputError
from beamvec.transforms.files import ranges, storage
from beamvec.transforms.files.ranges import RangedFile
from beamvec.transforms.files.readers import ImageReader
from beamvec.transforms.files.storage import ListedFile, ReadResult
from beamvec.transforms.inputs.container_names import is_compressed
from beamvec.transforms.inputs.file_names import find_apple, is_image_name
from beamvec.transforms.inputs.look_up import look_up
from beamvec.transforms.inputs.patterns import expand_pattern, is_own
from beamvec.transforms.inputs.source import Source
from beamvec.transforms.records.images import ImageRef, Member

RUN_IMAGES = 128
"""Neighbours in a run: as many as a chunk has by default, so that each byte is read once."""

MARK = "#"
"""Stands between a container and what is in it."""

_Containers = TypeVar("_Containers", bound="Containers")


class ContainerError(OSError):
    """A container cannot be used; the message says why, without its name."""


class DamagedContainerError(ContainerError):
    """Bytes of a container are not what its format wants; the message says which and why."""


class Found(NamedTuple):
    """An image in a container.

    Attributes:
        name: its name there, of its own.
        size_bytes: its size, None where the container does not tell.
        at: where it is, for `read_members`.
        run: the run that it is in.
        columns: values of the container's own columns.
    """

    name: str
    size_bytes: int | None
    at: Any
    run: int = 0
    columns: tuple[Any, ...] = ()


class Wanted(NamedTuple):
    """An image to be read.

    Attributes:
        number: its place among those asked for.
        at: where it is, as `list_members` found it.
        limit_bytes: read no more than the first bytes.
    """

    number: int
    at: Any
    limit_bytes: int | None

    def limited(self, size_bytes: int) -> int:
        """Return how many bytes to read of an image of that size."""
        return size_bytes if self.limit_bytes is None else min(size_bytes, self.limit_bytes)


@dataclass(frozen=True)
class Containers(Source):
    """Files that hold many images each, by their names, folders of them, and globs.

    A kind says how images are found in an open container and read from it. What it raises as
    `DamagedContainerError` or another `OSError` is told with the container's name.

    Attributes:
        extensions: of the names that a folder is searched for, in any case.
    """

    metavar = "PATTERN"
    repeatable = True
    extensions: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def look_at(self, file: RangedFile) -> pa.Schema | None:
        """Return the own columns of a container, None if it holds no image."""

    @abstractmethod
    def list_members(self, file: RangedFile) -> Iterator[Found]:
        """Yield the images of a container, in the order in which they lie."""

    @abstractmethod
    def read_members(
        self, file: RangedFile, wanted: Sequence[Wanted]
    ) -> Iterator[tuple[int, ReadResult]]:
        """Read images of a container, each once; the numbers are those of `wanted`."""

    def find_columns(self) -> pa.Schema:
        """Look whether there are containers, and at the first of them that holds an image."""
        last = ""
        for container in self._find_containers():
            last = container.path
            with self.open(container.path) as file:
                columns = self.look_at(file)
            if columns is not None:
                return columns
        raise InputError(f"`{self.kind}={last}`: no images in it, nor in any other that is named")

    def list_images(self) -> Iterator[ImageRef]:
        """Yield the images of one container after the other."""
        for container in self._find_containers():
            yield from self._list(container)

    def split(self: _Containers) -> list[_Containers]:
        """Split into single containers."""
        return [
            replace(self, names=(_as_pattern(container.path),))
            for container in self._find_containers()
        ]

    def find_some(self, count: int) -> list[ImageRef]:
        """Return the first images of the first container."""
        return list(islice(self.list_images(), count))

    @property
    def reader(self) -> ImageReader:
        """What reads the images of a chunk in a few long reads."""
        from beamvec.transforms.inputs.container_reader import ContainerReader

        return ContainerReader(self)

    @staticmethod
    def shard_key(ref: ImageRef) -> str:
        """Keep the images of a run together."""
        if isinstance(ref.place, Member):
            return f"{ref.place.container}{MARK}{ref.place.run}"
        return ref.uri

    @staticmethod
    def run_key(ref: ImageRef) -> tuple[str, int]:
        """Return container and run; images of an earlier input have a run of their own."""
        if isinstance(ref.place, Member):
            return ref.place.container + MARK, ref.place.run
        return ref.uri.partition(MARK)[0] + MARK, -1

    @contextmanager
    def open(self, path: str) -> Iterator[RangedFile]:
        """Open a container; what goes wrong in the block is told with its name.

        Raises:
            InputError: for whatever is wrong with it.
        """
        try:
            with ranges.open_file(path) as file:
                yield file
        except DamagedContainerError as error:
            raise InputError(
                f"`{self.kind}={path}` is damaged: {error}; what it holds cannot be told, so "
                "restore it or leave it out"
            ) from error
        except ContainerError as error:
            raise InputError(f"`{self.kind}={path}`: {error}") from error
        except OSError as error:
            raise InputError(f"cannot read `{self.kind}={path}`: {error}") from error

    def _list(self, container: ListedFile) -> Iterator[ImageRef]:
        path, _, modified_s = container
        with self.open(path) as file:
            for found in self.list_members(file):
                place = Member(path, file.size_bytes, found.run, found.at)
                uri = f"{path}{MARK}{found.name}"
                yield ImageRef(uri, found.size_bytes, modified_s, found.columns, place)

    def _find_containers(self) -> Iterator[ListedFile]:
        for name in self.names:
            found = self._expand(name)
            if not found:
                known = " ".join(self.extensions)
                raise InputError(
                    f"`{self.kind}={name}`: no such file or folder, or nothing in it that ends in "
                    f"{known}"
                )
            yield from found

    def _expand(self, name: str) -> list[ListedFile]:
        """Return the containers that a name stands for, sorted by their paths."""
        try:
            found = self._expand_local(name) if storage.is_local(name) else self._expand_uri(name)
        except OSError as error:
            raise InputError(f"cannot list `{self.kind}={name}`: {error}") from error
        # What beamvec itself writes is no input.
        found = [each for each in found if not (self.output and is_own(each, self.output))]
        for container in found:
            self._require_usable(container.path)
        return sorted(found)

    def _expand_local(self, name: str) -> list[ListedFile]:
        path = os.path.abspath(os.path.expanduser(name))
        if not os.path.isdir(path):
            return [ListedFile(*ref[:3]) for ref in expand_pattern(name)]
        inside = (entry.path for entry in storage.list_tree(path))
        return [ListedFile(*look_up(file)[:3]) for file in inside if self._is_named_so(file)]

    def _expand_uri(self, name: str) -> list[ListedFile]:
        pattern = name.rstrip("/")
        is_bucket = "/" not in pattern.partition("://")[2]
        found = [] if is_bucket else storage.match(pattern)
        if found or set("*?[") & set(pattern):
            return found
        inside = storage.match(storage.join(pattern, "**"))
        return [file for file in inside if self._is_named_so(file.path)]

    def _is_named_so(self, path: str) -> bool:
        return path.lower().endswith(self.extensions)

    def _require_usable(self, path: str) -> None:
        if is_compressed(path):
            raise InputError(
                f"`{self.kind}={path}` is compressed as a whole, so that no image in it can be "
                "found without reading all before it; unpack it (images are compressed anyway)"
            )
        if MARK in path:
            raise InputError(
                f"`{self.kind}={path}`: a container's name may have no {MARK}, which stands "
                "between it and what is in it; rename it"
            )


def in_runs(images: Iterable[Found], again: Iterable[Found] = ()) -> Iterator[Found]:
    """Give images, in the order in which they lie, their runs.

    Args:
        images: of names that differ.
        again: images of names that came more than once: a container means the last of them, and
            the others are listed as duplicates of it.
    """
    run_of = {}
    for i, image in enumerate(images):
        run_of[image.name] = i // RUN_IMAGES
        yield image._replace(run=i // RUN_IMAGES)
    for image in again:
        yield image._replace(run=run_of[image.name])


def is_image(name: str) -> bool:
    """Tell by its name whether a member is an image, and not what macOS keeps beside it.

    >>> is_image("a/0001.left.JPG"), is_image("a/._0001.jpg"), is_image("0001.txt")
    (True, False, False)
    """
    return is_image_name(name) and not find_apple(name)


def printable(name: str) -> str:
    r"""Return a member's name as Parquet can hold it: bytes that are no UTF-8 are escaped.

    >>> printable("caf\udce9.jpg")
    'caf%E9.jpg'
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return urllib.parse.quote(os.fsencode(name))
    return name


def _as_pattern(path: str) -> str:
    """Return what stands for just this file, whatever its name looks like."""
    return path if storage.is_local(path) else storage.literal(path)
