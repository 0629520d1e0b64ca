"""What a kind of input is: `Source`. The kinds there are stand in `registry`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, NamedTuple, TypeVar

import pyarrow as pa

from beamvec.errors import InputError
from beamvec.redact import redact
from beamvec.transforms.files import storage
from beamvec.transforms.files.readers import FILES, ImageReader
from beamvec.transforms.records.images import ImageRef
from beamvec.transforms.records.own_columns import NO_COLUMNS

_Source = TypeVar("_Source", bound="Source")


class Option(NamedTuple):
    """What a kind of input takes beside its names; several kinds may share one.

    Attributes:
        name: of the field, the argument and, with dashes, the flag.
        metavar: stands for the value in the help; None for a flag without one, which means True.
        help: a line.
        parse: makes the value of the flag's text.
    """

    name: str
    metavar: str | None
    help: str
    parse: Callable[[str], Any] = str


@dataclass(frozen=True)
class Source(ABC):
    """Where the images are named, by one kind of input.

    A kind is a subclass and a line in `registry`: flags, checks, listing, Dataflow's checks and
    `run.json` follow. Constructors touch no disk and no network; `check` does.

    Attributes:
        names: files, folders or patterns, at least one.
        columns: the user's own columns, which ride along; known after `check`.
        kind: the argument of `beamvec.extract` and, with dashes, the flag.
        metavar: stands for a name in the help.
        help: a line for the flag.
        repeatable: whether there may be several names.
        options: what it takes beside the names.
    """

    names: tuple[str, ...]
    columns: pa.Schema = NO_COLUMNS

    kind: ClassVar[str]
    metavar: ClassVar[str]
    help: ClassVar[str]
    repeatable: ClassVar[bool] = False
    options: ClassVar[tuple[Option, ...]] = ()

    def __post_init__(self) -> None:
        if not self.names or not all(self.names):
            raise InputError(f"`{self.kind}` is empty; it takes {self.help}")
        if len(self.names) > 1 and not self.repeatable:
            raise InputError(f"`{self.kind}` takes one name, not {len(self.names)}")

    def check(self: _Source) -> _Source:
        """Return the source with all that a run needs to know of it.

        Raises:
            InputError: if it names no image, or cannot be read or used.
        """
        for name in self.names:
            try:
                storage.check_store(name)
            except OSError as error:
                raise InputError(f"`{self.kind}={name}`: {error}") from error
        return replace(self, columns=self.find_columns())

    @abstractmethod
    def find_columns(self) -> pa.Schema:
        """Look at the input, raise `InputError` if it cannot be used, return its own columns."""

    @abstractmethod
    def list_images(self) -> Iterator[ImageRef]:
        """Yield every image that the input names, as often as it names it, lazily."""

    def split(self: _Source) -> list[_Source]:
        """Split into parts that can be listed in parallel."""
        return [replace(self, names=(name,)) for name in self.names]

    def find_some(self, count: int) -> list[ImageRef]:
        """Return some of the images, without listing all of them.

        None of what can be read only once, such as a pipe.
        """
        names = tuple(filter(_can_be_read_again, self.names))
        return list(islice(replace(self, names=names).list_images(), count)) if names else []

    @property
    def reader(self) -> ImageReader:
        """What reads the images that are listed."""
        return FILES

    @staticmethod
    def shard_key(ref: ImageRef) -> str:
        """Return what decides which shard an image is in; those with the same are in one."""
        return ref.uri

    @staticmethod
    def run_key(ref: ImageRef) -> tuple[str, int]:  # noqa: ARG004 For those who need it.
        """Return what run of neighbours an image is in; a chunk is of one run."""
        return "", 0

    def describe(self) -> tuple[str, ...]:
        """Return the names as they may be shown, without passwords."""
        return tuple(map(redact, self.names))


def _can_be_read_again(name: str) -> bool:
    return not storage.is_local(name) or os.path.isfile(os.path.expanduser(name))


def make_names(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return one name or several as a tuple; paths may be `os.PathLike`.

    >>> make_names("photos"), make_names(["a.jpg", "b.jpg"])
    (('photos',), ('a.jpg', 'b.jpg'))
    """
    several: Sequence[Any] = (
        value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    )
    return tuple(str(each) for each in several)
