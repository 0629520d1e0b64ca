"""Standard streams that are closed, cut off or full, so that they cost no more than their text."""

from __future__ import annotations

import os
import select
import sys
from typing import TextIO


def open_streams() -> None:
    """Open what the caller has closed of standard input, output and error on nothing.

    Else the next files that are opened would take their places, and what a library writes to
    standard error would go into them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Takes the lowest number that is free.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 For as long as the process.
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def is_cut_off(stream: TextIO) -> bool:
    """Tell whether a stream is a pipe that nobody reads any more, as after `| head`."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # It is no file.
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def settle_streams() -> None:
    """Drop what standard output and error do not take.

    Else Python would try again at its end, and fail with an exit code of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
