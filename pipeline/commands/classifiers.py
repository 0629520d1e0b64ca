"""The classifiers that `beamvec probe` compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""What the linear classifier chooses from: scikit-learn's `C`, one over the penalty of a weight.

Features are standardised, so one grid does for all. At 1 there is next to no penalty: on 600
photographs of 40 classes with EfficientNet-Lite0 a grid up to 100 gave 0.953 instead of 0.955.
"""

MAX_CHOICE_ROWS = 5_000
"""Training rows that are used to choose `C`, of all classes alike; the rest says little more."""

SEED = 0
_NEIGHBOURS = (1, 5)
_MLP_UNITS = 1024
_VALIDATION_PART = 0.2

Vectors = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]
Fit = Callable[[Vectors, Classes], Any]
"""Takes features [n, D] and classes [n] from 0 on, returns a classifier with `predict_proba`."""


def make_classifiers(head: str, rows: int) -> dict[str, Fit]:
    """Return what fits each of the classifiers to compare, the head last.

    Args:
        head: `linear` or `mlp`.
        rows: how many there are to learn from, at least; k-NN cannot have more neighbours.
    """
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier

    classifiers: dict[str, Fit] = {
        f"{k}-NN": KNeighborsClassifier(k, metric="cosine").fit for k in _NEIGHBOURS if k <= rows
    }
    if head == "mlp":
        size = min(64, rows)
        mlp = MLPClassifier((_MLP_UNITS,), batch_size=size, max_iter=50, random_state=SEED)
        classifiers["mlp"] = mlp.fit
    else:
        classifiers["linear"] = fit_linear
    return classifiers


def fit_linear(vectors: Vectors, classes: Classes) -> Any:
    """Fit a logistic regression to standardised features, with the `C` that suits them.

    Returns:
        A pipeline of scikit-learn; the `C` of its last step is that of `choose_c`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # One thread, as its products are small: threads that wait for each other took 20 times as
    # long on a machine in use, and the sums would depend on their number.
    with threadpool_limits(1, "blas"):
        regression = LogisticRegression(C=choose_c(vectors, classes), max_iter=1000)
        return make_pipeline(StandardScaler(), regression).fit(vectors, classes)


def choose_c(vectors: Vectors, classes: Classes) -> float:
    """Choose `C` by validation within the rows that are given, as linear probes are tuned.

    A fifth of up to `MAX_CHOICE_ROWS` rows, stratified, is held back, and the log loss on it
    decides: it is smoother than the accuracy. The grid is walked from the strongest penalty on,
    each fit starting from the last one, until the loss grows: weak penalties take long to fit and
    are rarely of use.

    Args:
        vectors: float32 [n, D], of training alone.
        classes: int64 [n], each of 0, 1, ... at least once.

    Returns:
        A value of `C_GRID`; the last one if no class has a row to hold back.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    fitted, held_back = _split_to_choose(classes)
    if not len(held_back):
        return C_GRID[-1]
    scaler = StandardScaler().fit(vectors[fitted])
    seen, unseen = scaler.transform(vectors[fitted]), scaler.transform(vectors[held_back])
    regression = LogisticRegression(max_iter=1000, warm_start=True)
    best, least = C_GRID[0], np.inf
    for c in C_GRID:
        regression.set_params(C=c).fit(seen, classes[fitted])
        likelihoods = regression.predict_proba(unseen)[np.arange(len(unseen)), classes[held_back]]
        loss = -np.log(np.maximum(likelihoods, np.finfo(np.float32).tiny)).mean()
        if loss >= least:
            break
        best, least = c, loss
    return best


def _split_to_choose(classes: Classes) -> tuple[Classes, Classes]:
    """Return rows to fit and rows to hold back; a class of a single row is not held back."""
    shuffled = np.random.default_rng(SEED).permutation(len(classes))
    order = shuffled[np.argsort(classes[shuffled], kind="stable")]
    counts = np.bincount(classes)
    rank = np.arange(len(classes)) - np.repeat(np.cumsum(counts) - counts, counts)
    used = np.ceil(counts * min(1.0, MAX_CHOICE_ROWS / len(classes)))
    held_back = np.where(used > 1, np.maximum(1, np.round(used * _VALIDATION_PART)), 0)
    first, last = (np.repeat(ends, counts) for ends in (held_back, used))
    return order[(rank >= first) & (rank < last)], order[rank < first]
