"""What is in the output folder before a run: nothing, half a run, or a dataset."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from embeddings import schema
from pipeline.options import UsageError
from transforms import storage
from transforms.write import OutputOptions

SETTINGS_FILE = "settings.json"
"""In the folder of chunk files: the settings of the run that they belong to."""

# Under these names `storage.open_atomically` leaves the files of a run that is killed.
_LEFTOVER = re.compile(r"(settings\.json|run\.json|_SUCCESS)\.[0-9a-f]{32}\.tmp")


_MARKS = (schema.SUCCESS_FILE, schema.RUN_FILE)
_TABLES = (schema.EMBEDDINGS_DIR, schema.FAILURES_DIR, schema.INPUTS_DIR)


class OutputState(Enum):
    """What an output folder holds for the settings at hand."""

    EMPTY = "empty"
    UNFINISHED = "unfinished"
    FINISHED = "finished"


@dataclass(frozen=True)
class FoundOutput:
    """What an output folder holds.

    Attributes:
        state: what it is for the settings at hand.
        run: the content of `run.json`, None if there is none.
        begun: the settings and the generation that its chunk files belong to, None likewise.
    """

    state: OutputState
    run: dict[str, Any] | None = None
    begun: dict[str, Any] | None = None

    @property
    def next_generation(self) -> int:
        """The generation of a run that appends to it, 0 if there is nothing to append to."""
        if self.state is not OutputState.FINISHED or self.run is None:
            return 0
        return len(self.run.get("appended", [])) + 1


def read_json(path: str) -> dict[str, Any] | None:
    """Read a JSON object, None if there is no such file.

    Raises:
        UsageError: if it cannot be read or is no JSON object.
    """
    with _usage_errors(f"cannot read {path}"):
        if not storage.exists(path):
            return None
        content = json.loads(storage.read_bytes(path))
    if not isinstance(content, dict):
        raise UsageError(f"{path} is no file of beamvec's; choose another --output")
    return content


@contextmanager
def _usage_errors(what: str) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except storage.READ_ERRORS as error:
        raise UsageError(f"{what}: {error}") from error


def inspect_output(
    output: OutputOptions, settings: Mapping[str, Any], overwrite: bool
) -> FoundOutput:
    """Tell what the output folder holds, for a run with these settings.

    Raises:
        UsageError: if it holds a dataset or half a run of other settings, and `overwrite` is not
            given, or files that are not beamvec's.
    """
    with _usage_errors(f"cannot read --output {output.path}"):
        run = read_json(storage.join(output.path, schema.RUN_FILE))
        finished = storage.exists(storage.join(output.path, schema.SUCCESS_FILE))
        begun = read_json(storage.join(output.chunks_path, SETTINGS_FILE))
    if run is not None and finished:
        found = FoundOutput(OutputState.FINISHED, run, begun)
        made_with = run.get("settings", {})
    elif begun is not None:
        found = FoundOutput(OutputState.UNFINISHED, run, begun)
        made_with = begun.get("settings", {})
    else:
        _refuse_foreign(output)
        return FoundOutput(OutputState.EMPTY)
    differences = _differences(made_with, settings)
    if differences and not overwrite:
        what = "dataset" if found.state is OutputState.FINISHED else "unfinished run"
        raise UsageError(
            f"{output.path} holds a {what} made with other settings: {differences}; choose "
            "another --output, or replace it with --overwrite"
        )
    return FoundOutput(OutputState.EMPTY) if differences else found


def _refuse_foreign(output: OutputOptions) -> None:
    for name in (schema.EMBEDDINGS_DIR, schema.FAILURES_DIR, schema.RUN_FILE, "chunks"):
        path = storage.join(output.path, name)
        with _usage_errors(f"cannot read --output {output.path}"):
            if not storage.exists(path) and not storage.list_files(path):
                continue
            if _is_just_begun(path, output):
                continue
        raise UsageError(
            f"{path} is there, but not as part of a dataset of beamvec's; choose another "
            "--output, or remove it"
        )


def _is_just_begun(path: str, output: OutputOptions) -> bool:
    """Tell whether this is the folder of chunk files, of a run killed while it wrote its first."""
    if path != output.chunks_path:
        return False
    files = storage.match(storage.join(path, "**"))
    return all(_is_leftover(file.path) for file in files)


def _is_leftover(path: str) -> bool:
    return _LEFTOVER.fullmatch(posixpath.basename(path)) is not None


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    return ", ".join(f"{name} is {found.get(name)}, not {wanted.get(name)}" for name in names)


def prepare_output(output: OutputOptions, settings: Mapping[str, Any], found: FoundOutput) -> None:
    """Clear the output folder for a run: all but the chunk files that it can go on from.

    An append leaves the dataset as it is until the end.

    Raises:
        UsageError: if the folder cannot be written.
    """
    begun = {"settings": settings, "generation": output.generation}
    append = output.generation > 0
    with _usage_errors(f"cannot write to --output {output.path}"):
        if found.begun != begun or (found.state is OutputState.FINISHED and not append):
            storage.delete(output.chunks_path)
        # Before anything is cleared: killed in between, the folder still tells whose it is.
        content = json.dumps(begun, indent=2).encode()
        storage.write_file(storage.join(output.chunks_path, SETTINGS_FILE), content)
        # What a run before has merged may have been cut into other parts.
        for name in _TABLES if append else (*_MARKS, *_TABLES):
            storage.delete(storage.join(output.parts_path, name))
        for path in storage.list_files(output.path):
            if _is_leftover(path):
                storage.delete(path)
