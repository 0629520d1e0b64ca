"""What a kind of input is: `Source`. The kinds there are stand in `registry`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, NamedTuple, TypeVar

import pyarrow as pa

from beamvec.embeddings.unlisted import Unlisted
from beamvec.errors import InputError
from beamvec.redact import redact
from beamvec.transforms.files import storage
from beamvec.transforms.files.readers import FILES, ImageReader, path_of
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
        finds: whether it says where images are, so that `run.json` keeps it.
    """

    name: str
    metavar: str | None
    help: str
    parse: Callable[[str], Any] = str
    finds: bool = False


@dataclass(frozen=True)
class Source(ABC):
    """Where the images are named, by one kind of input.

    A kind is a subclass and a line in `registry`: flags, checks, listing, Dataflow's checks and
    `run.json` follow. Constructors touch no disk and no network; `check` does.

    Attributes:
        names: files, folders or patterns, at least one.
        columns: the user's own columns, which ride along; known after `check`.
        allow_empty: whether there may be no image at all.
        limit: how many images a run takes, None for all; see `list_all`.
        output: where the run writes, which is no input; empty for nowhere.
        kind: the argument of `beamvec.extract` and, with dashes, the flag.
        metavar: stands for a name in the help.
        help: a line for the flag.
        repeatable: whether there may be several names.
        options: what it takes beside the names.
    """

    names: tuple[str, ...]
    columns: pa.Schema = NO_COLUMNS
    allow_empty: bool = False
    output: str = ""
    limit: int | None = None

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
        if self.limit is not None and self.limit < 1:
            raise InputError(f"`limit={self.limit}` is out of range; it takes at least 1")

    def check(self: _Source) -> _Source:
        """Return the source with all that a run needs to know of it.

        Raises:
            InputError: if it names no image, or cannot be read or used.
        """
        for name in self.names:
            try:
                storage.check_store(path_of(name))
            except OSError as error:
                raise InputError(f"`{self.kind}={name}`: {error}") from error
        return replace(self, columns=self.find_columns())

    def check_shared(self) -> None:  # noqa: B027 Most kinds can be read anywhere.
        """Raise `InputError` if workers on other machines cannot list it, as far as is known."""

    @abstractmethod
    def find_columns(self) -> pa.Schema:
        """Look at the input, raise `InputError` if it cannot be used, return its own columns."""

    @abstractmethod
    def list_images(self) -> Iterator[ImageRef]:
        """Yield every image that the input names, as often as it names it, lazily."""

    def list_all(self) -> Iterator[ImageRef | Unlisted]:
        """Yield what a run takes, and what listing it has left out.

        That is every image that the input names, or the first `limit` of them, which are the same
        each time: in the order in which a list names them, or a container holds them.
        """
        return islice(self.list_images(), self.limit)

    def find_again(self, ref: ImageRef) -> ImageRef:
        """Return the ref of an earlier failure, with what this input knows of where it is."""
        return ref

    def list_parts(self: _Source) -> list[_Source]:
        """Return what is listed in parallel: with a limit, one part."""
        return self.split() if self.limit is None else [self]

    def find_images(self, uris: Sequence[str]) -> list[ImageRef]:
        """Return refs of images of a dataset, with what this input knows of where they are.

        Raises:
            InputError or OSError: if the input has to be read for that, and cannot be.
        """
        return [self.find_again(ImageRef(uri)) for uri in uris]

    @property
    def finds_by_names(self) -> bool:
        """Whether images are found in what `names` say, and not by their uris alone."""
        return False

    @property
    def folder(self) -> str:
        """Where the relative paths in it count from; empty where there are none."""
        return ""

    def split(self: _Source) -> list[_Source]:
        """Split into parts that can be listed in parallel."""
        return [self.with_names((name,)) for name in self.names]

    def with_names(self: _Source, names: tuple[str, ...]) -> _Source:
        """Return the same with some of the names."""
        return replace(self, names=names)

    def find_some(self, count: int) -> list[ImageRef]:
        """Return some of the images, without listing all of them."""
        return list(islice(self.list_images(), count))

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever starts the run should know of the input."""
        return ()

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

    @property
    def kept_options(self) -> dict[str, str]:
        """What says where images are, beside the names; what is not given is left out."""
        values = {each.name: getattr(self, each.name) for each in self.options if each.finds}
        return {name: str(value) for name, value in values.items() if value}

    def describe(self) -> tuple[str, ...]:
        """Return the names as they may be shown, without passwords."""
        return tuple(map(redact, self.names))


def make_names(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return one name or several as a tuple; paths may be `os.PathLike`.

    >>> make_names("photos"), make_names(["a.jpg", "b.jpg"])
    (('photos',), ('a.jpg', 'b.jpg'))
    """
    several: Sequence[Any] = (
        value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    )
    return tuple(str(each) for each in several)
