"""Where a run writes: `Target`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from beamvec.embeddings.layout import Layout
from beamvec.transforms.records.own_columns import NO_COLUMNS


@dataclass(frozen=True)
class Target:
    """Where and how a dataset is written.

    Attributes:
        layout: the dataset's folder.
        columns: the user's own columns.
        metadata: what is written into each file: model, settings, version.
        generation: 0 for the run that makes the dataset, n for the n-th that appends to it.
        token: names whoever writes, so that two that do not know of each other are not in each
            other's way.
    """

    layout: Layout
    columns: pa.Schema = NO_COLUMNS
    metadata: Mapping[str, Any] = field(default_factory=dict)
    generation: int = 0
    token: str = ""

    @property
    def parts(self) -> Layout:
        """Where parts are written: aside, until all of them are whole."""
        return self.layout.staged(self.token)
