"""The command `beamvec`, also `python -m beamvec`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from beamvec.errors import ArgumentError, BeamvecError, PipelineError, TooManyFailuresError
from beamvec.pipeline.commands.flags import name_flags
from beamvec.pipeline.commands.parser import build_parser
from beamvec.pipeline.silence import silence, speak
from beamvec.pipeline.spelling import did_you_mean
from beamvec.pipeline.terminal import warn

_TAKE_BEAM_FLAGS = ("extract", "doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the command line without the program's name; None takes it from the process.
    """
    parser = build_parser()
    flags = parser.flags
    try:
        args, rest = parser.parse_known_args(argv)
        flags = args.parser.flags
        if rest and args.command not in _TAKE_BEAM_FLAGS:
            hint = did_you_mean(rest[0].split("=")[0], flags.values())
            raise ArgumentError(f"unknown argument {rest[0]}{hint or '; see `beamvec --help`'}")
        if getattr(args, "verbose", False):
            speak()
        else:
            silence()
        return _run(args, rest)
    except BeamvecError as error:
        warn(f"beamvec: {name_flags(str(error), flags)}")
        return _exit_code(error)
    except KeyboardInterrupt:
        warn("beamvec: stopped")
        return 130


def _exit_code(error: BeamvecError) -> int:
    if isinstance(error, TooManyFailuresError):
        return 1
    return 3 if isinstance(error, PipelineError) else 2


def _run(args: argparse.Namespace, beam_flags: list[str]) -> int:
    # Each command imports what it needs: help and inspect answer without Beam and TensorFlow.
    module = importlib.import_module(f"beamvec.pipeline.commands.{args.command}")
    code: int = (
        module.run(args, beam_flags) if args.command in _TAKE_BEAM_FLAGS else module.run(args)
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
