"""Messages of the library, which name arguments of Python, as those of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ARGUMENT = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")


def name_flags(message: str, flags: Mapping[str, str]) -> str:
    """Write the arguments that a message names in backticks as flags.

    Args:
        message: of an error of beamvec.
        flags: the flag of each argument that the command has.

    >>> name_flags("use `append=True` or `chunk_size=9`", {"append": "--append"})
    'use --append or `chunk_size=9`'
    >>> name_flags("say `spec=pool=mean`", {"pool": "--pool"})  # As `beamvec model spec` has it.
    'say --pool mean'
    """

    def name(match: re.Match[str]) -> str:
        argument, value = match.groups()
        if argument == "spec" and "spec" not in flags:
            argument, _, value = (value or "").partition("=")
        if argument not in flags:
            return match[0]
        return flags[argument] + (f" {value}" if value not in (None, "True") else "")

    return _ARGUMENT.sub(name, message)
