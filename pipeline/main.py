"""The command `beamvec`, also `python -m pipeline.main`."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from embeddings import DatasetError
from pipeline.options import UsageError, build_parser
from transforms.imports import large_imports
from transforms.redact import redact

_EXPLORE = ("search", "probe", "duplicates", "report")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the command line without the program's name; None takes it from the process.
    """
    try:
        args, beam_flags = build_parser().parse_known_args(argv)
        if beam_flags and args.command not in ("extract", "doctor"):
            raise UsageError(f"unknown argument {beam_flags[0]}; see `beamvec --help`")
        if not getattr(args, "verbose", False):
            silence()
        return _run(args, beam_flags)
    except (UsageError, DatasetError) as error:
        print(f"beamvec: {redact(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("beamvec: stopped", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace, beam_flags: list[str]) -> int:
    # Each command imports what it needs: help and inspect answer without Beam and TensorFlow.
    if args.command == "inspect":
        from pipeline.inspect import run_inspect

        return run_inspect(args)
    if args.command in _EXPLORE:
        module = importlib.import_module(f"pipeline.explore.{args.command}")
        code: int = module.run(args)
        return code
    if args.command == "model":
        from pipeline.model import run_model

        return run_model(args)
    if args.command == "doctor":
        from pipeline.doctor import run_doctor

        return run_doctor(args, beam_flags)
    with large_imports():
        from pipeline.extract import run_extract

    return run_extract(args, beam_flags)


def silence() -> None:
    """Keep the logs of Beam, TensorFlow and absl off the screen, of worker processes too."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


if __name__ == "__main__":
    sys.exit(main())
