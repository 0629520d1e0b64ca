"""Processes that run beamvec and may be killed, or may crash, without harm to the tests.

They are forked from a server that has imported everything and used nothing, so that each starts in
milliseconds where a new Python would import TensorFlow for seconds.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from beamvec.pipeline.commands.main import main
from beamvec.pipeline.silence import silence

silence()  # Before Beam is imported, which logs.

HANG_S = 300.0
"""No run of these tests takes a tenth of it: whatever is still going after that hangs."""


@functools.cache
def context() -> ForkServerContext:
    """Start the server, once."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["warm"])
    before = os.environ.get("PYTHONPATH")
    # Before Python 3.14 the server does not get this process's sys.path.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), before)))
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
    return forks


def start(target: Callable[..., Any], *args: Any, log: Path) -> ForkServerProcess:
    """Call a function in a new process whose exit code is what it returns; output goes to `log`."""
    process = context().Process(target=_call, args=(target, args, log))
    process.start()
    return process


def wait(process: ForkServerProcess, log: Path) -> int:
    """Return the exit code of a process, negative for a signal.

    Raises:
        TimeoutError: if it hangs.
    """
    process.join(HANG_S)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"no end after {HANG_S:.0f} s; its output:\n{log.read_text()}")
    return process.exitcode


def extract(flags: list[str], log: Path) -> int:
    """Run `beamvec extract` in a new process and return its exit code."""
    return wait(start(main, ["extract", *flags], log=log), log)


def _call(target: Callable[..., Any], args: tuple[Any, ...], log: Path) -> None:
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(target(*args))
