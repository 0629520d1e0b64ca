"""The page of `beamvec duplicates`: copies and near copies, and which of them to keep."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from beamvec.embeddings import Dataset
from beamvec.pipeline.duplicates import Group, Member, count_duplicates
from beamvec.pipeline.pages.page import render
from beamvec.pipeline.pages.thumbnails import Thumbnails, make_thumbnails

_PICTURES = 600
"""What the page has at most, some 2 MB."""

_GROUP_PICTURES = 24
_NAMES = 5000
"""Images that are named on the page, with a picture or without."""


def make_page(
    dataset: Dataset, groups: Sequence[Group], threshold: float, command: str
) -> tuple[str, str]:
    """Return the page, as HTML, and what is to be known of it.

    Args:
        dataset: whose images they are.
        groups: its groups of duplicates.
        threshold: the cosine by which they were found.
        command: lists all of them.
    """
    budget = _Budget()
    copies = [budget.cut(copies, pictures=1) for group in groups for copies in _list_copies(group)]
    similar = [
        budget.cut(_list_distinct(group), pictures=_GROUP_PICTURES)
        for group in groups
        if group.kind == "similar"
    ]
    shown = [each for each in (*copies, *similar) if each]
    thumbnails = _make_thumbnails(dataset, shown)
    page = render(
        "duplicates.html",
        dataset=str(dataset),
        rows=len(dataset),
        groups=len(groups),
        counted=count_duplicates(groups),
        threshold=threshold,
        command=command,
        copies=[each for each in copies if each],
        similar=[each for each in similar if each],
        copies_of=_count_copies(groups),
        left_out=budget.left_out,
        thumbnails=thumbnails,
    )
    return page, thumbnails.describe_missed()


def _list_copies(group: Group) -> list[list[Member]]:
    """Return the images of a group that have the same bytes, each set the first one first."""
    ordered = sorted(group.images, key=lambda image: (image.sha256, image.copy_of is not None))
    sets = [list(found) for _, found in groupby(ordered, key=lambda image: image.sha256)]
    return [found for found in sets if len(found) > 1]


def _list_distinct(group: Group) -> list[Member]:
    return [image for image in group.images if image.copy_of is None]


def _count_copies(groups: Sequence[Group]) -> dict[str, int]:
    """Return how many copies an image has, by the uri of the first of them."""
    return {found[0].uri: len(found) - 1 for group in groups for found in _list_copies(group)}


class _Budget:
    """What may still be shown, so that a page stays small whatever the dataset has."""

    def __init__(self) -> None:
        self._pictures, self._names = _PICTURES, _NAMES
        self.left_out = 0

    def cut(self, images: list[Member], pictures: int) -> dict[str, Any] | None:
        """Return the images with a picture and those with a name only; None if no room is left."""
        named = images[: self._names]
        self._names -= len(named)
        self.left_out += len(images) - len(named)
        drawn = named[: min(pictures, self._pictures)]
        self._pictures -= len(drawn)
        if not named:
            return None
        return {"count": len(images), "drawn": drawn, "named": named[len(drawn) :], "all": named}


def _make_thumbnails(dataset: Dataset, shown: Sequence[dict[str, Any]]) -> Thumbnails:
    thumbnails = make_thumbnails([i.uri for each in shown for i in each["drawn"]], dataset)
    thumbnails.link([image.uri for each in shown for image in each["all"]], dataset)
    return thumbnails
