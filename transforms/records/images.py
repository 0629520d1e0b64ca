"""Images on their way: what names one, what is known of it, why it failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class ImageRef(NamedTuple):
    """One image of the input.

    Attributes:
        uri: a path or URI that a Beam filesystem can open.
        size_bytes: size of the file, None where listing did not tell.
        modified_s: modification time in seconds since 1970, None where listing did not tell.
        columns: values of the manifest's own columns, in the manifest's order.
        place: where its bytes are, for the source's reader, if not at `uri`: it is no part of any
            digest, as the same image may be found elsewhere tomorrow (a signed URL).
    """

    uri: str
    size_bytes: int | None = None
    modified_s: float | None = None
    columns: tuple[Any, ...] = ()
    place: Any = None


class Member(NamedTuple):
    """Where an image lies in a container: the `place` of such a ref.

    Attributes:
        container: path or URI of the container.
        container_bytes: its size when it was listed.
        run: number of the run of neighbours that it belongs to, from 0; a chunk is of one run.
        at: where in the container, for the reader of its kind.
    """

    container: str
    container_bytes: int
    run: int
    at: Any


def pack_refs(refs: Sequence[ImageRef]) -> tuple[tuple[Any, ...], ...]:
    """Turn refs into columns, which are pickled and restored several times as fast."""
    return tuple(zip(*refs, strict=True))


def unpack_refs(columns: tuple[tuple[Any, ...], ...]) -> tuple[ImageRef, ...]:
    """Turn the columns of `pack_refs` back into refs.

    >>> unpack_refs(pack_refs([ImageRef("a.jpg", 1), ImageRef("b.jpg")]))[1].uri
    'b.jpg'
    """
    return tuple(map(ImageRef, *columns)) if columns else ()


@dataclass(frozen=True)
class RefBlock:
    """Images in no particular order: to a runner, one small element instead of thousands."""

    refs: Sequence[ImageRef]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the refs as columns."""
        return _restore_block, (pack_refs(self.refs),)


def _restore_block(columns: tuple[tuple[Any, ...], ...]) -> RefBlock:
    return RefBlock(unpack_refs(columns))


class ImageInfo(NamedTuple):
    """What is known of a decoded image; `width` and `height` are as displayed, after EXIF."""

    ref: ImageRef
    sha256: str
    width: int
    height: int
    format: str
    size_bytes: int


class Failure(NamedTuple):
    """Why an image has no embedding; `stage` is read, decode or infer."""

    ref: ImageRef
    stage: str
    error_type: str
    message: str
    size_bytes: int | None
