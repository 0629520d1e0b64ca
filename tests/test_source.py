"""What every kind of input has in common, and choosing one."""

from __future__ import annotations

from pathlib import Path

import pytest

from beamvec.errors import ArgumentError, InputError
from beamvec.transforms.inputs.manifest import Manifest
from beamvec.transforms.inputs.patterns import Patterns
from beamvec.transforms.inputs.registry import SOURCES
from beamvec.transforms.inputs.source import make_names
from beamvec.transforms.inputs.uri_list import UriList
from beamvec.transforms.records.images import ImageRef


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_needs_names(kind):
    for names in ((), ("",), ("a", "")):
        with pytest.raises(InputError, match=f"`{kind.kind}` is empty; it takes "):
            kind(names)


@pytest.mark.parametrize("kind", SOURCES)
def test_only_some_kinds_take_several_names(kind):
    if kind.repeatable:
        assert kind(("a", "b")).names == ("a", "b")
    else:
        with pytest.raises(InputError, match="takes one name, not 2"):
            kind(("a", "b"))


@pytest.mark.parametrize("kind", SOURCES)
def test_a_name_without_a_store_is_refused(kind):
    with pytest.raises(InputError, match=f"`{kind.kind}=ftp://h/a.csv`: no filesystem for ftp://"):
        kind(("ftp://h/a.csv",)).check()


@pytest.mark.parametrize("kind", SOURCES)
def test_names_are_shown_without_secrets(kind):
    source = kind(("https://me:secret@host/a.csv?token=1",))
    assert source.describe() == ("https://host/a.csv",)


@pytest.mark.parametrize("kind", SOURCES)
def test_images_are_spread_by_their_uri(kind):
    assert kind(("a",)).shard_key(ImageRef("b.jpg", 1)) == "b.jpg"


def test_patterns_are_listed_in_parallel():
    assert Patterns(("a", "b")).split() == [Patterns(("a",)), Patterns(("b",))]
    manifest = Manifest(("m.csv",), uri_column="path")
    assert manifest.split() == [manifest]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("a", ("a",)),
        (Path("a"), ("a",)),
        (["a", Path("b")], ("a", "b")),
        (("a",), ("a",)),
        ([], ()),
    ],
)
def test_names_come_one_or_several(value, names):
    assert make_names(value) == names


def test_an_input_error_is_an_argument_error():
    with pytest.raises(ArgumentError):
        UriList(("",))
