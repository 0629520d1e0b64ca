"""The fields of `ModelSpec` as people and files write them, checked."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from beamvec.model_spec import ModelSpec

FIELDS: Mapping[str, Any] = typing.get_type_hints(ModelSpec)
"""The names of `ModelSpec`'s fields, and their types."""

FIELD_HELP: Mapping[str, str] = {
    "input_name": "the input that takes the images, of several",
    "layout": "the order of its axes, where the model leaves that free",
    "dtype": "of the input; the model tells it",
    "size": "width and height of the input, where the model leaves them free",
    "channels": "the order of the colours",
    "scale": "what pixels, 0 to 255, are multiplied with first, such as 1/255 or 1",
    "mean": "what is taken off then: one number or three, of red, green and blue",
    "std": "what is divided by then, likewise",
    "resize": "how images become square",
    "interpolation": "Pillow's filter that resizes",
    "antialias": "whether that filter widens with the reduction: true or false",
    "crop_ratio": "of resize crop: the size over the short side that it is cut from",
    "color_profile": "what becomes of a file's colour profile",
    "signature": "of a SavedModel, of several",
    "output_name": "the output that holds the features, of several",
    "pool": "how a feature map or tokens become a vector",
    "normalize": "whether embeddings are divided by their length",
    "dimension": "length of an embedding; the model tells it",
}
"""What each field is, in a line."""

_CHANNELS = 3
_WORDS = {"true": True, "false": False}
_LARGEST_SIZE = 8192


def check_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Check values of fields, which may be texts, and return them in the types of `ModelSpec`.

    Args:
        fields: numbers may be texts such as `1/255`, and triples one number, texts such as
            `0.485,0.456,0.406`, or lists.

    Raises:
        ValueError: naming the field, its value and what it may be.

    >>> check_fields({"scale": "1/255", "mean": "0.5", "pool": "mean"})["mean"]
    (0.5, 0.5, 0.5)
    """
    return {name: _check_field(name, value) for name, value in fields.items()}


def _check_field(name: str, value: Any) -> Any:
    if name not in FIELDS:
        near = get_close_matches(name, FIELDS, 1)
        meant = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(FIELDS)}"
        raise ValueError(f"a model has no {name}{meant}")
    try:
        checked = _convert(FIELDS[name], value)
    except (TypeError, ValueError, KeyError, ArithmeticError):
        raise ValueError(f"{name}={value} is {_describe(FIELDS[name])}") from None
    _check_range(name, checked)
    return checked


def _convert(hint: Any, value: Any) -> Any:
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return _to_triple(value)
    if choices:
        if value not in choices:
            raise ValueError
        return value
    if hint is bool:
        return _WORDS[value.lower()] if isinstance(value, str) else _require(bool, value)
    if hint is int:
        return int(value) if isinstance(value, str) else _require(int, value)
    return _to_float(value) if hint is float else _require(str, value)


def _require(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _to_float(value: Any) -> float:
    if isinstance(value, str) and "/" in value:
        above, below = value.split("/")
        value = float(above) / float(below)
    number = float(value if isinstance(value, str) else _require_number(value))
    if not math.isfinite(number):
        raise ValueError
    return number


def _require_number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def _to_triple(value: Any) -> tuple[float, ...]:
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    numbers = [_to_float(each) for each in (value if isinstance(value, Iterable) else [value])]
    if len(numbers) == 1:
        numbers *= _CHANNELS
    if len(numbers) != _CHANNELS:
        raise ValueError
    return tuple(numbers)


def _check_range(name: str, value: Any) -> None:
    if name == "scale" and value == 0:
        raise ValueError("scale=0 would make every image black")
    if name == "std" and 0 in value:
        raise ValueError("std has a 0, which nothing can be divided by")
    if name == "crop_ratio" and not 0 < value <= 1:
        raise ValueError(f"crop_ratio={value} is out of range; it takes more than 0, up to 1")
    if name in ("size", "dimension") and not 0 <= value <= _LARGEST_SIZE ** (1 + (name != "size")):
        raise ValueError(f"{name}={value} is out of range; it takes 1 to {_LARGEST_SIZE}")


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return "no number, nor three of them, of red, green and blue"
    choices = typing.get_args(hint)
    if choices:
        return f"unknown; it takes {', '.join(choices)}"
    kinds = {bool: "neither true nor false", int: "no whole number", float: "no number"}
    return kinds.get(hint, "no text")


def name_differences(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scale, which nobody should guess, and what is not as `ModelSpec` has it."""
    default = dataclasses.asdict(ModelSpec()) | {"scale": None}
    return {name: value for name, value in fields.items() if value != default[name]}
