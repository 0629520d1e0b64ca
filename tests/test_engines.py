"""Engines and precisions: the same features from each, but for rounding."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import samples
from pipeline.main import main
from transforms import tensorflow_engine
from transforms.model import load_model
from transforms.saved_model import ModelError, import_tensorflow
from transforms.settings import ENGINES

PRECISIONS = ["float32", "bfloat16"]


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
    st.sampled_from(ENGINES),
    st.sampled_from(PRECISIONS),
    st.randoms(use_true_random=False),
)
def test_rows_do_not_depend_on_their_neighbours(
    model_path, count, batch_size, engine, precision, random
):
    assume(is_supported(precision))
    pixels = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    expected = load_model(model_path, 16, precision, engine).embed(pixels)
    order = random.sample(range(count), count)
    shuffled = load_model(model_path, batch_size, precision, engine).embed(pixels[order])
    np.testing.assert_array_equal(shuffled, expected[order])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_engine_and_precision_agrees_with_a_direct_call(model_path, engine, precision):
    skip_unsupported(precision)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    tf = import_tensorflow()
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": False})
    direct = tf.saved_model.load(model_path)
    expected = direct(pixels.astype(np.float32) / 255, training=False).numpy()
    features = load_model(model_path, 16, precision, engine).embed(pixels)
    assert features.dtype == np.float32
    tolerance = 1e-5 if precision == "float32" else 2e-2
    np.testing.assert_allclose(features, expected, rtol=tolerance, atol=tolerance)
    assert (precision == "float32") == np.allclose(features, expected, rtol=1e-5, atol=1e-5)


def test_precisions_do_not_leak_into_each_other(model_path):
    skip_unsupported("bfloat16")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    models = [load_model(model_path, 8, precision) for precision in ("float32", "bfloat16")]
    first = [model.embed(pixels) for model in models]
    with ThreadPoolExecutor(1) as threads:  # A thread that TensorFlow has not seen yet.
        second = [threads.submit(model.embed, pixels).result() for model in reversed(models)]
    np.testing.assert_array_equal(first, second[::-1])
    assert not np.array_equal(*first)


def test_a_precision_that_the_machine_has_no_use_for_is_refused(
    model_path, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tensorflow_engine, "read_cpu_flags", lambda: {"avx2"})
    command = ["extract", "--input", str(tmp_path), "--output", str(tmp_path / "out")]
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for flags, message in [
        (["--precision", "bfloat16"], "AVX512_BF16 or AMX"),
        (["--precision", "float16"], "needs a GPU"),
        (["--precision", "float16", "--engine", "openvino"], "it has float32 and bfloat16"),
    ]:
        # A batch size of its own: what was loaded before is not asked again.
        assert main([*command, "--model", model_path, "--batch-size", "6", *flags]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_bfloat16_is_refused_on_a_gpu():
    class Config:
        def list_physical_devices(self, kind):
            return ["gpu"] if kind == "GPU" else []

    with pytest.raises(ModelError, match="use --precision float16"):
        tensorflow_engine.check_precision(SimpleNamespace(config=Config()), "bfloat16")


def test_openvino_must_be_installed(model_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match=r"pip install 'beamvec\[openvino\]'"):
        load_model(model_path, 7, engine="openvino")


def test_a_model_that_openvino_cannot_run_is_refused(tmp_path):
    def call(images):
        tf = import_tensorflow()
        means = tf.reduce_mean(images, [1, 2])
        return {"features": tf.strings.to_number(tf.strings.as_string(means))}

    samples.save_model(str(tmp_path / "m"), call)
    assert load_model(str(tmp_path / "m"), 2).dimension == 3
    with pytest.raises(ModelError, match=r"operations: AsString.* use --engine tensorflow"):
        load_model(str(tmp_path / "m"), 2, engine="openvino")
