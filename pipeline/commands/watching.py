"""Who looks on at a run from the command line: `Terminal`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping

from tqdm import tqdm

from beamvec.pipeline.commands.flags import name_flags
from beamvec.pipeline.commands.signals import code_of_stop
from beamvec.pipeline.run.observer import Observer
from beamvec.pipeline.run.progress import ChunkWatcher, FailedImage
from beamvec.pipeline.run.show_progress import show_progress
from beamvec.pipeline.terminal import busy, idle, log_json, show, warn
from beamvec.transforms.inputs.kept import discard_all


class Terminal(Observer):
    """Somebody at a terminal, or who reads the log of it later.

    Args:
        verbose: whether to name each image that fails, and what the run is.
        quiet: whether to leave out all but warnings and errors.
        as_json: whether to print each line as a JSON object, on standard error.
        flags: the flag of each argument that messages may name.
    """

    def __init__(
        self,
        verbose: bool = False,
        quiet: bool = False,
        as_json: bool = False,
        flags: Mapping[str, str] | None = None,
    ):
        super().__init__()
        self.verbose = verbose
        self.quiet = quiet
        self.as_json = as_json
        self._flags = flags or {}
        self._named: set[str] = set()

    def tell(self, text: str) -> None:
        """Print what is worth knowing, in one line or more, above a bar if there is one."""
        self._say("note", name_flags(text, self._flags))

    def detail(self, text: str) -> None:
        """Print what only those want to know who have asked for more."""
        if self.verbose:
            self._say("detail", text)

    def trace(self, text: str) -> None:
        """Print the whole of an error for those who have asked for more."""
        if self.verbose:
            self._say("traceback", text)

    def fail(self, failure: FailedImage) -> None:
        """Name an image that failed, once."""
        if failure.uri in self._named:
            return
        self._named.add(failure.uri)
        text = f"failed: {failure.uri}: {failure.stage}: {failure.error_type}: {failure.message}"
        values = failure._asdict()
        self._say("failed", text, reason=values.pop("message"), **values)

    def busy(self, text: str) -> None:
        """Print what goes on, on a terminal, where the next line takes its place."""
        if self.quiet:
            return
        if self.as_json:
            self._say("busy", text)
        else:
            busy(text)

    def conclude(self, text: str) -> None:
        """Print what takes the place of progress."""
        idle()
        text = name_flags(text, self._flags)
        if self.as_json:
            self._say("note", text)
        elif not self.quiet:
            show(text)

    def watch(self, watcher: ChunkWatcher, work: threading.Thread, poll_s: float) -> None:
        """Show a bar on a terminal, lines elsewhere."""
        idle()
        if self.quiet:
            super().watch(watcher, work, poll_s)
        else:
            show_progress(watcher, work, poll_s, log_json if self.as_json else None)

    def leave(self, local: bool) -> None:
        """Leave at once: threads in TensorFlow and in slow reads would hold up an orderly exit."""
        if local:
            text = "stopped; finished chunks are kept, and the same command goes on from them"
        else:
            text = "stopped watching; the job itself goes on until you cancel it on its runner"
        code = code_of_stop()
        idle()
        if self.as_json:
            log_json("error", text, "error")
        else:
            warn("", f"beamvec: {text}")
        discard_all()
        os._exit(code)

    def _say(self, event: str, text: str, **values: str) -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            if self.as_json:
                level = "warning" if text.startswith("WARNING") or event == "failed" else "info"
                log_json(event, text, level, **values)
            else:
                warn(*text.splitlines())
