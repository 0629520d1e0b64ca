"""`beamvec probe`: how well classifiers do on frozen embeddings, by cross-validation."""

from __future__ import annotations

import argparse
import shlex
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamvec.embeddings import Dataset, open_dataset
from beamvec.embeddings.counted import counted
from beamvec.embeddings.vectors import can_multiply
from beamvec.errors import ArgumentError, DatasetError
from beamvec.pipeline.commands.classifiers import MAX_CHOICE_ROWS, SEED, Fit, make_classifiers
from beamvec.pipeline.commands.scores import score_classes
from beamvec.pipeline.commands.search import VERIFY_ADVICE
from beamvec.pipeline.labels import read_labels
from beamvec.pipeline.pages.page import check_page, require_extra, write_page
from beamvec.pipeline.terminal import busy, show, show_json

MAX_ROWS = 20_000
"""Rows that are used of a larger dataset, spread over it: classifiers gain little from more."""

_PRINTED_MISTAKES = 5
_PRINTED_CLASSES = 3
_UNSURE = 12


@dataclass(frozen=True)
class Sample:
    """Labelled rows of a dataset, and how they were chosen.

    Attributes:
        uris: one a row.
        vectors: float32 [n, D].
        labels: one a row, as text.
        notes: what was left out and why.
    """

    uris: list[str]
    vectors: npt.NDArray[np.float32]
    labels: npt.NDArray[np.str_]
    notes: list[str]


def run(args: argparse.Namespace) -> int:
    """Run `beamvec probe` and return its exit code."""
    require_extra("sklearn")
    if args.folds < 2:
        raise ArgumentError(f"--folds is {args.folds}; it must be at least 2")
    check_page(args.html)
    busy("reading the dataset")
    dataset = open_dataset(args.dir)
    sample = choose_sample(dataset, args.labels, args.folds)
    result = probe(sample, args.head, args.folds)
    content = {"dataset": args.dir, "labels": args.labels, **result}
    if args.json:
        show_json(content)
    else:
        show(*_describe(content))
    if args.html:
        from beamvec.pipeline.pages.probe import make_page

        page, note = make_page(dataset, content, _name_command(args))
        write_page(args.html, page, note, beside=args.json)
    return 0


def _name_command(args: argparse.Namespace) -> str:
    """Return the command that lists everything."""
    flags = ["--labels", args.labels, "--head", args.head, "--folds", str(args.folds), "--json"]
    return shlex.join(["beamvec", "probe", args.dir, *flags])


def choose_sample(dataset: Dataset, labels: str, folds: int) -> Sample:
    """Choose the rows to use, and read them.

    Args:
        dataset: where they are.
        labels: a column, or `parent-folder`.
        folds: classes with fewer rows are left out.

    Raises:
        ArgumentError: if there is no such column, or fewer than two classes are left.
    """
    uris = dataset.read_uris()
    names = read_labels(dataset, labels, uris)
    notes: list[str] = []
    rows = np.array([row for row, name in enumerate(names) if name is not None], np.int64)
    if len(rows) < len(names):
        notes.append(f"{counted(len(names) - len(rows), 'row')} without a label left out")
    if len(rows) > MAX_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, MAX_ROWS).astype(np.int64)]
        notes.append(f"{MAX_ROWS:,} rows, spread over all, used")
    counts = Counter(names[row] for row in rows)
    small = {name for name, count in counts.items() if count < folds}
    if small:
        left_out = sum(counts[name] for name in small)
        notes.append(
            f"{counted(len(small), 'class', 'classes')} with fewer than {folds} images left out, "
            f"{counted(left_out, 'row')}"
        )
        rows = np.array([row for row in rows if names[row] not in small], np.int64)
    if len(counts) - len(small) < 2:
        raise ArgumentError(
            f"--labels {labels} gives {counted(len(counts) - len(small), 'class', 'classes')} with "
            f"at least {folds} images; a probe needs two"
        )
    found = dataset.take(rows)
    if not can_multiply(found.vectors):
        raise DatasetError(f"{dataset} has embeddings with NaN or infinity: {VERIFY_ADVICE}")
    return Sample(
        [uris[row] for row in rows], found.vectors, np.array([names[row] for row in rows]), notes
    )


def probe(sample: Sample, head: str, folds: int) -> dict[str, Any]:
    """Cross-validate classifiers of scikit-learn on embeddings.

    k-NN goes by cosine. The linear head is a logistic regression on standardised features, whose
    regularisation is chosen anew in each fold, from its training rows alone; the other one is a
    dense layer of 1024 ReLU units and a softmax, trained for 50 epochs with Adam. Folds are
    stratified and shuffled with a fixed seed.

    Args:
        sample: what to classify.
        head: `linear` or `mlp`.
        folds: of cross-validation.

    Returns:
        `accuracies`, by classifier, in [0, 1], of each fold; `regularisation`, the `C` of the
        linear head in each fold, None for another head; of the head's predictions `confusion`
        [classes, classes] with true classes as rows, `per_class`, see `ClassScore`, `mistakes`, the
        surest first, and `unsure`, up to 12 right ones of each class, the least sure first;
        `classes`, `rows`, `notes`.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix
    from sklearn.model_selection import StratifiedKFold

    cross_validation = StratifiedKFold(folds, shuffle=True, random_state=SEED)
    splits = list(cross_validation.split(sample.vectors, sample.labels))
    classes, truth = np.unique(sample.labels, return_inverse=True)
    training_rows = min(len(train) for train, _ in splits)
    accuracies: dict[str, list[float]] = {}
    likelihoods = np.empty((len(truth), len(classes)))
    for name, fit in make_classifiers(head, training_rows).items():
        fitted = []
        for fold, (train, test) in enumerate(splits, 1):
            busy(f"training {name} on {counted(len(train), 'image')}, fold {fold} of {folds}")
            fitted.append(_fit_quietly(fit, sample.vectors[train], truth[train]))
            likelihoods[test] = fitted[-1].predict_proba(sample.vectors[test])
        predicted = likelihoods.argmax(axis=1)
        accuracies[name] = [accuracy_score(truth[test], predicted[test]) for _, test in splits]
    chances = likelihoods[np.arange(len(truth)), predicted]
    confusion = confusion_matrix(truth, predicted)

    def describe(row: int) -> dict[str, Any]:
        return {
            "uri": sample.uris[row],
            "label": str(classes[truth[row]]),
            "predicted": str(classes[predicted[row]]),
            "probability": round(float(chances[row]), 4),
        }

    wrong = np.flatnonzero(predicted != truth)
    surest = wrong[np.argsort(-chances[wrong], kind="stable")]
    return {
        "head": head,
        "folds": folds,
        "rows": len(truth),
        "classes": classes.tolist(),
        "notes": sample.notes,
        "chance": float(np.bincount(truth).max() / len(truth)),
        "accuracies": accuracies,
        "regularisation": [one[-1].C for one in fitted] if head == "linear" else None,
        "confusion": confusion.tolist(),
        "per_class": [asdict(score) for score in score_classes(confusion, classes.tolist())],
        "mistakes": [describe(row) for row in surest],
        "unsure": [describe(row) for row in _find_unsure(truth, predicted, chances)],
    }


def _find_unsure(
    truth: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], chances: npt.NDArray[Any]
) -> list[int]:
    """Return the rows that are right by the least, some of each class."""
    right = np.flatnonzero(predicted == truth)
    ordered = right[np.lexsort((chances[right], truth[right]))]
    _, starts = np.unique(truth[ordered], return_index=True)
    return [row for rows in np.split(ordered, starts[1:]) for row in rows[:_UNSURE].tolist()]


def _fit_quietly(fit: Fit, vectors: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(vectors, truth)


def describe_accuracies(result: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Return each classifier's name, its mean accuracy and the standard deviation over folds."""
    return [
        (name, float(np.mean(folds)), float(np.std(folds)))
        for name, folds in result["accuracies"].items()
    ]


def describe_regularisation(result: dict[str, Any]) -> str | None:
    """Say which `C` the linear classifier chose in its folds, and from what; None for another."""
    chosen = result["regularisation"]
    if chosen is None:
        return None
    least, most = min(chosen), max(chosen)
    has_more = result["rows"] - result["rows"] // result["folds"] > MAX_CHOICE_ROWS
    used = f"about {MAX_CHOICE_ROWS:,} of " if has_more else ""
    return (
        f"C of linear: {least:g}{f' to {most:g}' if most > least else ''}, chosen in each fold by "
        f"validation on {used}its training rows"
    )


def _describe(result: dict[str, Any]) -> list[str]:
    headline = (
        f"{result['rows']:,} images of {len(result['classes']):,} classes, labels from "
        f"{result['labels']}, {result['folds']}-fold cross-validation"
    )
    lines = [
        headline,
        *result["notes"],
        f"  {'':<14}accuracy",
        f"  {'largest class':<14}{result['chance']:.3f}",
    ]
    lines += [
        f"  {name:<14}{mean:.3f} ± {spread:.3f}"
        for name, mean, spread in describe_accuracies(result)
    ]
    chosen = describe_regularisation(result)
    lines += [chosen] if chosen else []
    scores = sorted(result["per_class"], key=lambda score: score["f1"])
    weakest = ", ".join(f"{one['label']} {one['f1']:.2f}" for one in scores[:_PRINTED_CLASSES])
    mean = np.mean([score["f1"] for score in scores])
    lines.append(f"F1 of {result['head']}: {mean:.3f} on average over classes; weakest {weakest}")
    mistakes = result["mistakes"][:_PRINTED_MISTAKES]
    if mistakes:
        lines.append(
            f"the surest of {counted(len(result['mistakes']), 'mistake')} of {result['head']}"
        )
    return lines + [
        f"  {m['uri']}  {m['label']}, taken for {m['predicted']} ({m['probability']:.2f})"
        for m in mistakes
    ]
