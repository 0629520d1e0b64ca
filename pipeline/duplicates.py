"""Groups of equal and of similar images of a dataset, and which of each to keep."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from beamvec.embeddings import Dataset, find_groups, schema
from beamvec.embeddings.keeping import Kept, choose_kept
from beamvec.errors import ArgumentError
from beamvec.pipeline.units import format_size

_IN_MEMORY_BYTES = 2 << 30
"""Embeddings of more than that are mapped from a temporary file."""

_COLUMNS = [schema.URI, schema.SHA256, schema.WIDTH, schema.HEIGHT, schema.SIZE_BYTES]


@dataclass(frozen=True)
class Member:
    """An image of a group, and what may become of it.

    Attributes:
        uri: names it.
        row: its row in the dataset.
        width: in pixels, as displayed.
        height: likewise.
        size_bytes: of its file.
        sha256: of its file, in hex.
        copy_of: the uri of the image of the group that has the same bytes and comes first; None if
            it is that one.
        action: whether to keep it, or that it could be deleted.
        kept: the uri of the image that is kept in its stead, its own if it is kept.
        cosine: to that image, at least the threshold; 1 if it is kept or has the same bytes.
    """

    uri: str
    row: int
    width: int
    height: int
    size_bytes: int
    sha256: str
    copy_of: str | None
    action: Literal["keep", "delete"]
    kept: str
    cosine: float

    @property
    def kind(self) -> str:
        """What it is to the image that is kept: `copy`, `near`, or nothing if it is that one."""
        if self.action == "keep":
            return ""
        return "copy" if self.copy_of == self.kept else "near"


@dataclass(frozen=True)
class Group:
    """Images that are the same or similar.

    Attributes:
        kind: `copies` if all have the same bytes, else `similar`.
        images: each that is kept, followed by those that it stands for, the nearest first.
    """

    kind: Literal["copies", "similar"]
    images: list[Member]


class Counted(NamedTuple):
    """How many images are in groups, and what could be deleted.

    Attributes:
        members: images in groups.
        copies: those that could be deleted because the same bytes are kept, or deleted as well.
        near: the others that could be deleted.
        size_bytes: of the files of both.
    """

    members: int
    copies: int
    near: int
    size_bytes: int


def count_duplicates(groups: Sequence[Group]) -> Counted:
    """Count the images of groups."""
    members = [image for group in groups for image in group.images]
    deleted = [image for image in members if image.action == "delete"]
    copies = sum(image.copy_of is not None for image in deleted)
    size_bytes = sum(image.size_bytes for image in deleted)
    return Counted(len(members), copies, len(deleted) - copies, size_bytes)


def find_duplicates(dataset: Dataset, threshold: float) -> list[Group]:
    """Group a dataset's images, and choose which of each group to keep.

    Of those that are alike, the picture with the most pixels is kept, then the largest file, then
    the uri that comes first; see `choose_kept`.

    Args:
        dataset: where to look.
        threshold: images with at least this cosine are in one group, and those with the same
            bytes always.

    Returns:
        Groups, the largest first.
    """
    images = dataset.read_metadata(_COLUMNS).to_pylist()
    first: dict[str, int] = {}
    same_as = np.array(
        [first.setdefault(image[schema.SHA256], row) for row, image in enumerate(images)], np.int64
    )
    with _load_vectors(dataset) as vectors:
        with threadpool_limits(1, "blas"):  # Tiles are compared in threads already.
            found = find_groups(vectors, threshold, same_as)
        groups = [
            _make_group(order, choose_kept(vectors, order, threshold, same_as), images)
            for order in (sorted(rows, key=lambda row: _rank(images[row], row)) for rows in found)
        ]
    return sorted(groups, key=lambda group: (-len(group.images), min(m.row for m in group.images)))


def _rank(image: dict[str, Any], row: int) -> tuple[Any, ...]:
    """Return what the image to keep has the least of."""
    pixels = image[schema.WIDTH] * image[schema.HEIGHT]
    return -pixels, -image[schema.SIZE_BYTES], image[schema.URI], row


def _make_group(order: Sequence[int], kept: Kept, images: list[dict[str, Any]]) -> Group:
    first: dict[str, int] = {}
    members = []
    for row, stands, cosine in zip(order, kept.rows.tolist(), kept.cosines.tolist(), strict=True):
        same = first.setdefault(images[row][schema.SHA256], row)
        members.append(
            Member(
                **images[row],
                row=row,
                copy_of=None if same == row else images[same][schema.URI],
                action="keep" if stands == row else "delete",
                kept=images[stands][schema.URI],
                cosine=round(cosine, 6),
            )
        )
    place = {row: i for i, row in enumerate(order)}
    stand_ins = dict(zip(order, kept.rows.tolist(), strict=True))
    members.sort(key=lambda one: (place[stand_ins[one.row]], one.action != "keep", -one.cosine))
    return Group("copies" if len(first) == 1 else "similar", members)


@contextmanager
def _load_vectors(dataset: Dataset) -> Iterator[npt.NDArray[np.float32]]:
    rows = dataset.row_groups[-1].stop if dataset.row_groups else 0  # As the files have them.
    shape = (rows, dataset.dimension)
    size = 4 * shape[0] * shape[1]
    if size <= _IN_MEMORY_BYTES:
        yield dataset.read_vectors()
        return
    with tempfile.TemporaryFile(prefix="beamvec-") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # A full disk is told now, not by a signal.
            mapped = np.memmap(file, np.float32, "r+", shape=shape)
        except OSError as error:
            raise ArgumentError(
                f"no room for {format_size(size)} of embeddings in {tempfile.gettempdir()} "
                f"({error.strerror}); set TMPDIR to a folder on a larger disk"
            ) from error
        yield dataset.read_vectors(mapped)
