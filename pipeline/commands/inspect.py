"""`beamvec inspect`: what is in a dataset, and with `--verify` whether all of it is sound."""

from __future__ import annotations

import argparse
import sys

from beamvec.embeddings import Dataset, open_dataset
from beamvec.embeddings.parts import Part
from beamvec.embeddings.verify import Contents, check_dataset, examine
from beamvec.pipeline.units import format_size

_SHOWN_PROBLEMS = 20

SAMPLED_GROUPS = 64
"""Row groups that are read to tell of norms and copies, if not all: about 0.5 GB."""


def run(args: argparse.Namespace) -> int:
    """Run `beamvec inspect` and return its exit code: 1 if `--verify` finds problems."""
    dataset = open_dataset(args.dir)
    problems = check_dataset(dataset) if args.verify else []
    if not problems:
        print(inspect(dataset, exactly=args.verify))
    if not args.verify:
        return 0
    for problem in problems[:_SHOWN_PROBLEMS]:
        print(f"beamvec: {problem}", file=sys.stderr)
    if problems:
        print(f"beamvec: {len(problems):,} problem(s) in {args.dir}", file=sys.stderr)
        return 1
    files = len(dataset.embedding_files) + len(dataset.failure_files)
    print(f"{'verified':<12} {files} file(s), every page, row and count; no problem")
    return 0


def inspect(dataset: Dataset, exactly: bool) -> str:
    """Describe a dataset in some lines.

    Args:
        dataset: what to describe.
        exactly: whether to read all embeddings, or a sample of a large dataset.
    """
    contents = examine(dataset, None if exactly else SAMPLED_GROUPS)
    lines = [f"{name:<12} {text}" for name, text in describe_dataset(dataset, contents).items()]
    errors = dataset.run.describe_failures()
    return "\n".join(lines + [f"{'' if i else 'errors':<12} {e}" for i, e in enumerate(errors)])


def describe_dataset(dataset: Dataset, contents: Contents) -> dict[str, str]:
    """Return what `run.json` tells of a dataset, and what its rows hold, in words by topic."""
    run = dataset.run
    settings, counts, timings = run.settings, run.counts, run.timings
    weights = " (RANDOM WEIGHTS: embeddings mean nothing)" if run.weights == "random" else ""
    return {
        "dataset": f"{dataset}, made by beamvec {run.version}, {timings.finished}",
        "embeddings": f"{counts.embeddings:,} rows of {run.dimension} numbers, "
        + _files(dataset.embedding_files),
        "failures": f"{counts.failures:,} rows, " + _files(dataset.failure_files),
        "accounts": f"{counts.inputs:,} inputs = {counts.embeddings:,} embeddings + "
        f"{counts.failures:,} failures + {counts.duplicates:,} duplicates",
        "model": run.model + weights,
        "fingerprint": settings.fingerprint,
        "settings": f"input {run.input_size} x {run.input_size}, resize {settings.resize}, "
        f"{settings.precision}, {settings.engine}",
        "columns": ", ".join(f"{field.name} {field.type}" for field in dataset.schema),
        **_describe_contents(contents, len(dataset)),
        "speed": f"{timings.images_per_s:.1f} images/s on {run.runner}, "
        f"{run.model_loads} model load(s)",
    }


def _describe_contents(contents: Contents, rows: int) -> dict[str, str]:
    seen = "" if contents.rows == rows else f" (of {contents.rows:,} rows; --verify reads all)"
    least, mean, most = contents.norms
    return {
        "norms": f"{least:.4g} to {most:.4g}, {mean:.4g} on average{seen}",
        "not finite": f"{contents.not_finite:,} rows{seen}",
        "copies": f"{contents.copies:,} images with the bytes of another{seen}",
    }


def _files(files: tuple[Part, ...]) -> str:
    return f"{len(files)} file(s), {format_size(sum(file.size_bytes for file in files))}"
