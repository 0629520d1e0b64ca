"""Who starts a run and looks on: what a run tells, shows and asks of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from beamvec.pipeline.run.progress import ChunkWatcher, FailedImage, Progress
from beamvec.pipeline.run.show_progress import show_progress

_LOGGER = logging.getLogger("beamvec")


class Observer:
    """A program that looks on: nothing is printed.

    Args:
        progress: is called with a `Progress` every half second and at the end; True shows a bar on
            standard error.

    Attributes:
        verbose: whether worker processes may write logs.
    """

    verbose = False

    def __init__(self, progress: bool | Callable[[Progress], Any] | None = None):
        self._progress = progress

    def tell(self, text: str) -> None:
        """Hear of something worth knowing."""
        _LOGGER.info(text)

    def detail(self, text: str) -> None:
        """Hear what only those want to know who have asked for more."""

    def fail(self, failure: FailedImage) -> None:
        """Hear of an image that failed, if `verbose`."""

    def busy(self, text: str) -> None:
        """Hear what the run is busy with before there is progress to look at."""

    def conclude(self, text: str) -> None:
        """Hear why there was nothing to do."""
        self.tell(text)

    def watch(self, watcher: ChunkWatcher, work: threading.Thread, poll_s: float) -> None:
        """Look on until the work ends."""
        if self._progress is True:
            show_progress(watcher, work, poll_s)
            return
        while work.is_alive():
            work.join(poll_s)
            progress = watcher.poll()  # Which tells also of a run that stands still.
            if callable(self._progress):
                self._progress(progress)

    def finish(self, progress: Progress) -> None:
        """Hear how far the run came in the end."""
        if callable(self._progress):
            self._progress(progress)

    def leave(self, local: bool) -> None:
        """Hear that the run is interrupted: its workers are here, or it goes on elsewhere."""
