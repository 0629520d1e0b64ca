"""What is in the output folder before a run, and clearing it for the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from beamvec.embeddings.layout import TABLE_DIRS, FolderState, Layout
from beamvec.embeddings.run_record import RunRecord, Settings
from beamvec.errors import BeamvecError, OutputError
from beamvec.pipeline.run.belongings import (
    clear_staged,
    find_leftovers,
    find_parts,
    find_work,
)
from beamvec.transforms.files import storage


@dataclass(frozen=True)
class FoundOutput:
    """What an output folder holds.

    Attributes:
        state: what it is for the settings at hand.
        run: the record of the dataset, None if there is none.
        begun: the record of the run that its chunk files belong to, None likewise.
        notes: what whoever starts the run should know of it.
    """

    state: FolderState
    run: RunRecord | None = None
    begun: RunRecord | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether there is a whole dataset."""
        return self.state is FolderState.FINISHED

    @property
    def next_generation(self) -> int:
        """The generation of a run that appends to it, 0 if there is nothing to append to."""
        return len(self.run.appended) + 1 if self.is_finished and self.run else 0

    def can_go_on(self, record: RunRecord) -> bool:
        """Tell whether the chunk files are those of a run."""
        begun = self.begun
        return begun is not None and (begun.settings, begun.generation) == (
            record.settings,
            record.generation,
        )


@contextmanager
def _output_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{what}: {error}") from error


def read_record(path: str) -> RunRecord | None:
    """Read the record of a run, None if there is no such file.

    Raises:
        OutputError: if it cannot be read, or is none.
    """
    with _output_errors(f"cannot read {path}"):
        content = storage.read_bytes(path) if storage.exists(path) else None
    try:
        return (content and RunRecord.from_json(content, path)) or None
    except BeamvecError as error:
        raise OutputError(f"{error}; choose another `output`, or remove it") from error


def _read_begun(layout: Layout) -> RunRecord | None:
    begun = read_record(layout.begun_file)
    old = layout.old_begun_file
    with _output_errors(f"cannot read {old}"):
        if begun is not None or not storage.exists(old):
            return begun
        return RunRecord.from_old_settings(storage.read_bytes(old), old)


def find_output(layout: Layout, settings: Settings, overwrite: bool) -> FoundOutput:
    """Tell what the output folder holds, for a run with these settings.

    Raises:
        OutputError: if it holds a dataset or half a run of other settings, and `overwrite` is not
            given, or files that are not beamvec's.
    """
    with _output_errors(f"cannot read `output={layout.path}`"):
        is_marked = storage.exists(layout.success_file)
        is_publishing = storage.exists(layout.publication_file)
    run, begun = read_record(layout.run_file), _read_begun(layout)
    if is_publishing:
        return FoundOutput(FolderState.PUBLISHING, run, begun)
    if run is not None and is_marked:
        found = FoundOutput(FolderState.FINISHED, run, begun)
        made_with = run.settings
    elif begun is not None:
        found = FoundOutput(FolderState.UNFINISHED, None, begun)
        made_with = begun.settings
    else:
        _refuse_foreign(layout, run)
        return FoundOutput(FolderState.EMPTY)
    differences = made_with.differences(settings)
    if differences and not overwrite:
        what = "a dataset" if found.is_finished else "an unfinished run"
        raise OutputError(
            f"{layout.path} holds {what} made with other settings: {differences}; choose "
            "another `output`, or replace it with `overwrite=True`"
        )
    found = _start_over(found, settings)
    return FoundOutput(FolderState.EMPTY, run) if differences else found


def _start_over(found: FoundOutput, settings: Settings) -> FoundOutput:
    """Leave out chunk files of another format: their rows must not end in the same dataset."""
    if found.begun is None or found.begun.settings.format_version == settings.format_version:
        return found
    note = (
        "the unfinished run here was begun by another version of beamvec (format "
        f"{found.begun.settings.format_version}, this one writes {settings.format_version}); it "
        "is started over"
    )
    return replace(found, begun=None, notes=(note,))


def _refuse_foreign(layout: Layout, run: RunRecord | None) -> None:
    """Refuse a folder that holds names of a dataset, and neither a dataset nor half a run.

    A run that was killed in its first moments may have left an empty folder, or its record.
    """
    with _output_errors(f"cannot read `output={layout.path}`"):
        begun = run is not None and run.state != "finished"
        marks = [layout.success_file, *(() if begun else (layout.run_file,))]
        found = [path for path in marks if storage.exists(path)]
        found += [
            entry.path for name in TABLE_DIRS for entry in storage.list_tree(layout.table(name))
        ]
        work = find_work(layout)
    if found or not all(path.endswith(".tmp") for path in work):
        raise OutputError(
            f"{(found or work)[0]} is there, but not as part of a dataset of beamvec's; choose "
            "another `output`, or remove it"
        )


def prepare_output(layout: Layout, record: RunRecord, found: FoundOutput) -> None:
    """Clear the output folder for a run: all but the chunk files that it can go on from.

    An append leaves the dataset as it is until the end.

    Args:
        layout: the folder.
        record: of the run that begins.
        found: what there is.

    Raises:
        OutputError: if the folder cannot be written.
    """
    append = record.generation > 0
    with _output_errors(f"cannot write to `output={layout.path}`"):
        # All that there is to delete is looked at before anything is deleted.
        parts, work = find_parts(layout, found.run), find_work(layout)
        if not found.can_go_on(record) or (found.is_finished and not append):
            storage.delete_files(work, layout.chunks)
        # Before anything is cleared: killed in between, the folder still tells whose it is.
        write_record(layout, record)
        # What a run before has merged may have been cut into other parts.
        clear_staged(layout)
        for path in find_leftovers(layout):
            storage.delete(path)
        if not append:  # Until the end, an append leaves the dataset as it is.
            storage.delete(layout.success_file)
            for name in TABLE_DIRS:
                folder = layout.table(name)
                own = [path for path in parts if path.startswith(f"{folder}/")]
                storage.delete_files(own, folder)
            storage.write_file(layout.run_file, record.to_json().encode())


def write_record(layout: Layout, record: RunRecord) -> None:
    """Write down what the chunk files belong to."""
    storage.write_file(layout.begun_file, record.to_json().encode())


def write_failed(layout: Layout, record: RunRecord, reason: str) -> None:
    """Write down that a run has failed, and why; best effort, where nothing else can be done."""
    failed = replace(record, state="failed", error=reason)
    try:
        write_record(layout, failed)
        if not record.generation:
            storage.write_file(layout.run_file, failed.to_json().encode())
    except OSError:
        return  # The disk may be what failed; the caller is about to raise the reason itself.
