"""The command line that all rivals share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple


class Job(NamedTuple):
    """What a rival is to do."""

    paths: list[str]
    model: str
    output: str
    size: int


def read_job() -> Job:
    """Read the job from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", required=True, help="a file with one path a line")
    parser.add_argument("--model", required=True, help="a SavedModel")
    parser.add_argument("--output", required=True, help="a folder for Parquet files")
    parser.add_argument("--size", type=int, required=True, help="the model's input in pixels")
    args = parser.parse_args()
    Path(args.output).mkdir(parents=True)
    paths = Path(args.list).read_text().splitlines()
    return Job(paths, args.model, args.output, args.size)
