"""What a map's script draws, packed small: `make_map`."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamvec.embeddings import Dataset
from beamvec.embeddings.counted import counted
from beamvec.pipeline.pages.map_colors import Coloring, choose_first, make_colorings
from beamvec.pipeline.pages.map_projection import NEAREST, Floats, project
from beamvec.pipeline.pages.map_sample import Sample, spread
from beamvec.pipeline.pages.thumbnails import Thumbnails, make_thumbnails

PICTURE_SIZE = 96
"""The longer side of the pictures of a map in pixels, some 2 kB each."""

_FIRST_SHOWN = 12
_GRID = 1 << 16


@dataclass(frozen=True)
class Map:
    """A map to go into a page.

    Attributes:
        data: for `map.js`.
        facts: for the template `map_section.html`.
        thumbnails: the pictures that are in it.
    """

    data: dict[str, Any]
    facts: dict[str, Any]
    thumbnails: Thumbnails


def make_map(dataset: Dataset, sample: Sample, pictures: int) -> Map | None:
    """Make a map of rows of a dataset; None if there are none.

    Args:
        dataset: where they are from.
        sample: the rows.
        pictures: how many of them have a picture, spread over the map.
    """
    count = len(sample.rows)
    if not count:
        return None
    projection = project(sample.vectors)
    colorings = make_colorings(sample, projection.islands, str(dataset))
    pictured = spread_over_map(projection.positions, pictures)
    uris = sample.uris
    thumbnails = make_thumbnails([uris[i] for i in pictured], dataset, PICTURE_SIZE)
    at = {uris[i]: i for i in pictured.tolist()}
    data = {
        "count": count,
        "positions": _pack((projection.positions * (_GRID - 1)).round().astype("<u2").T),
        "nearest": _pack_numbers(projection.nearest),
        "k": projection.nearest.shape[1],
        "uris": _pack_bytes(json.dumps(uris).encode()),
        "colorings": [_describe(coloring) for coloring in colorings],
        "coloring": choose_first(colorings),
        "pictures": {at[uri]: picture for uri, picture in thumbnails.items()},
        "first": pictured[spread(len(pictured), _FIRST_SHOWN)].tolist(),
    }
    facts = {
        "dots": count,
        "rows": len(dataset),
        "method": projection.method,
        "nearest": min(NEAREST, projection.nearest.shape[1]),
        "pictures": len(thumbnails),
        "missed": thumbnails.describe_missed(),
        "colorings": [coloring.name for coloring in colorings],
        "coloring": data["coloring"],
    }
    facts["share"] = describe_share(facts)
    return Map(data, facts, thumbnails)


def describe_share(facts: dict[str, Any]) -> str:
    """Say of how many rows a map is.

    >>> describe_share({"dots": 20_000, "rows": 1_000_000, "method": "t-SNE"})
    'Map of 20,000 of 1,000,000 rows, spread over all, by t-SNE'
    """
    dots, rows = facts["dots"], facts["rows"]
    share = counted(rows, "row") if dots == rows else f"{dots:,} of {rows:,} rows, spread over all"
    return f"Map of {share}, by {facts['method']}"


def spread_over_map(positions: Floats, count: int) -> npt.NDArray[np.int64]:
    """Choose dots, as many in each region of a map as its share of all: the way through it.

    Args:
        positions: float32 [n, 2] in [0, 1].
        count: how many to choose.

    Returns:
        int64 [min(n, count)], in the order of a Z-shaped curve through the map.
    """
    x, y = (positions * 1023).astype(np.int64).T
    curve = np.zeros(len(positions), np.int64)
    for bit in range(10):
        curve |= (x >> bit & 1) << (2 * bit) | (y >> bit & 1) << (2 * bit + 1)
    return np.argsort(curve, kind="stable")[spread(len(positions), count)]


def _describe(coloring: Coloring) -> dict[str, Any]:
    return {
        "name": coloring.name,
        "kind": coloring.kind,
        "labels": coloring.labels,
        "codes": _pack(coloring.codes),
    }


def _pack_numbers(numbers: npt.NDArray[np.int64]) -> str:
    """Pack the distance of each number to its row's own, which is often small, byte by byte."""
    away = numbers - np.arange(len(numbers))[:, None]
    folded = np.where(away < 0, -2 * away - 1, 2 * away).astype("<u4")
    return _pack(folded.ravel().view(np.uint8).reshape(-1, 4).T)


def _pack(values: npt.NDArray[Any]) -> str:
    return _pack_bytes(np.ascontiguousarray(values).tobytes())


def _pack_bytes(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
