"""What is true of every engine: the same features from each, but for rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from beamvec.errors import ModelError
from beamvec.transforms.inference import tensorflow_engine
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.model_files import import_tensorflow
from beamvec.transforms.inference.registry import ENGINES

PRECISIONS = ["float32", "bfloat16"]


ABLE = [name for name, engine in ENGINES.items() if "saved_model" in engine.formats]


def is_supported(precision: str) -> bool:
    """Tell whether this CPU has a use for a precision."""
    try:
        tensorflow_engine.check_precision(import_tensorflow(), precision)
    except ModelError:
        return False
    return True


def skip_unsupported(precision: str) -> None:
    if not is_supported(precision):
        pytest.skip(f"this CPU has no use for {precision}")


@settings(max_examples=20, deadline=None, phases=[Phase.generate])
@given(
    st.integers(0, 70),
    st.sampled_from([2, 8, 32]),
    st.sampled_from(ABLE),
    st.sampled_from(PRECISIONS),
    st.randoms(use_true_random=False),
)
def test_rows_do_not_depend_on_their_neighbours(
    model_path, count, batch_size, engine, precision, random
):
    assume(is_supported(precision))
    pixels = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    expected = load_model(ModelConfig(model_path, engine, precision, 16)).embed_pixels(pixels)
    order = random.sample(range(count), count)
    shuffled = load_model(ModelConfig(model_path, engine, precision, batch_size)).embed_pixels(
        pixels[order]
    )
    np.testing.assert_array_equal(shuffled, expected[order])


@pytest.mark.parametrize("engine", ABLE)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_engine_and_precision_agrees_with_a_direct_call(model_path, engine, precision):
    skip_unsupported(precision)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    tf = import_tensorflow()
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": False})
    direct = tf.saved_model.load(model_path)
    expected = direct(pixels.astype(np.float32) / 255, training=False).numpy()
    features = load_model(ModelConfig(model_path, engine, precision, 16)).embed_pixels(pixels)
    assert features.dtype == np.float32
    tolerance = 1e-5 if precision == "float32" else 2e-2
    np.testing.assert_allclose(features, expected, rtol=tolerance, atol=tolerance)
    assert (precision == "float32") == np.allclose(features, expected, rtol=1e-5, atol=1e-5)
