"""How well a classifier does on each class, from its confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ClassScore:
    """How well a classifier does on a class.

    Attributes:
        label: the class.
        images: how many are of it.
        recall: the part of them that is recognised, in [0, 1].
        precision: the part of what is taken for it that is it; None if nothing is.
        f1: the harmonic mean of both, `2 TP / (2 TP + FP + FN)`.
    """

    label: str
    images: int
    recall: float
    precision: float | None
    f1: float


def score_classes(confusion: npt.NDArray[np.int64], classes: Sequence[str]) -> list[ClassScore]:
    """Score each class.

    Args:
        confusion: int64 [classes, classes], true classes as rows; no row is empty.
        classes: their names.

    >>> score_classes(np.array([[3, 1], [0, 2]]), ["a", "b"])[0]
    ClassScore(label='a', images=4, recall=0.75, precision=1.0, f1=0.857143)
    """
    right, images, taken = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        ClassScore(
            str(label),
            int(of),
            round(float(hits / of), 6),
            round(float(hits / as_it), 6) if as_it else None,
            round(float(2 * hits / (of + as_it)), 6),
        )
        for label, hits, of, as_it in zip(classes, right, images, taken, strict=True)
    ]


@dataclass(frozen=True)
class Confusion:
    """Images of one class that are taken for another, or for their own.

    Attributes:
        row: number of the true class.
        column: number of the class that they are taken for.
        count: how many.
        share: of the images of the true class, in [0, 1].
    """

    row: int
    column: int
    count: int
    share: float

    @property
    def is_right(self) -> bool:
        """Whether they are recognised."""
        return self.row == self.column

    @property
    def percent(self) -> str:
        """The share in whole percent.

        >>> Confusion(0, 1, 1, 0.004).percent, Confusion(0, 1, 199, 0.995).percent
        ('<1', '>99')
        """
        if self.share < 0.005:
            return "<1"
        return ">99" if 0.99 < self.share < 1 else f"{100 * self.share:.0f}"


def list_confusions(confusion: npt.NDArray[np.int64]) -> list[Confusion]:
    """Return the cells of a matrix that hold images, row by row; see `score_classes`."""
    images = confusion.sum(axis=1)
    return [
        Confusion(int(i), int(j), int(confusion[i, j]), float(confusion[i, j] / images[i]))
        for i, j in zip(*np.nonzero(confusion), strict=True)
    ]
