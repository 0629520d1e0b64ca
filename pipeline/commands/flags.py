"""Arguments of Python as flags: their names, messages of the library that name them, and a flag."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping

_ARGUMENT = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")


def flag_of(argument: str) -> str:
    """Return the flag of an argument.

    >>> flag_of("input_list")
    '--input-list'
    """
    return "--" + argument.replace("_", "-")


def name_flags(message: str, flags: Mapping[str, str]) -> str:
    """Write the arguments that a message names in backticks as flags, as a shell takes them.

    Args:
        message: of an error of beamvec.
        flags: the flag of each argument that the command has.

    >>> name_flags("use `append=True` or `chunk_size=9`", {"append": "--append"})
    'use --append or `chunk_size=9`'
    >>> name_flags("say `spec=pool=mean`", {"pool": "--pool"})  # As `beamvec model spec` has it.
    'say --pool mean'
    >>> name_flags("`input=my photos`: nothing there", {"input": "--input"})
    "--input 'my photos': nothing there"
    """

    def name(match: re.Match[str]) -> str:
        argument, value = match.groups()
        if argument == "spec" and "spec" not in flags:
            argument, _, value = (value or "").partition("=")
        if argument not in flags:
            return match[0]
        if value in (None, "True"):
            return flags[argument]
        return f"{flags[argument]} {shlex.quote(value)}"

    return _ARGUMENT.sub(name, message)


def add_trust(command: argparse.ArgumentParser) -> None:
    """Add the flag of whatever loads a model."""
    command.add_argument(
        "--trust-model",
        action="store_true",
        help="run a model that can read and write files, or call Python",
    )
