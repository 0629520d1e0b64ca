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

_NAMES = (
    "steady",
    "tune",
    "decoding",
    "containers",
    "accuracy",
    "first_embedding",
    "whole_run",
    "large_images",
    "urls",
    "memory",
    "saturation",
    "parquet_codec",
    "reading",
    "map",
)


def main() -> int:
    """Run the benchmarks that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    inputs.add_flags(parser)
    parser.add_argument("--only", nargs="+", choices=_NAMES, metavar="NAME", help=", ".join(_NAMES))
    parser.add_argument(
        "--scale", action="store_true", help="one million images too; takes a quarter of an hour"
    )
    args = parser.parse_args()
    names = [name for name in _NAMES if name in (args.only or _NAMES)]
    names += ["scale"] if args.scale else []
    return inputs.measure_all(args, [importlib.import_module(name).run for name in names])


if __name__ == "__main__":
    sys.exit(main())
