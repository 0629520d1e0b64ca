"""Processes that are measured: `beamvec`, and scripts of this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import Failed, Skipped

HERE = Path(__file__).parent
SKIPPED_CODE = 77
"""Exit code of a script that cannot run here; the last line of its standard error says why."""

_WRONG_USAGE = 2
_ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH")))),
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def hide_gpus() -> None:
    """Let what is started from now on see no GPU."""
    _ENVIRONMENT["CUDA_VISIBLE_DEVICES"] = "-1"


def beamvec_command(*flags: str) -> list[str]:
    """Return the command line of `beamvec extract`."""
    return [sys.executable, "-m", "beamvec", "extract", *flags]


def script_command(script: str, *arguments: str) -> list[str]:
    """Return the command line of a script of this folder."""
    return [sys.executable, str(HERE / script), *arguments]


def start(command: Sequence[str]) -> subprocess.Popen[str]:
    """Start a command whose outputs are kept."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=_ENVIRONMENT)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process and return what it wrote.

    Raises:
        Skipped: if it says that it cannot run here.
        Failed: if it ends otherwise than well.
    """
    output, errors = process.communicate()
    lines = [line for line in errors.splitlines() if line.strip()] or ["no message"]
    reason = lines[-1].removeprefix("beamvec: ")
    # A precision or an engine that this machine lacks is wrong usage, and beamvec says why.
    is_variant = isinstance(process.args, list) and "--precision" in process.args
    if process.returncode == SKIPPED_CODE or (is_variant and process.returncode == _WRONG_USAGE):
        raise Skipped(reason)
    if process.returncode:
        raise Failed(f"exit code {process.returncode}: {reason}")
    return output


def time_command(command: Sequence[str]) -> float:
    """Return the seconds from the start to the end of a command."""
    begin = time.perf_counter()
    finish(start(command))
    return time.perf_counter() - begin


def call_script(script: str, *arguments: str) -> Any:
    """Return the JSON that a script of this folder prints in its last line."""
    return json.loads(finish(start(script_command(script, *arguments))).splitlines()[-1])


def answer(call: Callable[..., Any], arguments: Sequence[str]) -> int:
    """Be the script of `call_script`: print what a call returns, or why it cannot be done here."""
    from beamvec.errors import ModelError
    from beamvec.pipeline.silence import silence

    silence()
    try:
        print(json.dumps(call(*arguments)))
    except ModelError as error:
        print(error, file=sys.stderr)
        return SKIPPED_CODE
    return 0
