"""Where the dots of a map are: PCA, then t-SNE by openTSNE, the nearest of each, and islands.

Everything is deterministic: the same vectors give the same map. Time is bounded by numbers of steps
and rows: up to `ANCHORS` rows get all steps; of more, the anchors among them do, the others start
beside the anchors that are nearest to them, and a few steps settle all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamvec.embeddings.counted import counted
from beamvec.pipeline.pages.map_sample import spread
from beamvec.pipeline.terminal import busy
from beamvec.transforms.files import storage

ANCHORS = 20_000
"""Rows that t-SNE places with all its steps: about half a minute of one core."""

NEAREST = 10
"""How many of the nearest dots are kept for each."""

_COMPONENTS = 50
_PCA_ROWS = 20_000
_NEIGHBOURS = 60
_SETTLING_NEIGHBOURS = 30
_PLACING = 5
_FEWEST = 12
_EARLY_STEPS, _STEPS, _SETTLING_STEPS = 125, 375, 100
_EARLY_EXAGGERATION = 12
_STEPS_TOLD = 25
_EXACT_ROWS = 3_000
_BLOCK = 4_096
_SMALLEST_ISLAND = 5
_ISLAND_SHARE = 250
_AXES = "the two largest principal components"

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Projection:
    """A map's dots.

    Attributes:
        positions: float32 [n, 2] in [0, 1], x to the right and y upwards, of one scale.
        nearest: int64 [n, k], the dots with the largest cosines to each, the nearest first.
        islands: int64 [n], the island of each, 0 for the largest; -1 for none.
        method: how the dots were placed, in words.
    """

    positions: Floats
    nearest: Numbers
    islands: Numbers
    method: str


@dataclass(frozen=True)
class _Near:
    """The nearest of each of m rows among others: numbers and distances, both [m, k]."""

    rows: Numbers
    distances: Floats


def project(vectors: npt.NDArray[np.float16]) -> Projection:
    """Place rows on a map.

    Args:
        vectors: float16 [n, D], of length 1 each, or zeros.
    """
    count = len(vectors)
    components = _reduce(vectors)
    anchors = spread(count, ANCHORS)
    if count < _FEWEST or not np.ptp(components, axis=0).any():
        return _lay_out_few(vectors, components)
    has_tsne = storage.is_installed("openTSNE")
    among = components[anchors]
    near = _find_nearest(among, among, _NEIGHBOURS, itself=True)
    placed = _place(among, near) if has_tsne else among[:, :2]
    islands = _find_islands(placed)
    method = "t-SNE" if has_tsne else f"{_AXES}, for openTSNE is not installed"
    if len(anchors) < count:
        beside = _find_nearest(components, among, _PLACING, itself=False)
        near = _find_nearest(components, components, _SETTLING_NEIGHBOURS, itself=True)
        islands = islands[beside.rows[:, 0]]
        if has_tsne:
            placed = _settle(_put_beside(placed, beside), near, _SETTLING_STEPS, "settling")
            method = f"t-SNE of {len(anchors):,} dots, between which the others were placed"
        else:
            placed = components[:, :2]
    return Projection(_scale(placed), _order_nearest(vectors, near.rows), islands, method)


def _reduce(vectors: npt.NDArray[np.float16]) -> Floats:
    """Return the largest principal components, float32 [n, c]; those of fewer rows than two: 0."""
    from sklearn.decomposition import PCA

    count, dimension = vectors.shape
    if count < 2:
        return np.zeros((count, 2), np.float32)
    busy(f"finding the main directions of {counted(count, 'embedding')}")
    pca = PCA(min(_COMPONENTS, count, dimension), svd_solver="randomized", random_state=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # All embeddings may be equal.
        pca.fit(vectors[spread(count, _PCA_ROWS)].astype(np.float32))
    blocks = [vectors[at : at + _BLOCK].astype(np.float32) for at in range(0, count, _BLOCK)]
    found = np.concatenate([(block - pca.mean_) @ pca.components_.T for block in blocks])
    return np.pad(found, ((0, 0), (0, max(0, 2 - found.shape[1])))).astype(np.float32)


def _find_nearest(queries: Floats, rows: Floats, k: int, itself: bool) -> _Near:
    """Find the nearest rows, exactly.

    Args:
        queries: float32 [m, c].
        rows: float32 [n, c].
        k: how many.
        itself: whether the queries are the rows, of which none is its own neighbour.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(k, len(rows) - itself)
    tree = NearestNeighbors(n_neighbors=k + itself, algorithm="brute").fit(rows)
    found, distances = [], []
    for start in range(0, len(queries), _BLOCK):
        busy(f"comparing dots, {start:,} of {len(queries):,}")
        block = queries[start : start + _BLOCK]
        away, near = tree.kneighbors(block)
        if itself:
            # Among copies a row is not always the first of its own neighbours.
            own = near == np.arange(start, start + len(block))[:, None]
            order = np.argsort(own, axis=1, kind="stable")[:, :k]
            near, away = (np.take_along_axis(each, order, axis=1) for each in (near, away))
        found.append(near)
        distances.append(away.astype(np.float32))
    return _Near(np.concatenate(found), np.concatenate(distances))


def _place(components: Floats, near: _Near) -> Floats:
    from openTSNE import initialization

    start = initialization.pca(components, random_state=0)
    return _settle(start, near, _STEPS, "placing", early_steps=_EARLY_STEPS)


def _settle(start: Floats, near: _Near, steps: int, verb: str, early_steps: int = 0) -> Floats:
    """Move dots by the gradient of t-SNE from where they start."""
    from openTSNE import TSNEEmbedding, affinity, nearest_neighbors

    count, k = near.rows.shape
    total = early_steps + steps
    done = 0

    def tell(step: int, *_: Any) -> None:
        busy(f"{verb} {count:,} dots, step {done + step:,} of {total:,}")

    # One thread: the sums of several depend on how many they are, and the map on every digit.
    index = nearest_neighbors.PrecomputedNeighbors(near.rows, near.distances)
    pairs = affinity.PerplexityBasedNN(knn_index=index, perplexity=k / 3, n_jobs=1)
    dots = TSNEEmbedding(
        start,
        pairs,
        # Interpolation costs time for the area, the tree for the dots.
        negative_gradient_method="bh" if count <= _EXACT_ROWS else "fft",
        ints_in_interval=2,
        n_jobs=1,
        random_state=0,
    )
    told = {"use_callbacks": True, "callbacks": [tell], "callbacks_every_iters": _STEPS_TOLD}
    tell(0)
    if early_steps:
        dots = dots.optimize(early_steps, exaggeration=_EARLY_EXAGGERATION, momentum=0.5, **told)
        done = early_steps
    return np.asarray(dots.optimize(steps, momentum=0.8, **told), np.float32)


def _put_beside(placed: Floats, beside: _Near) -> Floats:
    """Return a place for each row, between those of the anchors that are nearest to it."""
    weights = 1 / (beside.distances + 1e-3) ** 2
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("nk,nkc->nc", weights, placed[beside.rows]).astype(np.float64)


def _find_islands(placed: Floats) -> Numbers:
    """Number the dense places of a map by HDBSCAN, the largest first; -1 for dots in between."""
    from sklearn.cluster import HDBSCAN

    busy("looking for islands")
    smallest = max(_SMALLEST_ISLAND, len(placed) // _ISLAND_SHARE)
    labels = HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(placed)
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    numbers = np.empty(len(sizes) + 1, np.int64)
    numbers[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    numbers[-1] = -1
    return numbers[labels]


def _lay_out_few(vectors: npt.NDArray[np.float16], components: Floats) -> Projection:
    """Place rows too few, or too equal, for t-SNE."""
    near = np.empty((len(vectors), 0), np.int64)
    if len(vectors) > 1:
        near = _find_nearest(components, components, _SETTLING_NEIGHBOURS, itself=True).rows
    none = np.full(len(vectors), -1, np.int64)
    return Projection(_scale(components[:, :2]), _order_nearest(vectors, near), none, _AXES)


def _scale(placed: Floats) -> Floats:
    """Return places in [0, 1], in the middle, both axes by one scale."""
    if not len(placed):
        return placed
    low, high = placed.min(axis=0), placed.max(axis=0)
    scaled: Floats = (placed - (low + high) / 2) / (float((high - low).max()) or 1) + 0.5
    return scaled.astype(np.float32)


def _order_nearest(vectors: npt.NDArray[np.float16], candidates: Numbers) -> Numbers:
    """Return the `NEAREST` candidates of each row with the largest cosines, in their order."""
    chosen = [np.empty((0, min(NEAREST, candidates.shape[1])), np.int64)]
    step = 256  # Rows whose candidates' vectors are in memory at once.
    for start in range(0, len(vectors), step):
        if start % _BLOCK == 0:
            busy(f"ordering neighbours, {start:,} of {len(vectors):,}")
        found = candidates[start : start + step]
        queries = vectors[start : start + step].astype(np.float32)
        cosines = np.matmul(vectors[found].astype(np.float32), queries[:, :, None])[:, :, 0]
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :NEAREST]
        chosen.append(np.take_along_axis(found, order, axis=1))
    return np.concatenate(chosen)
