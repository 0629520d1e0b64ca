"""What a model must be, whichever engine runs it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamvec.errors import ModelError
from beamvec.transforms.inference.contract import (
    choose_output,
    read_dimension,
    read_input_size,
)

shapes = st.lists(st.none() | st.integers(1, 300), max_size=5)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ([None, 32, 32, 3], 32),
        ([None, None, None, 3], 224),
        ([None, 299, 299, None], 299),
        ([8, 64, 64, 3], 64),
    ],
)
def test_the_input_tells_its_size(shape, size):
    assert read_input_size("m", ["images"], "float32", shape) == size


@pytest.mark.parametrize(
    ("names", "dtype", "shape", "told"),
    [
        ([], "float32", [], "takes 0 inputs"),
        (["a", "b"], "float32", [None, 32, 32, 3], r"takes 2 inputs \(a, b\), expected one"),
        (["a"], "float32", [None, 32, 48, 3], "expected float32"),
        (["a"], "float32", [None, 32, 32, 4], "expected float32"),
        (["a"], "float32", [None, 32], r"its input is float32 \[None, 32\]"),
        (["a"], "uint8", [None, 32, 32, 3], r"m takes uint8 images, expected float32 in \[0, 1\]"),
    ],
)
def test_what_is_no_batch_of_square_images_is_refused(names, dtype, shape, told):
    with pytest.raises(ModelError, match=told):
        read_input_size("m", names, dtype, shape)


@given(shapes)
def test_an_input_is_square_and_rgb_or_refused(shape):
    try:
        size = read_input_size("m", ["images"], "float32", shape)
    except ModelError:
        return
    assert shape[1] == shape[2]
    assert shape[3] in (3, None)
    assert size == (shape[1] or 224)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["x"], "x"),
        (["default", "x"], "default"),
        (["default", "feature_vector"], "feature_vector"),
    ],
)
def test_the_output_is_chosen_by_name(names, chosen):
    assert choose_output("m", names) == chosen
    assert choose_output("m", dict.fromkeys(names)) == chosen


@pytest.mark.parametrize("names", [["b", "a"], []])
def test_outputs_that_cannot_be_told_apart_are_refused(names):
    with pytest.raises(ModelError, match=rf"several outputs \({', '.join(sorted(names))}\)"):
        choose_output("m", names)


def test_the_output_tells_the_dimension():
    assert read_dimension("m", "float32", [None, 2048]) == 2048
    assert read_dimension("m", "float32", [None, None]) is None
    for dtype, shape in (("float16", [None, 3]), ("float32", [None, 3, 3]), ("float32", [])):
        with pytest.raises(ModelError, match=rf"returns {dtype} \["):
            read_dimension("m", dtype, shape)
