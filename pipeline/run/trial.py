"""One way to run the model, tried on some images in a process of its own: `try_variant`.

That process reads the arguments of `beamvec.extract` as JSON, and writes what came of it as JSON in
its last line: a `Trial`, or `{"error": ...}`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from beamvec.errors import BeamvecError, PipelineError, TooManyFailuresError
from beamvec.pipeline.run.observer import Observer
from beamvec.pipeline.run.progress import ChunkWatcher
from beamvec.pipeline.silence import silence
from beamvec.pipeline.terminal import show_json
from beamvec.transforms.inference import hub
from beamvec.transforms.machine import end_with

_POLL_S = 0.1
_WARM_SHARE = 0.2
"""Of the images; those that come first wait for the model, and for threads to find their pace."""

_LEAST_STEADY_S = 2.0
"""Chunks end in twos and threes: over a tenth of a second they told five times the true pace."""

# Without the working folder on the path, whose files may have the names of packages.
_START = (
    "import sys; sys.path = [path for path in sys.path if path]; "
    "from beamvec.pipeline.run.trial import main; main()"
)


@dataclass(frozen=True)
class Trial:
    """What came of a run on some images.

    Attributes:
        images: how many there were.
        failed: how many have no embedding.
        images_per_s: in the steady state, without start and end; of a short run, in all of it.
        first_s: seconds from the start of the process to the first embeddings.
        decode_share: of the time that decoding and the model take together, in [0, 1].
        memory_bytes: the peaks of this process and its decoders, added up; None where Linux does
            not tell them.
        notes: of the run.
    """

    images: int
    failed: int
    images_per_s: float
    first_s: float
    decode_share: float
    memory_bytes: int | None
    notes: tuple[str, ...] = ()


class TrialError(BeamvecError):
    """A variant cannot be run here; the message says why."""


def try_variant(arguments: dict[str, Any], beam_flags: list[str]) -> Trial:
    """Run `beamvec.extract` in a process of its own.

    Args:
        arguments: of `beamvec.extract`; `output` is left with the dataset.
        beam_flags: Beam's own.

    Raises:
        TrialError: if it cannot be run so; the message says why.
    """
    command = [sys.executable, "-c", _START, str(os.getpid()), repr(time.time()), *beam_flags]
    asked = json.dumps(arguments, default=os.fspath)
    path = os.pathsep.join(filter(None, sys.path))
    # It ends without tidying up, or is killed, and Beam leaves folders behind then.
    with tempfile.TemporaryDirectory(prefix="beamvec-trial-", ignore_cleanup_errors=True) as folder:
        cache = os.environ.get("TFHUB_CACHE_DIR") or hub.cache_folder()
        places = {"PYTHONPATH": path, "TFHUB_CACHE_DIR": cache, "TMPDIR": folder}
        done = subprocess.run(
            command,
            input=asked,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **places},
        )
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TrialError(f"it ended with exit code {done.returncode}: {last}") from None
    if "error" in answer:
        raise TrialError(answer["error"])
    return Trial(**{**answer, "notes": tuple(answer["notes"])})


def _run(arguments: dict[str, Any], beam_flags: list[str], started: float) -> Trial:
    from beamvec.pipeline.run.config import make_config
    from beamvec.pipeline.run.launch import run_extraction

    marks = Marks()
    try:
        record = run_extraction(make_config(arguments), beam_flags, marks)
    except TooManyFailuresError as error:
        record = error.run
    steady = find_steady(marks.points, _LEAST_STEADY_S)
    rate = record.timings.images_per_s
    if steady:
        start, end = steady
        rate = (end.done - start.done) / (end.seconds - start.seconds)
    spent = record.timings.decode_s, record.timings.infer_s
    total = record.counts.embeddings + record.counts.failures
    return Trial(
        images=total,
        failed=record.counts.failures,
        images_per_s=rate,
        first_s=(marks.points[0].seconds if marks.points else time.time()) - started,
        decode_share=spent[0] / sum(spent) if sum(spent) else 0.0,
        memory_bytes=_read_peaks(),
        notes=record.notes,
    )


class Mark(NamedTuple):
    """How far a run was at a moment.

    Attributes:
        seconds: since the epoch.
        done: images in finished chunks.
        cpu_s: CPU time of this process.
    """

    seconds: float
    done: int
    cpu_s: float


class Marks(Observer):
    """Looks on, and notes when how many images were done.

    Attributes:
        points: the notes, of images that rise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.points: list[Mark] = []

    def watch(self, watcher: ChunkWatcher, work: threading.Thread, poll_s: float) -> None:  # noqa: ARG002
        """Look ten times a second, until the work ends."""
        while work.is_alive():
            work.join(_POLL_S)
            done = watcher.poll().done
            if done and (not self.points or done > self.points[-1].done):
                self.points.append(Mark(time.time(), done, time.process_time()))


def find_steady(points: Sequence[Mark], least_s: float = 0.0) -> tuple[Mark, Mark] | None:
    """Return where the steady state begins and ends; None if there are not two marks of it.

    Args:
        points: the marks.
        least_s: how long it must be to have a pace.

    >>> marks = [Mark(1.0, 10, 0.1), Mark(2.0, 40, 0.2), Mark(3.0, 100, 0.3)]
    >>> [mark.done for mark in find_steady(marks)]
    [40, 100]
    """
    if not points:
        return None
    warm = [point for point in points if point.done >= _WARM_SHARE * points[-1].done]
    is_long = warm[-1].seconds - warm[0].seconds >= least_s
    return (warm[0], warm[-1]) if len(warm) > 1 and is_long else None


def _read_peaks() -> int | None:
    """Return the peak memory of this process and of those that it has started, added up."""
    try:
        children = Path("/proc/self/task").glob("*/children")
        pids = ["self", *(pid for file in children for pid in file.read_text().split())]
        return sum(_read_peak(pid) for pid in pids)
    except OSError:
        return None


def _read_peak(pid: str) -> int:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:  # It has just ended.
        return 0
    return int(found[1]) * 1024 if found else 0


def main() -> None:
    """Be the process of `try_variant`."""
    silence()
    parent, started, *beam_flags = sys.argv[1:]
    end_with(int(parent))
    arguments = json.load(sys.stdin)
    try:
        answer = asdict(_run(arguments, beam_flags, float(started)))
    except PipelineError as error:
        answer = {"error": f"{error}: {error.__cause__}" if error.__cause__ else str(error)}
    except BeamvecError as error:
        answer = {"error": str(error)}
    show_json(answer, in_a_line=True)
    sys.stdout.flush()
    os._exit(0)  # What is measured is done; threads in TensorFlow would hold up an orderly exit.
