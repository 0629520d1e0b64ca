"""`beamvec extract`: checks first, then the pipeline, progress and summary."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, NoReturn

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult, PipelineRunner, PipelineState

from embeddings import schema
from pipeline import __version__
from pipeline.config import ExtractConfig, build_beam_options, build_config
from pipeline.dataflow import (
    asks_for_gpu,
    describe_job,
    is_dataflow,
    makes_template,
    prepare_dataflow,
)
from pipeline.graph import build_pipeline
from pipeline.lock import LOCK_FILE, hold_output
from pipeline.model import load_to_launch
from pipeline.options import UsageError
from pipeline.output import (
    FoundOutput,
    OutputState,
    inspect_output,
    prepare_output,
    read_json,
)
from pipeline.progress import LOCAL_POLL_S, REMOTE_POLL_S, ChunkWatcher, show_progress
from pipeline.report import PUBLICATION_FILE, RunInfo, publish
from pipeline.runners import (
    check_reachable,
    choose_runner,
    has_worker_threads,
    is_local_runner,
)
from pipeline.summary import describe_errors, failure_ratio, failures_folder, summarize
from transforms import storage
from transforms.decoders import shared_pool
from transforms.match import list_images
from transforms.model import FeatureModel
from transforms.plan import account_inputs, digest_settings
from transforms.redact import redact
from transforms.saved_model import ModelError, fetch_model, fingerprint_model
from transforms.write import OutputOptions

_EXCEPTION = re.compile(r"[\w.]*(Error|Exception)\b")
_PACKAGES = ("apache-beam", "tensorflow", "pyarrow", "numpy", "pillow")


def run_extract(args: argparse.Namespace, beam_flags: list[str]) -> int:
    """Run `beamvec extract` and return its exit code."""
    launched_s = time.time()
    options = build_beam_options(beam_flags)
    # Runners change the options that they are given.
    local, threads = is_local_runner(options), has_worker_threads(options)
    runner = choose_runner(options, args.verbose)
    if is_dataflow(options):
        prepare_dataflow(args, options)
    args.require_gpu |= asks_for_gpu(options)
    FileSystems.set_options(options)
    config = build_config(args)
    try:
        fingerprint = fingerprint_model(fetch_model(config.model))
        settings = describe_settings(config, fingerprint)
        output = OutputOptions(config.output, config.input.columns)
        found = inspect_output(output, settings, config.overwrite)
        if nothing_to_do(found, config) and not _has_leftovers(output):
            return _finish_again(config, output, found)
        if sys.stderr.isatty():
            print("loading the model", end="\r", file=sys.stderr)
        check_reachable(options)
        if threads:
            shared_pool().start()  # They get ready meanwhile.
        model = load_to_launch(config, local)
    except ModelError as error:
        raise UsageError(str(error)) from error
    launch = Launch(config, settings, model, options, runner, launched_s, local, args.verbose)
    try:
        with hold_output(config.output):
            return _run_holding(launch, output)
    except KeyboardInterrupt:
        _leave_at_once(local)


@dataclass(frozen=True)
class Launch:
    """What is settled before the output is touched.

    Attributes:
        config: what the flags say.
        settings: every setting that changes a byte of the dataset.
        model: the loaded model.
        options: Beam's own options.
        runner: what runs the pipeline.
        launched_s: when the command started, in seconds since 1970.
        local: whether the pipeline ends with this process.
        verbose: whether to show whole errors.
    """

    config: ExtractConfig
    settings: dict[str, Any]
    model: FeatureModel
    options: PipelineOptions
    runner: PipelineRunner
    launched_s: float
    local: bool
    verbose: bool


def _run_holding(launch: Launch, output: OutputOptions) -> int:
    """Run the pipeline into an output folder that this process holds; return the exit code."""
    config = launch.config
    # Another run may have been at it until the lock was ours.
    found = inspect_output(output, launch.settings, config.overwrite)
    if storage.exists(storage.join(output.chunks_path, PUBLICATION_FILE)):
        publish(config.output, output.chunks_path)
        return _report(config)
    if nothing_to_do(found, config):
        return _finish_again(config, output, found)
    generation = found.next_generation if config.append else 0
    metadata = describe_dataset(config, launch.model)
    output = replace(output, metadata=metadata, generation=generation)
    run = RunInfo(
        output=config.output,
        chunks_path=output.chunks_path,
        launched_s=launch.launched_s,
        started_s=time.time(),
        description=describe_launch(launch),
        before=found.run if generation else None,
    )
    prepare_output(output, launch.settings, found)
    pipeline = beam.Pipeline(runner=launch.runner, options=launch.options)
    digest = digest_settings(launch.settings)
    build_pipeline(pipeline, config, launch.model, output, digest, run)
    return _watch(pipeline, launch, output)


def nothing_to_do(found: FoundOutput, config: ExtractConfig) -> bool:
    """Tell whether the dataset is finished, if the input is still the same."""
    return found.state is OutputState.FINISHED and not (config.overwrite or config.append)


def describe_settings(config: ExtractConfig, fingerprint: str) -> dict[str, Any]:
    """Return every setting that changes a byte of the dataset."""
    return {
        "model": fingerprint,
        "resize": config.resize,
        "precision": config.precision,
        "engine": config.engine,
        "rows_per_shard": config.rows_per_shard,
        "columns": {field.name: str(field.type) for field in config.input.columns},
    }


def describe_dataset(config: ExtractConfig, model: FeatureModel) -> dict[str, Any]:
    """Return what is written into each file's metadata."""
    return {
        "model": redact(config.model),
        "fingerprint": model.fingerprint,
        "dimension": model.dimension,
        "input_size": model.input_size,
        "resize": config.resize,
        "precision": config.precision,
        "engine": config.engine,
        "version": __version__,
    }


def describe_launch(launch: Launch) -> dict[str, Any]:
    """Return the part of `run.json` that is known before the run."""
    config, model, spec = launch.config, launch.model, launch.config.input
    return {
        "beamvec": __version__,
        "settings": launch.settings,
        "model": {
            "handle": redact(config.model),
            "fingerprint": model.fingerprint,
            "input_size": model.input_size,
            "dimension": model.dimension,
            "weights": model.weights,
        },
        "input": {
            "patterns": [redact(pattern) for pattern in spec.patterns],
            "list": spec.list_path and redact(spec.list_path),
            "manifest": spec.manifest_path and redact(spec.manifest_path),
        },
        "batch_size": config.batch_size,
        "chunk_size": config.chunk_size,
        "runner": launch.options.view_as(StandardOptions).runner or "FnApiRunner",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
    }


def _has_leftovers(output: OutputOptions) -> bool:
    """Tell whether a run was killed after its dataset was finished, or is just about to end."""
    lock = storage.join(output.path, LOCK_FILE)
    return storage.exists(lock) or bool(storage.list_files(output.chunks_path))


def _finish_again(config: ExtractConfig, output: OutputOptions, found: FoundOutput) -> int:
    """End at once on a finished dataset, if the input is still the same."""
    assert found.run is not None
    run = found.run
    if not (found.begun and found.begun["generation"]):  # The chunks are not of half an append.
        storage.delete(output.chunks_path)
    now = account_inputs(list_images(config.input))
    if f"{now.input_digest:064x}" != run["input"]["digest"]:
        raise UsageError(
            f"{config.output} holds a finished dataset of another input: "
            f"{run['counts']['inputs']:,} images then, {now.inputs:,} now, or files that have "
            "changed; add what is new with --append, replace the dataset with --overwrite, or "
            "choose another --output"
        )
    print(f"{config.output} is finished already: same input, same settings; nothing to do")
    print(summarize(run, config.output))
    return _judge(run, config)


def _watch(pipeline: beam.Pipeline, launch: Launch, output: OutputOptions) -> int:
    """Run the pipeline beside a progress display; return the exit code."""
    errors: list[BaseException] = []
    start = _start(pipeline, launch, errors)
    work = threading.Thread(target=_run_to_end, args=(start, errors), daemon=True)
    work.start()
    poll_s = LOCAL_POLL_S if launch.local else REMOTE_POLL_S
    show_progress(ChunkWatcher(output.chunks_path), work, poll_s)
    if errors:
        if launch.verbose:
            traceback.print_exception(errors[0])
        print(_explain_failure(errors[0]), file=sys.stderr)
        return 3
    return 0 if makes_template(launch.options) else _report(launch.config)


def _start(
    pipeline: beam.Pipeline, launch: Launch, errors: list[BaseException]
) -> Callable[[], PipelineResult | None]:
    """Return what starts the pipeline, or its result if it had to be started at once."""
    if isinstance(launch.runner, FnApiRunner):
        return pipeline.run  # Returns at the end.
    # A runner that starts a server wants to hear of Ctrl-C, as only the main thread can.
    try:
        result = pipeline.run()
        if is_dataflow(launch.options):
            print(describe_job(result, launch.options), file=sys.stderr)
    except Exception as error:  # noqa: BLE001 Reported like those that come later.
        errors.append(error)
        return lambda: None
    return lambda: result


def _report(config: ExtractConfig) -> int:
    """Print the summary of the run that has just ended, and return its exit code."""
    run = read_json(storage.join(config.output, schema.RUN_FILE))
    if run is None:
        print("beamvec: the pipeline ended, but wrote no run.json", file=sys.stderr)
        return 3
    print(summarize(run, config.output))
    return _judge(run, config)


def _run_to_end(start: Callable[[], PipelineResult | None], errors: list[BaseException]) -> None:
    try:
        result = start()
        state = result.wait_until_finish() if result else None
        if state not in (None, PipelineState.DONE):
            raise RuntimeError(f"the runner ended in state {state}")
    except BaseException as error:  # noqa: BLE001 The main thread reports it.
        errors.append(error)


def _leave_at_once(local: bool) -> NoReturn:
    if local:
        text = "stopped; finished chunks are kept, and the same command goes on from them"
    else:
        text = "stopped watching; the job itself goes on until you cancel it on its runner"
    print(f"\nbeamvec: {text}", file=sys.stderr, flush=True)
    # Threads in TensorFlow and in slow reads would hold up an orderly exit.
    os._exit(130)


def _explain_failure(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line not in ("", "None")]
    if "Traceback (most recent call last):" in lines:  # A worker's, with notes of a runner's below.
        lines = [line for line in lines if _EXCEPTION.match(line)] or lines
    reason = redact(lines[-1].removesuffix(", Error:")) if lines else type(error).__name__
    return (
        f"beamvec: the pipeline failed: {reason}; finished chunks are kept: start the same "
        "command again to go on, with --verbose to see the whole error"
    )


def _judge(run: dict[str, Any], config: ExtractConfig) -> int:
    """Return 1 and say so if more images failed than allowed."""
    ratio = failure_ratio(run)
    if ratio <= config.max_failure_ratio:
        return 0
    top = "; ".join(describe_errors(run)[:3])
    print(
        f"beamvec: {run['counts']['failures']:,} of {run['counts']['inputs']:,} images failed "
        f"({ratio:.2%}), more than --max-failure-ratio {config.max_failure_ratio} allows: {top}; "
        f"see {failures_folder(config.output)}",
        file=sys.stderr,
    )
    return 1
