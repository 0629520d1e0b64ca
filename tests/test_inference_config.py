"""A model and how it is run, as a value."""

from __future__ import annotations

import pickle

import pytest

from beamvec.errors import ArgumentError
from beamvec.transforms.inference.config import DEFAULT_MODEL, ModelConfig


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"handle": ""}, "`model` is empty"),
        ({"batch_size": 1}, "`batch_size=1` is out of range; it takes 2 to 4096"),
        ({"batch_size": 4097}, "`batch_size=4097`"),
        ({"engine": "jax"}, "`engine=jax` is none of beamvec's; it takes tensorflow, openvino"),
        ({"precision": "float8"}, "`precision=float8` is unknown"),
        ({"engine": "openvino", "precision": "float16"}, "it has float32 and bfloat16"),
        ({"engine": "openvino", "device": "gpu"}, "`engine=openvino` uses no GPU"),
    ],
)
def test_what_no_engine_has_is_refused(arguments, told):
    with pytest.raises(ArgumentError) as caught:
        ModelConfig(**arguments)
    assert told in str(caught.value)


def test_a_spec_is_a_value():
    spec = ModelConfig("m", batch_size=8)
    again = pickle.loads(pickle.dumps(spec))
    assert (again, hash(again)) == (spec, hash(spec))
    assert spec != ModelConfig("m")
    assert ModelConfig().handle == DEFAULT_MODEL
