"""Keeping the frameworks off the screen, for the command line and worker processes."""

from __future__ import annotations

import logging
import os
import threading
import warnings


def speak() -> None:
    """Let TensorFlow write its logs, which the library does not."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0")


def silence() -> None:
    """Keep the logs of Beam, TensorFlow and absl off the screen, of worker processes too."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    threading.excepthook = _hide_lost_connections


def _hide_lost_connections(lost: threading.ExceptHookArgs) -> None:
    """Keep from the screen that Beam's threads lose a worker that died: the run tells of it."""
    if lost.exc_type.__module__.partition(".")[0] != "grpc":
        threading.__excepthook__(lost)
