"""`beamvec extract`: a run, watched from a terminal."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import traceback

from tqdm import tqdm

from beamvec.errors import PipelineError, TooManyFailuresError
from beamvec.pipeline.commands.summary import summarize
from beamvec.pipeline.run.config import find_output, make_config
from beamvec.pipeline.terminal import show, warn
from beamvec.transforms.inputs.kept import discard_all
from beamvec.transforms.machine import large_imports

with large_imports():
    from beamvec.pipeline.run.launch import run_extraction
    from beamvec.pipeline.run.observer import Observer
    from beamvec.pipeline.run.progress import ChunkWatcher, show_progress


class Terminal(Observer):
    """Somebody at a terminal, or who reads the log of it later."""

    def __init__(self, verbose: bool):
        super().__init__()
        self.verbose = verbose

    def tell(self, text: str) -> None:
        """Print what is worth knowing, in one line or more, above a bar if there is one."""
        with tqdm.external_write_mode(file=sys.stderr):
            warn(*text.splitlines())

    def busy(self, text: str) -> None:
        """Print what goes on, on a terminal, where the next line takes its place."""
        if sys.stderr.isatty():
            warn(text, end="\r")

    def conclude(self, text: str) -> None:
        """Print what takes the place of progress."""
        show(text)

    def watch(self, watcher: ChunkWatcher, work: threading.Thread, poll_s: float) -> None:
        """Show a bar on a terminal, lines elsewhere."""
        show_progress(watcher, work, poll_s)

    def leave(self, local: bool) -> None:
        """Leave at once: threads in TensorFlow and in slow reads would hold up an orderly exit."""
        if local:
            text = "stopped; finished chunks are kept, and the same command goes on from them"
        else:
            text = "stopped watching; the job itself goes on until you cancel it on its runner"
        warn("", f"beamvec: {text}")
        discard_all()
        os._exit(130)


def run(args: argparse.Namespace, beam_flags: list[str]) -> int:
    """Run `beamvec extract` and return its exit code."""
    config = make_config(vars(args))
    output = find_output(args.output)
    known = list(args.parser.flags.values())
    try:
        record = run_extraction(config, beam_flags, Terminal(args.verbose), known)
    except TooManyFailuresError as error:
        show(*summarize(error.run, output))
        raise
    except PipelineError as error:
        if error.__cause__ is None:
            raise
        if args.verbose:
            warn(*"".join(traceback.format_exception(error.__cause__)).splitlines())
        raise PipelineError(
            f"{error}: start the same command again to go on, with --verbose to see the whole error"
        ) from error
    if record.state == "finished":
        show(*summarize(record, output))
    return 0
