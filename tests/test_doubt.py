"""Doubt: embeddings that look wrong are told of, with what to do; right ones are not."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SHARED

from beamvec.errors import ArgumentError
from beamvec.transforms.inference.doubt import (
    compare_with_reference,
    find_doubts,
    make_images,
)
from beamvec.transforms.inference.model_files import import_tensorflow

SIZE = 24
TRAINED = SHARED / "models" / "efficientnet_lite0"


def project(images, numbers=64):
    """A model of sorts: random projections of the pixels in [0, 1], which tell images apart."""
    weights = np.random.default_rng(0).normal(size=(SIZE * SIZE * 3, numbers))
    return ((images.reshape(len(images), -1) / 255 - 0.4) @ weights).astype(np.float32)


def names(embed, **options):
    return [doubt.name for doubt in find_doubts(embed, SIZE, **options)]


def softmax(features):
    powers = np.exp(features - features.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def break_one(features):
    return np.where(np.arange(len(features))[:, None] == 3, np.nan, features)


def test_images_are_the_same_each_time_and_differ_from_each_other():
    images = make_images(SIZE)
    assert images.shape == (10, SIZE, SIZE, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images, make_images(SIZE))
    assert len(np.unique(images.reshape(10, -1), axis=0)) == 10
    assert all(image.std() > 20 for image in images)


def test_what_looks_right_raises_no_doubt():
    assert find_doubts(project, SIZE) == []


@pytest.mark.parametrize(
    ("change", "name", "figure", "remedy"),
    [
        (break_one, "not-finite", "1 of 10", "float32"),
        (lambda f: f * np.float32(np.inf), "not-finite", "10 of 10", "float32"),
        (lambda f: f[:, :2], "few-numbers", "2 numbers", "output_name"),
        (softmax, "probabilities", "64 numbers", "output_name"),
        (lambda f: f * (np.arange(64) < 16), "constant", "75% of the numbers", "scale=1"),
        (lambda f: f * 0, "alike", "1.00000 on average", "scale=1"),
        (lambda f: f + 10_000, "alike", "on average", "random weights"),
    ],
)
def test_what_looks_wrong_is_told(change, name, figure, remedy):
    found = {doubt.name: doubt for doubt in find_doubts(lambda i: change(project(i)), SIZE)}
    assert figure in found[name].message
    assert remedy in found[name].remedy


def test_values_that_sum_to_something_else_or_are_negative_are_no_probabilities():
    assert "probabilities" not in names(lambda images: 2 * softmax(project(images)))
    assert "probabilities" not in names(
        lambda images: project(images) - project(images).mean(1, keepdims=True) + 1 / 64
    )


def test_eight_real_images_are_looked_at_too():
    seen = []

    def embed(images):
        seen.append(images)
        return project(images)

    real = np.arange(9, dtype=np.uint8).repeat(SIZE * SIZE * 3).reshape(9, SIZE, SIZE, 3)
    assert names(embed, pixels=real) == []
    (images,) = seen
    assert np.array_equal(images[10:], real[:8])


def test_another_range_is_tried_only_where_embeddings_are_alike():
    def respond(*_):
        raise AssertionError

    assert names(project, respond=respond) == []


def test_a_model_whose_features_are_alike_in_each_range_has_no_wrong_one():
    def alike(images):
        return project(images) + 10_000

    assert names(alike, respond=lambda *given: alike(given[2])) == ["alike"]
    assert names(alike, respond=lambda *given: alike(given[2]) * np.nan) == ["alike"]


@pytest.fixture(scope="module")
def trained():
    """A trained model, float32 images in [0, 1] -> features."""
    if not TRAINED.is_dir():
        pytest.skip(f"no trained model at {TRAINED}")
    tf = import_tensorflow()
    loaded = tf.saved_model.load(str(TRAINED))
    return lambda images: loaded(tf.constant(images, tf.float32)).numpy()


def given(model, scale, mean=(0.0, 0.0, 0.0)):
    return lambda pixels: model(pixels * np.float32(scale) - np.array(mean, np.float32))


@pytest.mark.parametrize(
    "expects",
    [
        lambda values: values / 255,
        lambda values: (values[..., ::-1] + (103.939, 116.779, 123.68)) / 255,
    ],
)
def test_a_trained_model_that_expects_0_to_255_is_told_and_so_is_the_remedy(trained, expects):
    def model(values):
        return trained(expects(values))

    def respond(scale, mean, pixels):
        return given(model, scale, mean)(pixels)

    doubts = {d.name: d for d in find_doubts(given(model, 1 / 255), 224, respond=respond)}
    assert "`--spec scale=1`" in doubts["range"].remedy
    assert find_doubts(given(model, 1.0), 224, respond=respond) == []


def test_a_trained_model_with_the_right_range_raises_no_doubt(trained):
    assert find_doubts(given(trained, 1 / 255), 224) == []


def test_nothing_is_said_of_ranges_that_cannot_be_told_apart(trained):
    def model(values):
        return trained((values + 1) / 2)

    assert find_doubts(given(model, 1 / 255), 224) == []
    images = make_images(224)
    wrong, right = given(model, 1 / 255)(images), given(model, 2 / 255, (1.0, 1.0, 1.0))(images)
    comparison = compare_with_reference(wrong, right)
    assert not comparison.is_same
    assert "other preprocessing" in comparison.verdict


def test_the_same_embeddings_compare_as_the_same():
    features = project(make_images(SIZE))
    comparison = compare_with_reference(features, 3 * features)
    assert comparison.is_same
    assert comparison.least == pytest.approx(1)
    assert comparison.cosines.shape == (10,)
    assert "same preprocessing" in comparison.verdict


@pytest.mark.parametrize(
    ("noise", "verdict"),
    [(0.01, "same preprocessing"), (0.1, "differ a little"), (1, "another model")],
)
def test_the_verdict_goes_by_the_least_cosine(noise, verdict):
    features = np.random.default_rng(0).normal(size=(5, 400)).astype(np.float32)
    other = features.copy()
    other[2] += noise * np.random.default_rng(1).normal(size=400)
    comparison = compare_with_reference(other, features)
    assert verdict in comparison.verdict
    assert comparison.cosines.argmin() == 2
    assert comparison.least < comparison.mean


def test_another_order_is_told():
    features = project(make_images(SIZE))
    comparison = compare_with_reference(features, features[::-1])
    assert "another order" in comparison.verdict
    assert not comparison.is_same


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (np.zeros((3, 64)), r"`reference` is \[3, 64\], and the embeddings are \[10, 64\]"),
        (np.zeros((10, 63)), r"\[10, 63\]"),
        (np.zeros(640), r"\[640\]"),
        (np.full((10, 64), np.nan), "the reference hold what is no number"),
        (np.full((10, 64), "a"), "the reference hold what is no number"),
    ],
)
def test_what_cannot_be_compared_is_refused(reference, message):
    with pytest.raises(ArgumentError, match=message):
        compare_with_reference(project(make_images(SIZE)), reference)
