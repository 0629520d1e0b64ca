"""Whether an export agrees with its original."""

from __future__ import annotations

import numpy as np
import pytest

from beamvec.errors import ArgumentError, ExportError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.export.compare import Exported, choose_images, compare, make_images


def means(pixels):
    return pixels.reshape(len(pixels), -1, 48).mean(1, dtype=np.float32)


def compared(result):
    return compare(Exported(ModelSpec(size=16), "file", means, result))


def test_what_is_the_same_has_cosine_1():
    agreement = compared(means)
    assert agreement.cosine == pytest.approx(1)
    assert agreement.images == 4


@pytest.mark.parametrize(
    "result",
    [
        lambda pixels: means(pixels) * 255,
        lambda pixels: means(pixels) + 9 * np.arange(48),
        lambda pixels: means(pixels) * np.float32(np.nan),
        lambda pixels: means(pixels)[:, :9],
        lambda pixels: means(pixels[..., ::-1]),
    ],
    ids=["stretched", "turned", "nan", "shorter", "bgr"],
)
def test_what_differs_is_an_error(result):
    with pytest.raises(ExportError):
        compared(result)


def test_features_that_are_all_zero_agree():
    silent = Exported(ModelSpec(size=16), "file", lambda p: 0 * means(p), lambda p: 0 * means(p))
    assert compare(silent).cosine == 1.0


def test_made_images_are_always_the_same_and_differ():
    images = make_images(20)
    np.testing.assert_array_equal(images, make_images(20))
    assert len(np.unique(images.reshape(4, -1), axis=0)) == 4


def test_images_of_the_user_are_named_if_they_cannot_be_read(photos):
    chosen = choose_images(str(photos))
    assert len(chosen) == 16
    with pytest.raises(ArgumentError, match=r"broken\.jpg"):
        compare(Exported(ModelSpec(size=16), "file", means, means), [str(photos / "broken.jpg")])
