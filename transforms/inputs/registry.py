"""The kinds of input there are, a line each."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from beamvec.embeddings.run_record import InputRecord
from beamvec.errors import InputError
from beamvec.transforms.inputs.manifest import Manifest
from beamvec.transforms.inputs.parquet_files import ParquetFiles
from beamvec.transforms.inputs.patterns import Patterns
from beamvec.transforms.inputs.source import Option, Source, make_names
from beamvec.transforms.inputs.tar_files import TarFiles
from beamvec.transforms.inputs.tfrecord_files import TFRecordFiles
from beamvec.transforms.inputs.uri_list import UriList
from beamvec.transforms.inputs.zip_files import ZipFiles

SOURCES: tuple[type[Source], ...] = (
    Patterns,
    UriList,
    Manifest,
    ParquetFiles,
    TarFiles,
    TFRecordFiles,
    ZipFiles,
)


def list_options() -> list[Option]:
    """Return what the kinds of input take beside their names, once what several of them take."""
    return list(dict.fromkeys(option for kind in SOURCES for option in kind.options))


def remake_source(record: InputRecord) -> Source | None:
    """Make the source of a run that is over, to find its images; None if it cannot be."""
    kind = next((kind for kind in SOURCES if kind.kind == record.source), None)
    if kind is None or not record.names:
        return None
    kept = {option.name for option in kind.options if option.finds}
    values: dict[str, Any] = {name: value for name, value in record.options.items() if name in kept}
    if record.folder and any(field.name == "base_folder" for field in dataclasses.fields(kind)):
        values["base_folder"] = record.folder
    try:
        return kind(record.names, **values)
    except InputError:
        return None


def make_source(arguments: Mapping[str, Any]) -> Source:
    """Make the one source that some arguments name, by the kinds' and their options' names.

    Raises:
        InputError: if they name none or several, or have an option that it does not take.
    """
    given = [kind for kind in SOURCES if arguments.get(kind.kind) is not None]
    if len(given) != 1:
        found = " and ".join(f"`{kind.kind}`" for kind in given) or "nothing"
        known = ", ".join(f"`{kind.kind}`" for kind in SOURCES)
        raise InputError(f"{found} names the input; give one of {known}")
    (chosen,) = given
    for option in list_options():
        if arguments.get(option.name) not in (None, False) and option not in chosen.options:
            takers = " or ".join(f"`{kind.kind}`" for kind in SOURCES if option in kind.options)
            raise InputError(
                f"`{option.name}` means nothing with `{chosen.kind}`; it goes with {takers}"
            )
    options = {
        option.name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for option in chosen.options
        if (value := arguments.get(option.name)) is not None
    }
    if arguments.get("allow_empty"):
        options["allow_empty"] = True
    if arguments.get("limit") is not None:
        options["limit"] = arguments["limit"]
    return chosen(make_names(arguments[chosen.kind]), **options)
