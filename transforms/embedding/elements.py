"""What the elements of a PCollection are to `EmbedImages`, and what rides along of them."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from apache_beam.typehints import schemas, typehints

from beamvec.embeddings import schema
from beamvec.errors import ArgumentError
from beamvec.transforms.files.readers import FILES, ImageReader
from beamvec.transforms.files.storage import ReadResult
from beamvec.transforms.records.images import ImageRef

_ADVICE = (
    "it takes uris (str), tuple[key, str], tuple[key, bytes], or rows with a uri; tell Beam what "
    "it is with .with_output_types(...) on the step before"
)


class _Contents(NamedTuple):
    """Reads images that are in memory; the uri of each is its place among them."""

    data: Sequence[bytes]

    def read(self, ref: ImageRef, limit_bytes: int | None = None) -> ReadResult:  # noqa: ARG002
        return ReadResult(self.data[int(ref.uri)], None, 0)

    def local_path(self, ref: ImageRef) -> str | None:  # noqa: ARG002 There is none.
        return None


@dataclass(frozen=True)
class Shape:
    """What elements of the input are, and what rides along of them.

    Attributes:
        own: names and types of what rides along, in order.
        uri: tells an element's uri, None where it holds the image itself.
        content: tells an element's image, None where it has a uri.
        values: tells what rides along of an element.
    """

    own: tuple[tuple[str, Any], ...]
    uri: Callable[[Any], str] | None
    content: Callable[[Any], bytes] | None
    values: Callable[[Any], tuple[Any, ...]]

    def make_refs(self, elements: Sequence[Any]) -> tuple[tuple[ImageRef, ...], ImageReader]:
        """Return a ref an element, and what reads them."""
        own = [self.values(element) for element in elements]
        if self.content:
            refs = tuple(ImageRef(str(i), columns=values) for i, values in enumerate(own))
            return refs, _Contents([self.content(element) for element in elements])
        assert self.uri
        pairs = zip(map(self.uri, elements), own, strict=True)
        return tuple(ImageRef(uri, columns=values) for uri, values in pairs), FILES


def _first(element: Any) -> Any:
    return element[0]


def _second(element: Any) -> Any:
    return element[1]


def _itself(element: Any) -> Any:
    return element


def _key(element: Any) -> tuple[Any, ...]:
    return (element[0],)


def _nothing(_: Any) -> tuple[Any, ...]:
    return ()


@dataclass(frozen=True)
class _Fields:
    """Takes some fields of a row."""

    names: tuple[str, ...]

    def __call__(self, row: Any) -> tuple[Any, ...]:
        return tuple(getattr(row, name) for name in self.names)


@dataclass(frozen=True)
class _UriField:
    """Takes the uri of a row; one that has none cannot be read, which is told like any failure."""

    name: str

    def __call__(self, row: Any) -> str:
        return getattr(row, self.name) or ""


def find_shape(element_type: Any, uri_column: str) -> Shape:
    """Tell from the type of its elements what a PCollection holds.

    Raises:
        ArgumentError: if that is nothing that can be embedded.
    """
    if element_type is str:
        return Shape((), _itself, None, _nothing)
    parts = _tuple_parts(element_type)
    if parts is not None and len(parts) == 2 and parts[1] in (str, bytes):
        own = (("key", parts[0]),)
        if parts[1] is str:
            return Shape(own, _second, None, _key)
        return Shape(own, None, _second, _key)
    try:
        fields = schemas.named_fields_from_element_type(element_type)
    except TypeError:
        raise ArgumentError(f"EmbedImages cannot embed {element_type}: {_ADVICE}") from None
    # Where annotations are strings, as with `from __future__ import annotations`, Beam gives up.
    hints = typing.get_type_hints(element_type) if isinstance(element_type, type) else {}
    return _row_shape([(name, hints.get(name, type_)) for name, type_ in fields], uri_column)


def _tuple_parts(element_type: Any) -> tuple[Any, ...] | None:
    if isinstance(element_type, typehints.TupleConstraint):
        return tuple(element_type.tuple_types)
    if typing.get_origin(element_type) is tuple:
        return typing.get_args(element_type)
    return None


def _row_shape(fields: Sequence[tuple[str, Any]], uri_column: str) -> Shape:
    types = dict(fields)
    if types.get(uri_column) not in (str, typing.Optional[str]):  # noqa: UP045
        raise ArgumentError(
            f"`uri_column={uri_column}`: the rows have no text of that name, but {', '.join(types)}"
        )
    own = tuple((name, type_) for name, type_ in fields if name != uri_column)
    taken = [name for name, _ in own if name in schema.RESERVED_NAMES]
    if taken:
        raise ArgumentError(
            f"the rows have a column {taken[0]!r}, which is one of the output; rename it"
        )
    return Shape(own, _UriField(uri_column), None, _Fields(tuple(name for name, _ in own)))
