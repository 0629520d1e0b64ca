"""Scores of classes: those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from beamvec.pipeline.commands.scores import list_confusions, score_classes


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_scores_are_those_of_scikit_learn(classes, seed):
    random = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(classes), random.integers(0, classes, 20)])
    predicted = random.integers(0, classes, len(truth))
    names = [f"class {i}" for i in range(classes)]
    scores = score_classes(confusion_matrix(truth, predicted, labels=range(classes)), names)
    expected = precision_recall_fscore_support(truth, predicted, zero_division=0)
    assert [score.precision or 0 for score in scores] == pytest.approx(expected[0], abs=1e-6)
    assert [score.recall for score in scores] == pytest.approx(expected[1], abs=1e-6)
    assert [score.f1 for score in scores] == pytest.approx(expected[2], abs=1e-6)
    assert [score.images for score in scores] == expected[3].tolist()


def test_a_class_that_nothing_is_taken_for_has_no_precision():
    (first, second) = score_classes(np.array([[0, 2], [0, 3]]), ["a", "b"])
    assert (first.recall, first.precision, first.f1) == (0, None, 0)
    assert second.precision == 0.6


def test_cells_have_the_part_of_their_row():
    cells = list_confusions(np.array([[3, 1], [0, 2]]))
    assert [(cell.row, cell.column, cell.count, cell.percent) for cell in cells] == [
        (0, 0, 3, "75"),
        (0, 1, 1, "25"),
        (1, 1, 2, "100"),
    ]
