"""A run from its configuration to its record: checks first, then the pipeline."""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

import apache_beam as beam

from beamvec import __version__
from beamvec.embeddings.layout import RUN_FILE, FolderState, Layout
from beamvec.embeddings.run_record import RunRecord, Timings
from beamvec.embeddings.settings import Settings
from beamvec.errors import PipelineError
from beamvec.pipeline.run.ahead import Ahead
from beamvec.pipeline.run.belongings import clear_work
from beamvec.pipeline.run.claim import Claim, read_claim
from beamvec.pipeline.run.config import ExtractConfig
from beamvec.pipeline.run.dataflow import makes_template
from beamvec.pipeline.run.doubts import Examination
from beamvec.pipeline.run.finish import Begun, format_time
from beamvec.pipeline.run.folder import (
    FoundOutput,
    find_output,
    prepare_output,
    read_record,
)
from beamvec.pipeline.run.graph import build_pipeline, close_pipeline
from beamvec.pipeline.run.hold import Hold
from beamvec.pipeline.run.int8 import Int8Run, choose_int8, keep_int8, use_int8
from beamvec.pipeline.run.judge import judge
from beamvec.pipeline.run.lock import check_held, hold_output
from beamvec.pipeline.run.nothing_to_do import confirm, has_leftovers, is_nothing_to_do
from beamvec.pipeline.run.observer import Observer
from beamvec.pipeline.run.progress import Progress
from beamvec.pipeline.run.publish import forget, publish
from beamvec.pipeline.run.request import check_config, describe_input, name_model, settle_request
from beamvec.pipeline.run.runners import check_reachable
from beamvec.pipeline.run.running import run_pipeline
from beamvec.pipeline.run.stopwatch import Stopwatch
from beamvec.pipeline.run.workers import Workers
from beamvec.transforms.decoding.limits import Limits
from beamvec.transforms.decoding.pool import SharedPool
from beamvec.transforms.embedding.int8 import check_int8
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import FeatureModel, load_model
from beamvec.transforms.inference.registry import ENGINES

_PACKAGES = ("apache-beam", "pyarrow", "numpy", "pillow")


@dataclass(frozen=True)
class Job:
    """What is settled before the output is touched.

    Attributes:
        config: what the run is to do.
        workers: what runs it.
        settings: every setting that changes a byte of the dataset.
        model: the loaded model.
        decoders: what decodes, here and in each worker process.
        stopwatch: started when the run was asked for.
        examination: finds what looks wrong in the model's embeddings.
        int8: of precision int8, the quantised model.
    """

    config: ExtractConfig
    workers: Workers
    settings: Settings
    model: FeatureModel
    decoders: SharedPool
    stopwatch: Stopwatch
    examination: Examination
    int8: Int8Run


def run_extraction(
    config: ExtractConfig,
    beam_flags: Sequence[str] = (),
    observer: Observer | None = None,
    known_flags: Sequence[str] = (),
    ahead: Ahead | None = None,
) -> RunRecord:
    """Do what a configuration says, and return the record of the dataset.

    Args:
        config: what to do.
        beam_flags: Beam's own options, as flags.
        observer: who looks on.
        known_flags: what could have been meant instead of a flag that Beam does not know.
        ahead: what was begun of the same configuration before.

    Returns:
        The record of the finished dataset, of this run or an earlier one with the same input and
        settings; of a job that was only described for Dataflow, one in state `running`.

    Raises:
        ArgumentError: before any work, if something cannot be as it was given.
        ModelError: likewise, if the model cannot be used.
        OutputError: likewise, if the output folder cannot be used.
        PipelineError: if the pipeline failed.
        TooManyFailuresError: if it is done, but more images failed than are allowed.
    """
    stopwatch = Stopwatch.start()
    observer = observer or Observer()
    config, workers = check_config(config, beam_flags, known_flags, observer.verbose)
    request = settle_request(config, workers)
    config, settings, found = request.config, request.settings, request.found
    if is_nothing_to_do(found, config) and not has_leftovers(config.layout):
        return judge(confirm(config, found, observer), config)
    decoders = SharedPool(limits=Limits(config.max_file_size, config.max_pixels))
    observer.busy("loading the model")
    check_reachable(workers.options)
    if workers.threads:
        decoders.get().start()  # They get ready meanwhile.
    int8 = choose_int8(request, decoders, observer, ahead.take_known() if ahead else None)
    settings = replace(settings, int8=int8.model.sha256 if int8.model else "")
    model = load_to_launch(replace(config.model, int8=int8.model), workers.local)
    request.require_same(model.fingerprint)
    config = use_int8(config, int8)
    examination = ahead.take_examination(model) if ahead else None
    examination = examination or Examination(
        config.source, model, decoders if workers.threads else None
    )
    job = Job(config, workers, settings, model, decoders, stopwatch, examination, int8)
    try:
        with hold_output(config.layout, observer.tell) as hold:
            record = _run_holding(job, hold, observer)
    except KeyboardInterrupt:
        observer.leave(workers.local)
        raise
    finally:
        examination.wait()
    return judge(record, config)


def load_to_launch(config: ModelConfig, local: bool) -> FeatureModel:
    """Load the model of a run on this machine.

    Args:
        config: of the run.
        local: whether the workers are here too. What other machines can do, they see themselves:
            here the model is loaded in float32, and without a GPU if there is none.

    Raises:
        ModelError: see `load_model`.
    """
    if config.xla == "auto":  # Nothing is run yet.
        config = replace(config, xla="off")
    if local and config.precision == "int8" and config.int8 is None:
        check_int8()
        local = False  # Whoever only looks at the machine, such as `doctor`, has nothing quantised.
    elsewhere = replace(config, precision="float32", device="any", int8=None, xla="off")
    return load_model(config if local else elsewhere)


def _run_holding(job: Job, hold: Hold, observer: Observer) -> RunRecord:
    """Run the pipeline into an output folder that this process holds."""
    config, layout = job.config, job.config.layout
    # Another run may have been at it until the lock was ours.
    found = find_output(layout, job.settings, config.overwrite)
    if found.state is FolderState.PUBLISHING:
        record = _end_publication(job, hold, observer, found)
        if record:
            return record
        found = find_output(layout, job.settings, config.overwrite)
    elif hold.previous and hold.previous.done and found.run and _is_run_of(found.run, job):
        clear_work(layout)  # Killed when nothing was left to do but to free the folder.
        return found.run
    if is_nothing_to_do(found, config):
        return confirm(config, found, observer)
    if found.claim and not found.can_go_on(_describe(job, found)):
        observer.tell(f"{layout.path}: an unfinished run of other settings is dropped")
    for note in (*found.notes, *config.source.notes):
        observer.tell(note)
    pipeline, record = beam.Pipeline(job.workers.runner, job.workers.options), _describe(job, found)
    accounts = build_pipeline(pipeline, config, job.model, job.decoders, record, hold.token)
    begun = _begin(job, hold, found, job.examination.tell(observer))
    _tell_details(begun.record, config, observer)
    close_pipeline(accounts, begun)
    run_pipeline(pipeline, job.workers, job.decoders, begun, hold, observer)
    if makes_template(job.workers.options):
        return begun.record
    record = _free(layout, hold)
    counts = record.latest.counts
    images = counts.embeddings + counts.failures
    observer.finish(Progress(images, counts.failures, images))
    return record


def _end_publication(
    job: Job, hold: Hold, observer: Observer, found: FoundOutput
) -> RunRecord | None:
    """End what a killed run began to publish; None if something else is asked for now."""
    layout, claim = job.config.layout, found.claim
    assert claim is not None
    try:
        record = publish(layout, claim, lambda: check_held(layout, hold.token))
    except OSError as error:
        raise PipelineError(f"{layout.path} cannot be published: {error}") from error
    is_ours = claim.asked == job.config.asked and _is_run_of(record, job)
    if not is_ours:
        observer.tell(f"{layout.path}: a run that was killed while it was published is whole now")
    _free(layout, hold)
    return record if is_ours else None


def _free(layout: Layout, hold: Hold) -> RunRecord:
    """Leave a published dataset and nothing else, and return its record.

    So a run that is killed at the very last is still told from one that has not begun.
    """
    record = read_record(layout.run_file)
    claim = read_claim(layout)
    if record is None or record.state != "finished" or not (claim and claim.publication):
        raise PipelineError(f"the pipeline ended, but published no {RUN_FILE}")
    hold.mark_done()
    forget(layout, claim)
    return record


def _tell_details(record: RunRecord, config: ExtractConfig, observer: Observer) -> None:
    """Tell who wants to hear more what the run is."""
    names = " ".join(record.input.names)
    settings = record.settings
    observer.detail(f"input: {record.input.source} {names}")
    observer.detail(
        f"model: {record.model}, {record.input_size} x {record.input_size} pixels to "
        f"{record.dimension} numbers, {settings.engine} {settings.precision}, fingerprint "
        f"{settings.fingerprint}"
    )
    observer.detail(f"output: {config.output}, by {record.runner}")


def _begin(job: Job, hold: Hold, found: FoundOutput, doubts: tuple[str, ...]) -> Begun:
    """Claim the output folder, and return all that is known before the pipeline starts."""
    layout = job.config.layout
    record = _describe(job, found)
    record = replace(record, notes=(*record.notes, *doubts, *_note_versions(found, record)))
    keep = functools.partial(keep_int8, layout, job.int8)
    claim, parts = prepare_output(layout, Claim(record, hold.token, job.config.asked), found, keep)
    known = {path.removeprefix(f"{layout.path}/"): None for path in parts}
    before = found.run if record.generation else None
    return Begun(layout, claim, job.stopwatch, job.stopwatch.now_s(), before, known)


def _note_versions(found: FoundOutput, record: RunRecord) -> tuple[str, ...]:
    """Tell of rows in the same dataset that other versions have computed."""
    if not (found.claim and found.can_go_on(record)):
        return ()
    begun = found.claim.run
    now = {"beamvec": record.version, **record.versions}
    then = {"beamvec": begun.version, **begun.versions}
    changed = [f"{name} {then.get(name)}" for name in now if then.get(name) != now[name]]
    note = f"chunks that were taken over may have been computed by {', '.join(changed)}"
    return (*begun.notes, *([note] if changed else []))


def _describe(job: Job, found: FoundOutput) -> RunRecord:
    """Return what is known of the run before it has begun."""
    config, model = job.config, job.model
    engine = ENGINES[config.model.engine or ""]
    resizes = ("cykooz-resizer",) if job.settings.resizer == "simd" else ()
    return RunRecord(
        settings=job.settings,
        model=name_model(config.model.handle),
        dimension=model.dimension,
        version=__version__,
        generation=found.next_generation if config.append else 0,
        state="running",
        spec=model.spec,
        spec_source=model.source,
        input_size=model.input_size,
        weights=model.weights,
        fidelity=job.int8.fidelity,
        input=describe_input(config.source),
        batch_size=config.model.batch_size,
        chunk_size=config.chunk_size,
        runner=job.workers.name,
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in (*_PACKAGES, *resizes, *engine.packages)},
        },
        timings=Timings(launched=format_time(job.stopwatch.time_s)),
        notes=(*found.notes, *config.source.notes),
    )


def _is_run_of(record: RunRecord, job: Job) -> bool:
    """Tell whether the latest run of a dataset was asked for with the same input and settings."""
    latest = record.latest
    then = latest.input
    named = describe_input(job.config.source)
    # The digest is known later, and from where it was read makes it no other input.
    named = replace(named, digest=then.digest, folder=then.folder, options=then.options)
    is_append = latest.generation > 0
    return (latest.settings, latest.input) == (job.settings, named) and (
        is_append == job.config.append
    )
