"""The labels of a dataset's images: from a column of its own, or the folder they are in."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from beamvec.embeddings import Dataset, schema
from beamvec.embeddings.damage import naming_damage
from beamvec.errors import ArgumentError
from beamvec.pipeline.commands.parser import PARENT_FOLDER

LABEL_COLUMNS = ("label", "labels", "class", "category", "cls", "target")
"""What columns of labels are called; the first of them that a dataset has counts."""


def choose_labels(dataset: Dataset) -> str:
    """Return the column that holds a dataset's labels, by its name, or `parent-folder`.

    That is the first of `LABEL_COLUMNS`, in small or large letters.
    """
    own = {name.lower(): name for name in reversed(list_own_columns(dataset))}
    found = [own[name] for name in LABEL_COLUMNS if name in own]
    return found[0] if found else PARENT_FOLDER


def list_own_columns(dataset: Dataset) -> list[str]:
    """Return the names of the columns that are the user's own."""
    return [name for name in dataset.columns if name not in schema.RESERVED_NAMES]


def read_labels(dataset: Dataset, labels: str, uris: Sequence[str]) -> list[str | None]:
    """Return a label for each row of a dataset, as text; None where there is none.

    Args:
        dataset: whose.
        labels: a column, or `parent-folder`.
        uris: of all rows.

    Raises:
        ArgumentError: if there is no such column.
    """
    if labels == PARENT_FOLDER:
        return [folder_of(uri) for uri in uris]
    own = list_own_columns(dataset)
    if labels not in own:
        raise ArgumentError(
            f"--labels {labels}: the dataset has "
            + (f"the columns {', '.join(own)}" if own else "no columns of a manifest")
            + f"; or give {PARENT_FOLDER}"
        )
    return as_texts(dataset, dataset.read_metadata([labels])[labels])


def folder_of(uri: str) -> str | None:
    """Return the name of the folder that an image is in, None if its uri names none.

    >>> folder_of("photos/cat/1.jpg"), folder_of("1.jpg")
    ('cat', None)
    """
    return os.path.basename(os.path.dirname(uri)) or None


def find_labels(dataset: Dataset, uris: Sequence[str]) -> dict[str, str]:
    """Return the labels of some images, by uri; nothing if no column holds any."""
    labels = choose_labels(dataset)
    if labels == PARENT_FOLDER or not uris:
        return {}
    table = dataset.read_metadata([schema.URI, labels])
    wanted = pa.array(dict.fromkeys(uris), table.schema.field(schema.URI).type)
    table = table.filter(pc.is_in(table[schema.URI], wanted))
    found = zip(table[schema.URI].to_pylist(), as_texts(dataset, table[labels]), strict=True)
    return {uri: label for uri, label in found if label is not None}


def as_texts(dataset: Dataset, column: pa.ChunkedArray) -> list[str | None]:
    """Return the values of a column as text; None for what is missing, or empty."""
    with naming_damage(str(dataset)):  # A time may be one that Python has not.
        values = column.to_pylist()
    return [None if value is None else str(value) or None for value in values]
