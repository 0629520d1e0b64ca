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
    """

    layout: Layout
    columns: pa.Schema = NO_COLUMNS
    metadata: Mapping[str, Any] = field(default_factory=dict)
    generation: int = 0

    @property
    def parts(self) -> Layout:
        """Where parts are written: aside, until they are whole, if the dataset is there already."""
        return self.layout.staged if self.generation else self.layout
