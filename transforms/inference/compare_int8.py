"""How near an int8 model is to float32, and whether that is near enough."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from beamvec.embeddings.fidelity import Fidelity
from beamvec.errors import ModelError

LEAST_MEAN = 0.98
"""Below this mean cosine an int8 model is refused.

Trained models have more: see docs/performance.md."""

LEAST_KEPT = 0.75
"""Below this share of nearest neighbours that are the same, likewise: cosines alone say little of a
model whose embeddings are all alike."""

_NEIGHBOURS = 10


class Nearness(NamedTuple):
    """Figures of `Fidelity`."""

    mean: float
    percentile_1: float
    least: float
    neighbours_kept: float


def measure_nearness(
    float32: npt.NDArray[np.float32], other: npt.NDArray[np.float32]
) -> Nearness | None:
    """Compare embeddings of the same images; None if too few are finite in float32.

    Args:
        float32: [n, D]; images for which they are not finite fail either way, and are left out.
        other: [n, D], of the same images in the same order.

    >>> measure_nearness(np.eye(16, dtype=np.float32), 2 * np.eye(16, dtype=np.float32)).least
    1.0
    """
    finite = np.isfinite(float32).all(axis=1)
    if finite.sum() <= _NEIGHBOURS:
        return None
    left, right = _to_units(float32[finite]), _to_units(np.nan_to_num(other[finite]))
    cosines = np.einsum("nd,nd->n", left, right)
    same = np.take_along_axis(_near(left), _rank(right), axis=1)
    figures = cosines.mean(), np.percentile(cosines, 1), cosines.min(), same.mean()
    # What differs in rounding only is no other model.
    return Nearness(*(round(float(figure), 5) for figure in figures))


def _to_units(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return rows of length 1; with a column more, so that zeros are like zeros only."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return np.hstack([rows / np.where(lengths > 0, lengths, 1), lengths == 0])


def _rank(units: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return the numbers of each row's nearest others, [n, 10]."""
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :_NEIGHBOURS]


def _near(units: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which rows are among each row's nearest, [n, n]."""
    near = np.zeros((len(units), len(units)), bool)
    np.put_along_axis(near, _rank(units), True, axis=1)
    return near


def require_near(handle: str, fidelity: Fidelity) -> None:
    """Refuse an int8 model that is too far from float32.

    Raises:
        ModelError: with the figures, and what to do.
    """
    if fidelity.mean >= LEAST_MEAN and fidelity.neighbours_kept >= LEAST_KEPT:
        return
    raise ModelError(
        f"{handle} loses too much in int8: {fidelity.describe()}, and {LEAST_MEAN} on average and "
        f"{LEAST_KEPT:.0%} are asked for; use `precision=bfloat16` or `precision=float32`, other "
        "`calibration_images`, or take it as it is with `allow_low_fidelity=True`"
    )
