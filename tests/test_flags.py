"""Arguments of Python, written as flags in messages of the command line."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamvec.pipeline.commands.flags import name_flags

FLAGS = {"append": "--append", "chunk_size": "--chunk-size", "input": "--input"}
arguments = st.sampled_from(sorted(FLAGS))
values = st.text(st.characters(exclude_characters="`", codec="utf-8"), min_size=1, max_size=8)
plain = st.text(st.characters(exclude_characters="`"), max_size=12)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("use `append=True`", "use --append"),
        ("`chunk_size=0` is out of range", "--chunk-size 0 is out of range"),
        ("`input` is empty", "--input is empty"),
        ("`input=a b.jpg`: no such file", "--input 'a b.jpg': no such file"),
        ("`input=`: no such file", "--input '': no such file"),
        ("`resize=crop`", "`resize=crop`"),
        ("see `beamvec --help`", "see `beamvec --help`"),
        ("`beamvec model export keras:X DIR`", "`beamvec model export keras:X DIR`"),
    ],
)
def test_arguments_become_flags_and_nothing_else_does(message, shown):
    assert name_flags(message, FLAGS) == shown


@given(plain)
def test_what_has_no_backticks_stays(message):
    assert name_flags(message, FLAGS) == message


@given(plain, arguments, values.filter(lambda value: value != "True"), plain)
def test_an_argument_is_named_wherever_it_stands(before, name, value, after):
    shown = name_flags(f"{before}`{name}={value}`{after}", FLAGS)
    assert shown == f"{before}{FLAGS[name]} {shlex.quote(value)}{after}"


@given(plain, arguments, values)
def test_naming_twice_changes_nothing(before, name, value):
    once = name_flags(f"{before}`{name}={value}`", FLAGS)
    assert name_flags(once, FLAGS) == once


@given(plain, arguments, values)
def test_a_command_without_the_flag_keeps_the_argument(before, name, value):
    message = f"{before}`{name}={value}`"
    assert name_flags(message, {}) == message
