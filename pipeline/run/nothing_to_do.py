"""A run whose output is finished already: whether it is, for the input of today."""

from __future__ import annotations

from beamvec.embeddings.counted import counted
from beamvec.embeddings.layout import Layout
from beamvec.embeddings.run_record import RunRecord
from beamvec.errors import OutputError
from beamvec.pipeline.run.belongings import clear_work
from beamvec.pipeline.run.config import ExtractConfig
from beamvec.pipeline.run.folder import FoundOutput
from beamvec.pipeline.run.observer import Observer
from beamvec.transforms.files import storage
from beamvec.transforms.planning.plan import account_inputs
from beamvec.transforms.records.images import ImageRef


def is_nothing_to_do(found: FoundOutput, config: ExtractConfig) -> bool:
    """Tell whether the dataset is finished, if the input is still the same."""
    return found.is_finished and not (config.overwrite or config.append)


def has_leftovers(layout: Layout) -> bool:
    """Tell whether a run was killed after its dataset was finished, or is just about to end."""
    return storage.exists(layout.lock_file) or bool(storage.list_files(layout.chunks))


def confirm(config: ExtractConfig, found: FoundOutput, observer: Observer) -> RunRecord:
    """Return the record of a finished dataset, if the input is still the same.

    Raises:
        OutputError: if it is another.
    """
    assert found.run is not None
    run = found.run
    if not found.claim:  # Else they are of half an append, or of what is to replace the dataset.
        clear_work(config.layout)
    now = account_inputs(ref for ref in config.source.list_all() if isinstance(ref, ImageRef))
    if f"{now.input_digest:064x}" != run.input.digest:
        if run.appended:
            raise OutputError(
                f"{config.output} holds a dataset that was appended to: "
                f"{counted(run.counts.inputs, 'image')} in all, {now.inputs:,} in this input; "
                "`append=True` adds what it lacks, if anything; replace it with "
                "`overwrite=True`, or choose another `output`"
            )
        limits = f"{_name_limit(run.input.limit)} then, {_name_limit(config.source.limit)} now, "
        raise OutputError(
            f"{config.output} holds a finished dataset of another input: "
            f"{counted(run.counts.inputs, 'image')} then, {now.inputs:,} now, "
            + (limits if run.input.limit != config.source.limit else "")
            + "or files that have changed; add what is new with `append=True`, replace the dataset "
            "with `overwrite=True`, or choose another `output`"
        )
    failed = counted(run.counts.failures, "image")
    again = f", but {failed} failed: `append=True` tries them again" if run.counts.failures else ""
    observer.conclude(
        f"{config.output} is finished already: same input, same settings; nothing to do{again}"
    )
    return run


def _name_limit(limit: int | None) -> str:
    return "no `limit`" if limit is None else f"`limit={limit}`"
