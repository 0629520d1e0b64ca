"""Dataclasses read from JSON, every value checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

import pytest

from beamvec.embeddings.typed_json import load_object, parse
from beamvec.errors import DatasetError


@dataclass(frozen=True)
class Wheel:
    size: float = 1.0


@dataclass(frozen=True)
class Car:
    name: str
    state: Literal["new", "old"] = "new"
    doors: int = 4
    owner: str | None = None
    wheels: tuple[Wheel, ...] = ()
    colours: dict[str, str] = field(default_factory=dict)


def test_every_kind_of_field_is_read():
    content = {
        **{"name": "a", "state": "old", "doors": 2, "owner": "me"},
        **{"wheels": [{"size": 2}, {}], "colours": {"roof": "red"}, "later": "left out"},
    }
    assert parse(Car, content, "f") == Car(
        "a", "old", 2, "me", (Wheel(2.0), Wheel()), {"roof": "red"}
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": None}, "name is null"),
        ({"state": "broken"}, 'state is "broken"'),
        ({"state": []}, r"state is \[\]"),
        ({"doors": 2.0}, "doors is 2.0"),
        ({"doors": True}, "doors is true"),
        ({"owner": 7}, "owner is 7"),
        ({"wheels": {}}, "wheels is {}"),
        ({"wheels": [{}, {"size": "big"}]}, r'wheels\[1\]\.size is "big"'),
        ({"wheels": [{"size": True}]}, r"wheels\[0\]\.size is true"),
        ({"wheels": [{"size": 10**400}]}, r"wheels\[0\]\.size is 1000"),
        ({"wheels": [1]}, r"wheels\[0\] is no JSON object"),
        ({"colours": {"roof": 1}}, r"colours\.roof is 1"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(changes, told):
    with pytest.raises(DatasetError, match=f"f is damaged: {told}"):
        parse(Car, {"name": "a", **changes}, "f")


def test_what_is_missing_is_named():
    with pytest.raises(DatasetError, match="f is damaged: name is missing"):
        parse(Car, {}, "f")
    with pytest.raises(DatasetError, match="f is damaged: it is no JSON object"):
        parse(Car, [], "f")


@pytest.mark.parametrize("text", ["", "[]", "1", '{"a": NaN}', '{"a": Infinity}', b"\xff", "{"])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(DatasetError, match="f is damaged"):
        load_object(text, "f")


def test_an_object_is_read():
    assert load_object(json.dumps({"a": [1]}), "f") == {"a": [1]}
