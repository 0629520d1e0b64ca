"""The page of `beamvec probe`: scores by class, and the confusion matrix with its images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from beamvec.embeddings import Dataset
from beamvec.pipeline.commands.probe import describe_accuracies, describe_regularisation
from beamvec.pipeline.commands.scores import Confusion, list_confusions
from beamvec.pipeline.pages.page import render
from beamvec.pipeline.pages.thumbnails import make_thumbnails

_MATRIX_CLASSES = 120
"""More are no matrix that anybody reads."""

_NUMBERED_CLASSES = 60
"""Up to so many there is room for a number in each cell."""

_SCORED_CLASSES = 1000
_PAIRS = 12
_PAIRS_WITHOUT_MATRIX = 200
_FIRST = 24
_MISTAKES = 3000
_PICTURES = 500
_UNSURE_PICTURES = 240


def make_page(dataset: Dataset, result: dict[str, Any], command: str) -> tuple[str, str]:
    """Return the page, as HTML, and what is to be known of it.

    Args:
        dataset: whose images they are.
        result: of `probe`, with `dataset` and `labels`.
        command: lists everything.
    """
    mistakes, unsure = (_number(result[name], result["classes"]) for name in ("mistakes", "unsure"))
    drawn = _take_turns(mistakes, _FIRST, _PICTURES)
    drawn_unsure = _take_turns(unsure, 0, _UNSURE_PICTURES)
    thumbnails = make_thumbnails([image["uri"] for image in (*drawn, *drawn_unsure)], dataset)
    thumbnails.labels.clear()  # Notes say what an image is, and what it was taken for.
    thumbnails.link([image["uri"] for image in mistakes[:_MISTAKES]], dataset)
    page = render(
        "probe.html",
        scripts=["probe.js"],
        dataset=result["dataset"],
        result=result,
        accuracies=describe_accuracies(result),
        regularisation=describe_regularisation(result),
        means=_average(result["per_class"]),
        mistakes=mistakes[:_MISTAKES],
        unsure=drawn_unsure,
        first=_FIRST,
        command=command,
        thumbnails=thumbnails,
        **_describe_confusion(result),
    )
    return page, thumbnails.describe_missed()


def _describe_confusion(result: dict[str, Any]) -> dict[str, Any]:
    """Return what the template shows of the matrix, as far as there is room."""
    cells = list_confusions(np.array(result["confusion"]))
    pairs = sorted((cell for cell in cells if not cell.is_right), key=lambda cell: -cell.count)
    classes = len(result["classes"])
    has_matrix = classes <= _MATRIX_CLASSES
    return {
        "scores": _list_scores(result, pairs)[:_SCORED_CLASSES],
        "matrix": _list_rows(result, cells) if has_matrix else [],
        "numbered": classes <= _NUMBERED_CLASSES,
        "pairs": pairs[: _PAIRS if has_matrix else _PAIRS_WITHOUT_MATRIX],
        "all_pairs": len(pairs),
    }


def _number(images: Sequence[dict[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Add the numbers of the classes."""
    number = {name: i for i, name in enumerate(classes)}
    return [
        {**image, "true": number[image["label"]], "taken": number[image["predicted"]]}
        for image in images
    ]


def _take_turns(images: Sequence[dict[str, Any]], first: int, most: int) -> list[dict[str, Any]]:
    """Return the first images, then one of each cell in turn, so that each cell has pictures.

    >>> images = [{"true": 0, "taken": taken, "n": n} for n, taken in enumerate([1, 1, 1, 2])]
    >>> [image["n"] for image in _take_turns(images, 1, 3)]
    [0, 3, 1]
    """
    turns: dict[tuple[int, int], int] = defaultdict(int)
    ranked = []
    for place, image in enumerate(images):
        cell = image["true"], image["taken"]
        ranked.append((-1 if place < first else turns[cell], place))
        turns[cell] += 1
    return [images[place] for _, place in sorted(ranked)[:most]]


def _list_scores(result: dict[str, Any], pairs: Sequence[Confusion]) -> list[dict[str, Any]]:
    """Return the scores of each class, and what it is taken for most often."""
    classes, worst = result["classes"], {pair.row: pair for pair in reversed(pairs)}
    return [
        {**score, "taken_for": _name_worst(worst.get(row), classes)}
        for row, score in enumerate(result["per_class"])
    ]


def _name_worst(pair: Confusion | None, classes: Sequence[str]) -> str:
    return f"{classes[pair.column]} ({pair.count:,})" if pair else ""


def _average(scores: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return means over classes, each counting the same; without a precision it is 0."""
    names = ("recall", "precision", "f1")
    return {name: float(np.mean([score[name] or 0.0 for score in scores])) for name in names}


def _list_rows(result: dict[str, Any], cells: Sequence[Confusion]) -> list[list[Confusion | None]]:
    """Return the matrix by rows, None where a cell is empty."""
    rows: list[list[Confusion | None]] = [
        [None] * len(result["classes"]) for _ in result["classes"]
    ]
    for cell in cells:
        rows[cell.row][cell.column] = cell
    return rows
