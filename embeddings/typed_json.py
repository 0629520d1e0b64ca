"""From JSON, which may hold anything, to dataclasses, which hold what they say."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from typing import Any, Literal, TypeVar

from beamvec.errors import DatasetError

Record = TypeVar("Record")

_LARGE = 1e300
"""No number of a record reaches it; JSON can hold integers that no float can."""

_LARGE_COUNT = 2**53
"""No count of a record reaches it; larger ones are not exact as floats, and overflow at last."""


def load_object(text: str | bytes, path: str) -> dict[str, Any]:
    """Return a JSON object.

    Args:
        text: the content of a file.
        path: names the file in errors.

    Raises:
        DatasetError: if it is damaged.
    """
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError, MemoryError) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is damaged: it holds no JSON object")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


@functools.cache
def _read_hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def parse(cls: type[Record], content: Any, path: str, where: str = "") -> Record:
    """Make a dataclass of a JSON object; keys that it does not have are left out.

    Args:
        cls: the dataclass; its fields may be str, bool, int, float, a literal, another dataclass,
            one of these or None, a tuple of one of them, or a dict of strings to one of them.
        content: what JSON holds.
        path: names the file in errors.
        where: the place in it.

    Raises:
        DatasetError: naming the first place that is missing or of another type.
    """
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is damaged: {where or 'it'} is no JSON object")
    values: dict[str, Any] = {}
    kind: Any = cls
    hints = _read_hints(kind)
    for item in dataclasses.fields(kind):
        place = f"{where}.{item.name}" if where else item.name
        if item.name in content:
            values[item.name] = _convert(content[item.name], hints[item.name], path, place)
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise DatasetError(f"{path} is damaged: {place} is missing")
    return cls(**values)


def _convert(value: Any, hint: Any, path: str, place: str) -> Any:
    """Check a value against a type, and turn lists into tuples."""
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return parse(hint, value, path, place)  # type: ignore[arg-type]
    if kind is types.UnionType:
        return None if value is None else _convert(value, parts[0], path, place)
    if kind is tuple and isinstance(value, list):
        return tuple(
            _convert(each, parts[0], path, f"{place}[{i}]") for i, each in enumerate(value)
        )
    if kind is dict and isinstance(value, dict):
        return {
            name: _convert(each, parts[1], path, f"{place}.{name}") for name, each in value.items()
        }
    if kind is Literal and value in parts:
        return value
    if hint is float and type(value) in (int, float) and -_LARGE < value < _LARGE:
        return float(value)
    if hint is int and type(value) is int and -_LARGE_COUNT < value < _LARGE_COUNT:
        return value
    if hint in (str, bool) and type(value) is hint:
        return value
    raise DatasetError(f"{path} is damaged: {place} is {json.dumps(value)[:60]}")
