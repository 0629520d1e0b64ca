"""How many images have which label, for a page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from beamvec.embeddings import Dataset, schema
from beamvec.pipeline.commands.parser import PARENT_FOLDER
from beamvec.pipeline.labels import as_texts, choose_labels, folder_of

_SHOWN = 1000


@dataclass(frozen=True)
class LabelCounts:
    """Labels of a dataset.

    Attributes:
        source: the column that they are of, or `parent-folder`.
        counts: images by label, the most frequent first, up to 1,000 labels.
        labels: how many there are.
        missing: images without one.
    """

    source: str
    counts: list[tuple[str, int]]
    labels: int
    missing: int

    @property
    def most(self) -> int:
        """Images of the most frequent label."""
        return self.counts[0][1] if self.counts else 0


def count_labels(dataset: Dataset) -> LabelCounts:
    """Count the images of each label, file by file, so that memory holds the labels of one."""
    source = choose_labels(dataset)
    column = schema.URI if source == PARENT_FOLDER else source
    counted: Counter[str | None] = Counter()
    for file in dataset.embedding_files:
        values = as_texts(dataset, file.read([column])[column])
        counted.update(map(folder_of, filter(None, values)) if column == schema.URI else values)
    missing = counted.pop(None, 0)
    ordered = sorted(counted.items(), key=lambda pair: (-pair[1], str(pair[0])))
    return LabelCounts(
        source, [(str(label), count) for label, count in ordered[:_SHOWN]], len(counted), missing
    )
