"""TensorFlow: what it computes in, and where."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_engine import skip_unsupported

from beamvec.errors import ModelError
from beamvec.pipeline.commands.main import main
from beamvec.transforms.inference import tensorflow_engine
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import load_model


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
