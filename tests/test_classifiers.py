"""The linear classifier of `beamvec probe` and the penalty that it chooses."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beamvec.pipeline.commands.classifiers import C_GRID, choose_c, fit_linear
from beamvec.pipeline.commands.probe import Sample, describe_regularisation, probe


def make_rows(rows, signal, classes=4, width=200, seed=0):
    """Return features of many dimensions, in a few of which the classes differ, and classes."""
    random = np.random.default_rng(seed)
    truth = np.arange(rows) % classes
    centres = random.normal(size=(classes, width)) * (np.arange(width) < 20) * signal
    return (centres[truth] + random.normal(size=(rows, width))).astype(np.float32), truth


def as_sample(vectors, truth):
    return Sample([f"{row}.png" for row in range(len(truth))], vectors, truth.astype(str), [])


def score_with(c, vectors, truth):
    """Return what scikit-learn has with a fixed `C`, in each of the probe's folds."""
    splits = StratifiedKFold(5, shuffle=True, random_state=0).split(vectors, truth)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))
    return [classifier.fit(vectors[a], truth[a]).score(vectors[b], truth[b]) for a, b in splits]


def test_many_noisy_features_get_a_strong_penalty_and_a_better_accuracy():
    vectors, truth = make_rows(600, 0.3)
    result = probe(as_sample(vectors, truth), "linear", 5)
    assert max(result["regularisation"]) <= 0.01
    weak = np.mean(score_with(1.0, vectors, truth))
    assert np.mean(result["accuracies"]["linear"]) > weak + 0.02


def test_what_is_told_apart_with_ease_keeps_its_accuracy():
    vectors, truth = make_rows(200, 3.0)
    result = probe(as_sample(vectors, truth), "linear", 5)
    assert min(result["regularisation"]) == C_GRID[-1]
    assert result["accuracies"]["linear"] == score_with(1.0, vectors, truth)


def test_random_labels_are_at_chance():
    vectors, truth = make_rows(600, 0.0)
    result = probe(as_sample(vectors, truth), "linear", 5)
    assert np.mean(result["accuracies"]["linear"]) == pytest.approx(0.25, abs=0.05)


def test_neither_choice_nor_fit_sees_the_rows_of_the_test():
    vectors, truth = make_rows(200, 0.5)
    test = next(StratifiedKFold(5, shuffle=True, random_state=0).split(vectors, truth))[1]
    vectors[test[1:]] *= 1e4  # Would upset scaling, choice and weights, were they seen.
    disturbed = probe(as_sample(vectors, truth), "linear", 5)
    train = np.setdiff1d(np.arange(len(truth)), test)
    alone = fit_linear(vectors[train], truth[train])
    assert disturbed["regularisation"][0] == alone[-1].C == choose_c(vectors[train], truth[train])
    assert disturbed["accuracies"]["linear"][0] == alone.score(vectors[test], truth[test])


def test_a_second_probe_gives_the_same():
    sample = as_sample(*make_rows(300, 0.5))
    assert probe(sample, "linear", 5) == probe(sample, "linear", 5)


def test_classes_of_a_single_row_can_be_learned():
    vectors = np.eye(6, dtype=np.float32)
    assert choose_c(vectors, np.arange(6)) == C_GRID[-1]
    assert fit_linear(vectors, np.arange(6)).predict(vectors).tolist() == list(range(6))
    assert fit_linear(vectors, np.array([0, 0, 0, 0, 0, 1])).classes_.tolist() == [0, 1]


def test_the_choice_is_made_on_a_part_of_many_rows(monkeypatch):
    monkeypatch.setattr("beamvec.pipeline.commands.classifiers.MAX_CHOICE_ROWS", 100)
    vectors, truth = make_rows(400, 0.5)
    order = np.random.default_rng(0).permutation(400)
    used = order[np.argsort(truth[order], kind="stable")].reshape(4, 100)[:, :25].ravel()
    chosen = choose_c(vectors, truth)
    vectors[np.setdiff1d(np.arange(400), used)] = 0
    assert choose_c(vectors, truth) == chosen


def test_the_penalty_is_described():
    result = {"regularisation": [0.1, 0.01, 0.1], "rows": 900, "folds": 3}
    assert describe_regularisation(result) == (
        "C of linear: 0.01 to 0.1, chosen in each fold by validation on its training rows"
    )
    result |= {"regularisation": [1.0], "rows": 9000}
    assert "C of linear: 1, chosen" in describe_regularisation(result)
    assert describe_regularisation(result).endswith("on about 5,000 of its training rows")
    assert describe_regularisation({"regularisation": None}) is None
