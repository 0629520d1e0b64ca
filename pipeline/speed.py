"""How fast a run was over its time, from what its record noted of finished chunks."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from beamvec.embeddings import RunRecord

_MOST_BARS = 60
_FEWEST_BARS = 10
_CHUNKS_A_BAR = 2


class Speed(NamedTuple):
    """Images a second over a part of a run.

    Attributes:
        start_s: when the part begins, in seconds into the run.
        width_s: how long it is.
        images_per_s: finished in it.
    """

    start_s: int
    width_s: int
    images_per_s: float


def measure_speed(run: RunRecord) -> list[Speed]:
    """Return the speed in equal parts of a run, up to 60; the last may be shorter.

    A chunk counts when it ends. Its images were computed since those before it had ended, so they
    are spread evenly over that time; else a run of few chunks would be all gaps and peaks.
    """
    interval_s = max(1, run.throughput.interval_s)
    images = _spread_evenly(np.array(run.throughput.images, np.float64))
    bars = max(run.counts.chunks // _CHUNKS_A_BAR, min(_FEWEST_BARS, len(images)), 1)
    joined = math.ceil(len(images) / min(_MOST_BARS, bars)) or 1
    parts = [images[start : start + joined] for start in range(0, len(images), joined)]
    return [
        Speed(
            interval_s * i * joined,
            interval_s * len(part),
            round(float(part.sum()) / (interval_s * len(part)), 1),
        )
        for i, part in enumerate(parts)
    ]


def _spread_evenly(images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Spread what an interval has over the empty ones before it.

    >>> _spread_evenly(np.array([0.0, 6, 4, 0])).tolist()
    [3.0, 3.0, 4.0, 0.0]
    """
    ends = np.flatnonzero(images)
    spread = np.zeros_like(images)
    for start, end in zip(
        np.concatenate([[-1], ends[:-1]]) if len(ends) else [], ends, strict=True
    ):
        spread[start + 1 : end + 1] = images[end] / (end - start)
    return spread
