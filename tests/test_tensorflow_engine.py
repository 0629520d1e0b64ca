"""TensorFlow: what it computes in, and where."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import forget_models
from PIL import Image
from test_engine import skip_unsupported

from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.pipeline.commands.main import main
from beamvec.transforms.inference import tensorflow_engine
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import FeatureModel, load_model
from beamvec.transforms.inference.model_files import import_tensorflow


def test_precisions_do_not_leak_into_each_other(model_path):
    skip_unsupported("bfloat16")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    specs = [ModelConfig(model_path, "tensorflow", name, 8) for name in ("float32", "bfloat16")]
    models = [load_model(spec) for spec in specs]
    first = [model.embed_pixels(pixels) for model in models]
    with ThreadPoolExecutor(1) as threads:  # A thread that TensorFlow has not seen yet.
        second = [threads.submit(model.embed_pixels, pixels).result() for model in reversed(models)]
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

    with pytest.raises(ModelError, match="use `precision=float16`"):
        tensorflow_engine.check_precision(SimpleNamespace(config=Config()), "bfloat16")


@pytest.mark.parametrize("xla", ["off", "on"])
def test_whatever_the_number_of_images_one_graph_of_bytes_is_traced(model_path, monkeypatch, xla):
    tf, made = import_tensorflow(), []
    make = tf.function

    def function(*args, **options):
        made.append(make(*args, **options))
        return made[-1]

    monkeypatch.setattr(tf, "function", function)
    forget_models()
    model = load_model(ModelConfig(model_path, "tensorflow", batch_size=4, xla=xla))
    for count in (0, 1, 3, 4, 5, 9):
        pixels = np.zeros((count, 32, 32, 3), np.uint8)
        assert model.embed_pixels(pixels).shape == (count, 16)
    (only,) = made
    assert only.experimental_get_tracing_count() == 1
    # Converted on the device: what is sent there is a byte a colour.
    (sent,) = only.get_concrete_function().structured_input_signature[0]
    assert (sent.dtype, sent.shape) == (tf.uint8, (4, 32, 32, 3))


@pytest.mark.parametrize("in_flight", [1, 2])
def test_so_many_batches_are_in_flight_as_the_engine_wants(in_flight):
    now, most, lock = [0], [0], threading.Lock()
    meet = threading.Barrier(in_flight)

    def call(pixels):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        meet.wait(10)  # None goes on before as many are here as may be.
        with lock:
            now[0] -= 1
        return np.zeros((len(pixels), 3), np.float32)

    config, spec = ModelConfig("m", batch_size=2), ModelSpec(size=4, dimension=3)
    model = FeatureModel(config, "", spec, "", True, "", None, "", call, in_flight)
    assert model.embed_pixels(np.zeros((12, 4, 4, 3), np.uint8)).shape == (12, 3)
    assert most == [in_flight]


def test_a_gpu_takes_two_batches_at_a_time_and_a_cpu_one_a_core(model_path, monkeypatch):
    forget_models()
    assert load_model(ModelConfig(model_path, batch_size=7)).in_flight == 0
    monkeypatch.setattr(tensorflow_engine, "has_gpu", lambda: True)
    forget_models()
    assert load_model(ModelConfig(model_path, batch_size=7)).in_flight == 2
    forget_models()
    import_tensorflow().config.optimizer.set_jit(False)
