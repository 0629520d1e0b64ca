"""What is in the output folder before a run, and clearing it for the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from beamvec.embeddings.layout import OWN_DIRS, TABLE_DIRS, FolderState, Layout
from beamvec.embeddings.run_record import MAX_BYTES, RunRecord
from beamvec.embeddings.settings import Settings
from beamvec.errors import BeamvecError, OutputError
from beamvec.pipeline.run.belongings import (
    check_models,
    clear_work,
    find_leftovers,
    find_parts,
    find_work,
)
from beamvec.pipeline.run.claim import Claim, read_claim
from beamvec.transforms.files import storage


@dataclass(frozen=True)
class FoundOutput:
    """What an output folder holds.

    Attributes:
        state: what it is for the settings at hand.
        run: the record of the dataset, None if there is none.
        claim: who worked there on what, None if nobody did or their work is done.
        notes: what whoever starts the run should know of it.
    """

    state: FolderState
    run: RunRecord | None = None
    claim: Claim | None = None
    notes: tuple[str, ...] = ()

    @property
    def made_with(self) -> Settings | None:
        """The settings of what is there, None if nothing is."""
        run = self.run or (self.claim.run if self.claim else None)
        return run.settings if run else None

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
        begun = self.claim.run if self.claim else None
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
        found = storage.read_versioned(path, MAX_BYTES + 1)
    try:
        return RunRecord.from_json(found[0], path) if found else None
    except BeamvecError as error:
        raise OutputError(f"{error}; choose another `output`, or remove it") from error


def find_kept(layout: Layout, settings: Settings, overwrite: bool) -> RunRecord | None:
    """Return the record of what a run would go on with, whatever its settings; None for nothing.

    Raises:
        OutputError: if it cannot be read.
    """
    with _output_errors(f"cannot read `output={layout.path}`"):
        is_marked = storage.exists(layout.success_file)
        claim = read_claim(layout)
    begun = claim.run if claim else None
    if claim and claim.publication:
        return begun
    if is_marked and not overwrite and (finished := read_record(layout.run_file)):
        return finished
    if overwrite and claim and claim.asked != "overwrite":
        return None
    # Chunk files of another format are not gone on with.
    is_other = begun and begun.settings.format_version != settings.format_version
    return None if is_other else begun


def find_output(layout: Layout, settings: Settings, overwrite: bool) -> FoundOutput:
    """Tell what the output folder holds, for a run with these settings.

    Raises:
        OutputError: if it holds a dataset or half a run of other settings, and `overwrite` is not
            given, or files that are not beamvec's.
    """
    return _accept(layout, _look(layout), settings, overwrite)


def _refuse_inside(layout: Layout) -> None:
    """Refuse a folder of another dataset: what reads its tables would read both."""
    above, _, name = layout.path.rpartition("/")
    if name in OWN_DIRS and storage.exists(Layout(above).success_file):
        raise OutputError(
            f"`output={layout.path}` is a folder of the dataset {above}; choose another `output`, "
            "or that one"
        )


def _look(layout: Layout) -> FoundOutput:
    with _output_errors(f"cannot read `output={layout.path}`"):
        is_marked = storage.exists(layout.success_file)
        claim = read_claim(layout)
    if claim is not None and claim.publication:
        return FoundOutput(FolderState.PUBLISHING, None, claim)
    run = read_record(layout.run_file)
    if run is not None and is_marked:
        return FoundOutput(FolderState.FINISHED, run, claim)
    if claim is not None:
        return FoundOutput(FolderState.UNFINISHED, None, claim)
    _refuse_foreign(layout, run)
    _refuse_inside(layout)
    return FoundOutput(FolderState.EMPTY)


def _accept(layout: Layout, found: FoundOutput, settings: Settings, overwrite: bool) -> FoundOutput:
    """Refuse what was made with other settings; note what is to be known of the rest."""
    made_with = found.made_with
    if made_with is None or found.state is FolderState.PUBLISHING:
        return found
    if _starts_over(found, settings):  # Nothing that was resized is kept.
        made_with = replace(made_with, resizer=settings.resizer)
    differences = made_with.differences(settings)
    if differences and not overwrite:
        what = "a dataset" if found.is_finished else "an unfinished run"
        lacks = (made_with.resizer, settings.resizer) == ("simd", "pillow")
        raise OutputError(
            f"{layout.path} holds {what} made with other settings: {differences}; "
            f"{'install cykooz-resizer, ' if lacks else ''}choose another `output`, or replace it "
            "with `overwrite=True`"
        )
    return replace(found, notes=_note_versions(found, settings))


def _starts_over(found: FoundOutput, settings: Settings) -> bool:
    """Tell whether all that there is are chunk files of another format."""
    made_with = found.made_with if found.state is FolderState.UNFINISHED else None
    return made_with is not None and made_with.format_version != settings.format_version


def _note_versions(found: FoundOutput, settings: Settings) -> tuple[str, ...]:
    """Tell of chunk files of another format, whose rows must not end in the same dataset."""
    begun = found.claim.run if found.claim else None
    if begun is None or begun.settings.format_version == settings.format_version:
        return ()
    note = (
        "the unfinished run here was begun by another version of beamvec (format "
        f"{begun.settings.format_version}, this one writes {settings.format_version}); it "
        "is started over"
    )
    return (note,)


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


def prepare_output(
    layout: Layout, claim: Claim, found: FoundOutput, keep: Callable[[], None] = lambda: None
) -> tuple[Claim, list[str]]:
    """Claim the output folder for a run, and clear what is left there of others.

    Chunk files stay if the run can go on from them. A dataset that is there stays as it is.

    Args:
        layout: the folder.
        claim: what the run is.
        found: what there is.
        keep: puts in place what whoever goes on with the run needs.

    Returns:
        The claim as it was written, and the paths of the parts that are there.

    Raises:
        OutputError: if the folder cannot be written.
    """
    with _output_errors(f"cannot write to `output={layout.path}`"):
        # All that there is to delete is looked at before anything is written or deleted.
        parts, _ = find_parts(layout, found.run), find_work(layout)
        check_models(layout)
        keep()  # Once there is a claim, others go on from it.
        # Before anything is cleared: killed in between, the folder still tells whose it is.
        claim = replace(claim, version=found.claim.version if found.claim else "").write(layout)
        clear_work(layout, chunks=not found.can_go_on(claim.run))
        for path in (layout.old_begun_file, *find_leftovers(layout)):
            storage.delete(path)
        if not found.is_finished:
            storage.write_file(layout.run_file, claim.run.to_json().encode())
    return claim, parts


def write_failed(layout: Layout, claim: Claim, reason: str) -> None:
    """Write down that a run has failed, and why; best effort, where nothing else can be done."""
    failed = replace(claim.run, state="failed", error=reason)
    try:
        replace(claim, run=failed).write(layout)
        if not storage.exists(layout.success_file):
            storage.write_file(layout.run_file, failed.to_json().encode())
    except OSError:
        # The disk may be what failed, or the run had been committed; the caller is about to raise
        # the reason itself.
        return
