"""The kinds of input there are, a line each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from beamvec.errors import InputError
from beamvec.transforms.inputs.manifest import Manifest
from beamvec.transforms.inputs.patterns import Patterns
from beamvec.transforms.inputs.source import Source, make_names
from beamvec.transforms.inputs.uri_list import UriList

SOURCES: tuple[type[Source], ...] = (
    Patterns,
    UriList,
    Manifest,
)


def make_source(arguments: Mapping[str, Any]) -> Source:
    """Make the one source that some arguments name, by the kinds' and their options' names.

    Raises:
        InputError: if they name none or several.
    """
    given = [kind for kind in SOURCES if arguments.get(kind.kind) is not None]
    if len(given) != 1:
        found = " and ".join(f"`{kind.kind}`" for kind in given) or "nothing"
        known = ", ".join(f"`{kind.kind}`" for kind in SOURCES)
        raise InputError(f"{found} names the input; give one of {known}")
    (chosen,) = given
    options = {
        option.name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for option in chosen.options
        if (value := arguments.get(option.name)) is not None
    }
    if arguments.get("allow_empty"):
        options["allow_empty"] = True
    return chosen(make_names(arguments[chosen.kind]), **options)
