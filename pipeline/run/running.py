"""A pipeline from its start to its end: `run_pipeline`, and why it failed."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable

import apache_beam as beam
import grpc
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult, PipelineState

from beamvec.errors import PipelineError
from beamvec.pipeline.run.dataflow import describe_job, is_dataflow
from beamvec.pipeline.run.finish import Begun
from beamvec.pipeline.run.folder import write_failed
from beamvec.pipeline.run.hold import Hold
from beamvec.pipeline.run.observer import Observer
from beamvec.pipeline.run.progress import LOCAL_POLL_S, REMOTE_POLL_S, ChunkWatcher, Progress
from beamvec.pipeline.run.workers import Workers
from beamvec.pipeline.units import format_duration
from beamvec.redact import redact
from beamvec.transforms.decoding.pool import SharedPool
from beamvec.transforms.records.tally import EMBEDDED

_LOST_WORKER = "Channel closed prematurely."
"""What Beam says of a worker that is gone, where nothing more is known of it."""

_EXCEPTION = re.compile(r"[\w.]*(Error|Exception)\b")


def run_pipeline(
    pipeline: beam.Pipeline,
    workers: Workers,
    decoders: SharedPool,
    begun: Begun,
    hold: Hold,
    observer: Observer,
) -> None:
    """Run the pipeline in a thread while somebody looks on.

    Args:
        pipeline: what to run.
        workers: what runs it.
        decoders: what decodes in each worker process.
        begun: what is known of the run.
        hold: of the output folder.
        observer: who looks on.

    Raises:
        PipelineError: if it failed.
    """
    errors: list[BaseException] = []
    start = _start(pipeline, workers, observer, errors)
    work = threading.Thread(target=_run_to_end, args=(start, errors), daemon=True)
    work.start()
    local = workers.local
    tell = functools.partial(_tell_still, workers, decoders, observer)
    watcher = ChunkWatcher(
        begun.layout,
        tell,
        observer.fail if observer.verbose else None,
        EMBEDDED if workers.threads else None,
    )
    try:
        observer.watch(watcher, work, LOCAL_POLL_S if local else REMOTE_POLL_S)
        work.join()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            if not local:  # The job goes on writing there without this process.
                hold.hand_over(f"a job of {workers.name}")
            observer.leave(local)
        if workers.threads:
            decoders.get().close()  # Each bundle ends with an error at its next image.
        if local:  # Whoever takes the lock next must be alone.
            work.join()
        raise
    if errors:
        reason = explain_failure(errors[0])
        write_failed(begun.layout, begun.claim, reason)
        message = f"the pipeline failed: {reason}; finished chunks are kept"
        raise PipelineError(message) from errors[0]


def _tell_still(
    workers: Workers, decoders: SharedPool, observer: Observer, progress: Progress, still_s: float
) -> None:
    """Tell what a run waits for that stands still."""
    why = decoders.get().describe() if workers.threads else "its workers are not in this process"
    observer.tell(f"no progress for {format_duration(still_s)} while {progress.phase}: {why}")


def _start(
    pipeline: beam.Pipeline, workers: Workers, observer: Observer, errors: list[BaseException]
) -> Callable[[], PipelineResult | None]:
    """Return what starts the pipeline, or its result if it had to be started at once."""
    if isinstance(workers.runner, FnApiRunner):
        return pipeline.run  # Returns at the end.
    # A runner that starts a server wants to hear of Ctrl-C, as only the main thread can.
    try:
        result = pipeline.run()
        if is_dataflow(workers.options):
            observer.tell(describe_job(result, workers.options))
    except Exception as error:  # noqa: BLE001 Reported like those that come later.
        errors.append(error)
        return lambda: None
    return lambda: result


def _run_to_end(start: Callable[[], PipelineResult | None], errors: list[BaseException]) -> None:
    try:
        result = start()
        state = result.wait_until_finish() if result else None
        if state not in (None, PipelineState.DONE):
            raise RuntimeError(f"the runner ended in state {state}")
    except BaseException as error:  # noqa: BLE001 The main thread reports it.
        errors.append(error)


def explain_failure(error: BaseException) -> str:
    """Return the reason of a failed pipeline in one line, without a worker's traceback."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        text = f"a runner's process no longer answers: {error.details() or error.code()}"
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line not in ("", "None")]
    if "Traceback (most recent call last):" in lines:  # A worker's, with notes of a runner's below.
        lines = [line for line in lines if _EXCEPTION.match(line)] or lines
    if lines and lines[-1] == _LOST_WORKER:
        return "a worker process ended unexpectedly (was it killed, or short of memory?)"
    return redact(lines[-1].removesuffix(", Error:")) if lines else type(error).__name__
