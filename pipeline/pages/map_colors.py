"""What the dots of a map can be coloured by: `make_colorings`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beamvec.embeddings import schema
from beamvec.embeddings.damage import naming_damage
from beamvec.pipeline.pages.map_sample import Sample

PARENT_FOLDER = "parent folder"
ISLAND = "island"

OTHER, NONE = 254, 255
"""Codes of names that are too rare to have one of their own, and of rows without a value."""

_LEVELS = 254
_MAX_NAMES = 200
_FEW_NUMBERS = 12
_MAX_LETTERS = 80
_NAMELESS = (schema.URI, schema.SHA256)
_IMAGE_COLUMNS = (schema.FORMAT, schema.WIDTH, schema.HEIGHT, schema.SIZE_BYTES)


@dataclass(frozen=True)
class Coloring:
    """A colour for each dot.

    Attributes:
        name: what it goes by, a column, `parent folder` or `island`.
        kind: `names`, or `numbers`, whose codes are ranks: half of the dots have half of the ramp.
        labels: of `names` what each code stands for, the most frequent first; of `numbers` the
            least value of each code.
        codes: uint8 [n]; see `OTHER` and `NONE`.
    """

    name: str
    kind: Literal["names", "numbers"]
    labels: list[str]
    codes: npt.NDArray[np.uint8]


def make_colorings(sample: Sample, islands: npt.NDArray[np.int64], place: str) -> list[Coloring]:
    """Return colours by the manifest's columns, the folder, the island and the image's own columns.

    Args:
        sample: the dots.
        islands: the number of each one's island, -1 for none.
        place: names the dataset in errors.
    """
    table = sample.metadata
    own = [name for name in table.column_names if name not in (*_NAMELESS, *_IMAGE_COLUMNS)]
    with naming_damage(place):
        folders = [os.path.basename(os.path.dirname(uri)) or None for uri in sample.uris]
        shown = [None if island < 0 else str(island + 1) for island in islands.tolist()]
        return [
            *(_color_column(name, table[name]) for name in own),
            _color_names(PARENT_FOLDER, folders),
            _color_names(ISLAND, shown),
            *(_color_column(name, table[name]) for name in _IMAGE_COLUMNS),
        ]


def choose_first(colorings: list[Coloring]) -> int:
    """Return the number of the colouring to begin with: the first that tells groups apart."""
    for number, coloring in enumerate(colorings):
        count = len(coloring.labels)
        if coloring.kind == "names" and count > 1 and 2 * count <= len(coloring.codes):
            return number
    return next(i for i, coloring in enumerate(colorings) if coloring.name == ISLAND)


def _color_column(name: str, column: pa.ChunkedArray) -> Coloring:
    kind = column.type
    is_time = pa.types.is_temporal(kind) and not pa.types.is_interval(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if (is_time or is_number) and len(column.unique()) > _FEW_NUMBERS:
        return _color_numbers(name, column, is_time)
    return _color_names(name, column.to_pylist())


def _color_names(name: str, values: Iterable[Any]) -> Coloring:
    texts = [None if value is None else _shorten(str(value)) for value in values]
    common = Counter(text for text in texts if text is not None).most_common(_MAX_NAMES)
    code_of: dict[str | None, int] = {text: code for code, (text, _) in enumerate(common)}
    code_of[None] = NONE
    codes = np.array([code_of.get(text, OTHER) for text in texts], np.uint8)
    return Coloring(name, "names", [text for text, _ in common], codes)


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_LETTERS else text[: _MAX_LETTERS - 1] + "…"


def _color_numbers(name: str, column: pa.ChunkedArray, is_time: bool) -> Coloring:
    values = _as_floats(column)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    ranks = np.searchsorted(values[order], values[known], "left")
    codes = np.full(len(values), NONE, np.uint8)
    codes[known] = ranks * _LEVELS // max(1, len(known))
    firsts = np.arange(_LEVELS) * len(known) // _LEVELS
    at = order[firsts] if len(known) else order
    labels = [
        str(column[int(row)].as_py()) if is_time else f"{values[row]:.6g}" for row in at.tolist()
    ]
    return Coloring(name, "numbers", labels, codes)


def _as_floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return numbers or times as float64 [n], NaN where there is none."""
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())
    found: npt.NDArray[np.float64] = column.to_numpy().astype(np.float64)
    return found
