"""All benchmarks: tables for people, JSON for machines.

    python benchmarks/run.py [--images DIR] [--model DIR] [--rounds N] [--only NAME ...]
                             [--json FILE] [--quick] [--scale]

No network is needed: images and model are made where they are not given. What is compared is
measured in turn, in one run; a ratio holds from machine to machine, a rate does not.
"""

from __future__ import annotations

import argparse
import importlib
import sys

import inputs
from inputs import Setup
from measure import Report

_NAMES = (
    "steady",
    "accuracy",
    "first_embedding",
    "whole_run",
    "large_images",
    "memory",
    "parquet_codec",
)


def main() -> int:
    """Run the benchmarks that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    inputs.add_flags(parser)
    parser.add_argument("--only", nargs="+", choices=_NAMES, metavar="NAME", help=", ".join(_NAMES))
    parser.add_argument("--scale", action="store_true", help="one million images too; takes hours")
    args = parser.parse_args()
    names = [name for name in _NAMES if name in (args.only or _NAMES)]
    runs = [importlib.import_module(name).run for name in names]
    return inputs.measure_all(args, [*runs, run_scale] if args.scale else runs)


def run_scale(setup: Setup) -> Report:  # noqa: ARG001 It makes its own images and model.
    """Run `scale.py`, and take its figures over as they are."""
    report = Report("scale", "one million images")
    try:
        scale = importlib.import_module("scale")
    except ModuleNotFoundError:
        report.skipped["all"] = "there is no benchmarks/scale.py"
        return report
    report.more["scale"] = scale.run()
    report.notes += [f"{name}: {value}" for name, value in report.more["scale"].items()]
    return report


if __name__ == "__main__":
    sys.exit(main())
