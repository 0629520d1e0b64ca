"""Choosing the kind of input by the arguments that are given."""

from __future__ import annotations

import pytest

from beamvec.errors import InputError
from beamvec.transforms.inputs.manifest import Manifest
from beamvec.transforms.inputs.patterns import Patterns
from beamvec.transforms.inputs.registry import SOURCES, list_options, make_source
from beamvec.transforms.inputs.uri_list import UriList


@pytest.mark.parametrize(
    ("arguments", "source"),
    [
        ({"input": "photos"}, Patterns(("photos",))),
        ({"input": ["a", "b"], "manifest": None}, Patterns(("a", "b"))),
        ({"input_list": "list.txt"}, UriList(("list.txt",))),
        ({"manifest": "m.csv", "uri_column": None}, Manifest(("m.csv",))),
        ({"manifest": "m.csv", "uri_column": "path"}, Manifest(("m.csv",), uri_column="path")),
        ({"input": "photos", "output": "out"}, Patterns(("photos",))),
    ],
)
def test_the_argument_names_the_kind(arguments, source):
    assert make_source(arguments) == source


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "nothing names the input; give one of `input`, `input_list`, `manifest`"),
        ({"input": None}, "nothing names the input"),
        ({"input": "a", "input_list": "b"}, "`input` and `input_list` names the input"),
        ({"input": []}, "`input` is empty"),
        ({"manifest": ""}, "`manifest` is empty"),
    ],
)
def test_one_kind_is_needed(arguments, told):
    with pytest.raises(InputError) as caught:
        make_source(arguments)
    assert told in str(caught.value)


def test_kinds_and_their_options_have_names_of_their_own():
    names = [kind.kind for kind in SOURCES] + [option.name for option in list_options()]
    assert len(names) == len(set(names))
