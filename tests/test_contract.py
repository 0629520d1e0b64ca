"""What a model's graph tells, and what is said of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.inference.contract import (
    Port,
    choose_input,
    choose_output,
    resolve_input,
    resolve_output,
)
from beamvec.transforms.inference.description import Description

shapes = st.lists(st.none() | st.integers(1, 300), max_size=5)
NOTHING = Description()


def said(**fields) -> Description:
    return Description(fields)


@pytest.mark.parametrize(
    ("shape", "layout", "size"),
    [
        ([None, 32, 32, 3], "NHWC", 32),
        ([None, None, None, 3], "NHWC", 224),
        ([None, 299, 299, None], "NHWC", 299),
        ([8, 64, 64, 3], "NHWC", 64),
        ([None, 64, None, 3], "NHWC", 64),
        ([None, 3, 64, 64], "NCHW", 64),
        ([1, 3, None, None], "NCHW", 224),
        (None, "NHWC", 224),
    ],
)
def test_the_input_tells_its_layout_and_size(shape, layout, size):
    spec = resolve_input("m", NOTHING, Port("x", "float32", shape and tuple(shape)))
    assert (spec.layout, spec.size) == (layout, size)


def test_what_the_input_leaves_free_can_be_said():
    spec = resolve_input("m", said(layout="NCHW", size=96), Port("x", "float32", (None,) * 4))
    assert (spec.layout, spec.size) == ("NCHW", 96)


@pytest.mark.parametrize(
    ("fields", "dtype", "shape", "told"),
    [
        ({}, "float32", (None, 32, 48, 3), r"its input x is float32 \[\?, 32, 48, 3\]"),
        ({}, "float32", (None, 32, 32, 4), r"expected \[N, S, S, 3\] or \[N, 3, S, S\]"),
        ({}, "float32", (None, 32), "no model of square images"),
        ({}, "complex64", (None, 32, 32, 3), "takes complex64 images; it may be float32"),
        ({"layout": "NCHW"}, "float32", (None, 32, 32, 3), "as is said of it, NCHW"),
        ({"size": 48}, "float32", (None, 32, 32, 3), "takes images of 32 pixels a side, not 48"),
        ({"dtype": "uint8"}, "float32", (None, 32, 32, 3), "takes float32 images, not uint8"),
        ({"scale": 0.5}, "uint8", (None, 32, 32, 3), "takes uint8 images, 0 to 255, which cannot"),
        ({"std": (2.0,) * 3}, "uint8", (None, 32, 32, 3), "which cannot be scaled"),
        (
            {"antialias": False, "interpolation": "lanczos"},
            *("float32", (None, 32, 32, 3), "lanczos without antialias"),
        ),
    ],
)
def test_an_input_that_is_not_as_it_should_be_is_refused(fields, dtype, shape, told):
    with pytest.raises(ModelError, match=told):
        resolve_input("m", said(**fields), Port("x", dtype, shape))


def test_whole_numbers_are_not_scaled():
    assert resolve_input("m", NOTHING, Port("x", "uint8", (None, 32, 32, 3))).scale == 1
    assert resolve_input("m", NOTHING, Port("x", "float32", (None, 32, 32, 3))).scale == 1 / 255


@given(shapes)
def test_an_input_is_square_and_of_three_colours_or_refused(shape):
    try:
        spec = resolve_input("m", NOTHING, Port("x", "float32", tuple(shape)))
    except ModelError:
        return
    area, colours = (shape[1:3], shape[3]) if spec.layout == "NHWC" else (shape[2:], shape[1])
    assert colours in (3, None)
    assert {spec.size, None} >= set(area) or area == [None, None]


def test_one_input_takes_the_images():
    assert choose_input("m", NOTHING, ["x"]) == "x"
    assert choose_input("m", said(input_name="b"), ["a", "b"]) == "b"
    with pytest.raises(ModelError, match=r"takes 2 inputs \(a, b\).* `spec=input_name=a`"):
        choose_input("m", NOTHING, ["a", "b"])
    with pytest.raises(ModelError, match="has no input c; it has a, b"):
        choose_input("m", said(input_name="c"), ["a", "b"])


@pytest.mark.parametrize(
    ("names", "fields", "chosen"),
    [
        (["x"], {}, "x"),
        (["default", "x"], {}, "default"),
        (["default", "feature_vector"], {}, "feature_vector"),
        (["default", "feature_vector"], {"output_name": "default"}, "default"),
    ],
)
def test_the_output_is_chosen_by_name(names, fields, chosen):
    assert choose_output("m", said(**fields), names) == chosen
    assert choose_output("m", said(**fields), dict.fromkeys(names)) == chosen


def test_outputs_that_cannot_be_told_apart_are_refused():
    with pytest.raises(ModelError, match=r"several outputs \(a, b\).* `spec=output_name=a`"):
        choose_output("m", NOTHING, ["b", "a"])
    with pytest.raises(ModelError, match="has no output c; it has a, b"):
        choose_output("m", said(output_name="c"), ["b", "a"])


@pytest.mark.parametrize(
    ("shape", "pool", "layout", "dimension"),
    [
        ((None, 2048), "none", "NHWC", 2048),
        ((None, None), "none", "NHWC", 0),
        ((None, 7, 7, 64), "mean", "NHWC", 64),
        ((None, 64, 7, 7), "mean", "NCHW", 64),
        ((None, 50, 96), "mean", "NCHW", 96),
        ((None, 50, 96), "cls", "NHWC", 96),
    ],
)
def test_the_output_tells_the_dimension(shape, pool, layout, dimension):
    spec = ModelSpec(pool=pool, layout=layout)
    assert resolve_output("m", spec, Port("y", "float16", shape)).dimension == dimension


@pytest.mark.parametrize(
    ("shape", "dtype", "fields", "told"),
    [
        ((None, 7, 7, 64), "float32", {}, "needs `spec=pool=mean`"),
        ((None, 50, 96), "float32", {}, "needs `spec=pool=mean` or `spec=pool=cls`"),
        ((None, 7, 7, 64), "float32", {"pool": "cls"}, "needs `spec=pool=mean`, not pool=cls"),
        ((None, 64), "float32", {"pool": "mean"}, "needs `spec=pool=none`, not pool=mean"),
        ((None,), "float32", {}, r"returns float32 \[\?\], expected \[N, D\]"),
        ((None, 64), "int64", {}, r"returns int64 \[\?, 64\], expected floats"),
        ((None, 64), "float32", {"dimension": 32}, "returns 64 numbers an image, not 32"),
        (None, "float32", {}, "does not tell the shape"),
    ],
)
def test_an_output_that_is_no_vector_is_refused(shape, dtype, fields, told):
    with pytest.raises(ModelError, match=told):
        resolve_output("m", ModelSpec(**fields), Port("y", dtype, shape))
