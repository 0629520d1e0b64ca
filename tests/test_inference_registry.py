"""What every engine promises."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys

import pytest

from beamvec.errors import ArgumentError
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.description import Description
from beamvec.transforms.inference.engine import PRECISIONS, Engine
from beamvec.transforms.inference.model_files import ModelFiles
from beamvec.transforms.inference.registry import ENGINES


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_says_what_it_has(name):
    engine = ENGINES[name]
    assert engine.name == name
    assert "float32" in engine.precisions
    assert set(engine.precisions) <= set(PRECISIONS)
    assert set(engine.devices) <= {"any", "gpu"}
    assert engine.packages
    extras = importlib.metadata.metadata("beamvec").get_all("Provides-Extra") or []
    assert engine.extra in (None, *extras)


@pytest.mark.parametrize("name", ["tensorflow", "openvino"])
def test_an_engine_compiles_a_model(name, model_path):
    files, config = ModelFiles.fetch(model_path), ModelConfig(model_path, name)
    compiled = ENGINES[name].compile(files, Description(), config)
    assert (compiled.spec.size, compiled.spec.dimension) == (32, 16)


def test_what_an_engine_does_not_have_is_refused():
    engine = Engine("toy", ("onnx",), ("float32",), ("any",), (), None, lambda *_: None)
    engine.check("float32", "any")
    told = "`engine=toy` has no `precision=float16`; it has float32"
    with pytest.raises(ArgumentError, match=re.escape(told)):
        engine.check("float16", "any")
    with pytest.raises(ArgumentError, match="`engine=toy` uses no GPU"):
        engine.check("float32", "gpu")


def test_engines_are_imported_when_a_model_is_compiled():
    code = (
        "import sys, beamvec.transforms.inference.registry\n"
        "print(sorted({'tensorflow', 'openvino'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
