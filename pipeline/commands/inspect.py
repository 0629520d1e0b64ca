"""`beamvec inspect`: what is in a dataset, and with `--verify` whether all of it is sound."""

from __future__ import annotations

import argparse

from beamvec.embeddings import Dataset, layout, open_dataset
from beamvec.embeddings.checksums import list_unchecked
from beamvec.embeddings.counted import counted
from beamvec.embeddings.parts import Part
from beamvec.embeddings.unlisted import Unlisted
from beamvec.embeddings.verify import Contents, check_dataset, examine
from beamvec.errors import DatasetError
from beamvec.pipeline.commands.summary import advise_failures, describe_accounts
from beamvec.pipeline.terminal import busy, show, warn
from beamvec.pipeline.units import format_size

_SHOWN_PROBLEMS = 20
_SHOWN_NAMES = 10

SAMPLED_GROUPS = 64
"""Row groups that are read to tell of norms and copies, if not all: about 0.5 GB."""


def run(args: argparse.Namespace) -> int:
    """Run `beamvec inspect` and return its exit code: 1 if `--verify` finds problems."""
    busy("checking every file" if args.verify else "reading the dataset")
    dataset = open_dataset(args.dir)
    problems = check_dataset(dataset) if args.verify else []
    if problems:
        warn(*(f"beamvec: {problem}" for problem in problems[:_SHOWN_PROBLEMS]))
        warn(f"beamvec: {counted(len(problems), 'problem')} in {args.dir}")
        return 1
    show(*inspect(dataset, exactly=args.verify))
    if args.verify:
        show(*_describe_verified(dataset))
    return 0


def _describe_verified(dataset: Dataset) -> list[str]:
    lines = [f"{'verified':<12} every part, page, row and count; no problem"]
    unchecked = list_unchecked(str(dataset), dataset.run)
    if unchecked:
        more = f", and {len(unchecked) - _SHOWN_NAMES:,} more" * (len(unchecked) > _SHOWN_NAMES)
        names = ", ".join(unchecked[:_SHOWN_NAMES]) + more
        lines.append(f"{'no checksum':<12} {names}: of an earlier version, or not beamvec's")
    return lines


def inspect(dataset: Dataset, exactly: bool) -> list[str]:
    """Describe a dataset in some lines.

    Args:
        dataset: what to describe.
        exactly: whether to read all embeddings, or a sample of a large dataset.
    """
    contents = examine(dataset, None if exactly else SAMPLED_GROUPS)
    lines = [f"{name:<12} {text}" for name, text in describe_dataset(dataset, contents).items()]
    errors = dataset.run.describe_failures()
    errors += [advise_failures(str(dataset))] if errors else []
    return lines + [f"{'' if i else 'errors':<12} {e}" for i, e in enumerate(errors)]


def describe_dataset(dataset: Dataset, contents: Contents) -> dict[str, str]:
    """Return what `run.json` tells of a dataset, and what its rows hold, in words by topic."""
    run = dataset.run
    settings, counts, timings = run.settings, run.counts, run.timings
    weights = " (RANDOM WEIGHTS: embeddings mean nothing)" if run.weights == "random" else ""
    return {
        "dataset": f"{dataset}, made by beamvec {run.version}, {timings.finished}",
        "embeddings": f"{counted(counts.embeddings, 'row')} of {run.dimension} numbers, "
        + _files(dataset.embedding_files),
        "failures": f"{counted(_count_failures(dataset), 'row')}, " + _files(dataset.failure_files),
        "accounts": describe_accounts(counts),
        **_describe_unlisted(run.latest.unlisted),
        "model": run.model + weights,
        "fingerprint": settings.fingerprint,
        "settings": f"input {run.input_size} x {run.input_size}, resize {run.spec.resize}, "
        f"{settings.precision}, {settings.engine}",
        **({"fidelity": run.fidelity.describe()} if run.fidelity else {}),
        "input": run.spec.describe_input() + (run.spec_source and f", says {run.spec_source}"),
        "columns": ", ".join(f"{field.name} {field.type}" for field in dataset.schema),
        **_describe_contents(contents, len(dataset)),
        "speed": f"{timings.images_per_s:.1f} images/s on {run.runner}, "
        f"{counted(run.model_loads, 'model load')}",
    }


def _describe_unlisted(unlisted: Unlisted) -> dict[str, str]:
    skipped = {"skipped": unlisted.describe_files()} if unlisted.files else {}
    return skipped | ({"UNREADABLE": unlisted.describe_folders()} if unlisted.folders else {})


def _describe_contents(contents: Contents, rows: int) -> dict[str, str]:
    seen = "" if contents.rows == rows else f" (of {contents.rows:,} rows; --verify reads all)"
    least, mean, most = contents.norms
    return {
        "norms": f"{least:.4g} to {most:.4g}, {mean:.4g} on average{seen}",
        "not finite": f"{counted(contents.not_finite, 'row')}{seen}",
        "copies": f"{counted(contents.copies, 'image')} with the bytes of another{seen}",
    }


def _count_failures(dataset: Dataset) -> int:
    """Return the rows of `failures`, if they are as many as `run.json` tells of.

    `Dataset.row_groups` does the same for `embeddings`.
    """
    rows = sum(part.read_footer().num_rows for part in dataset.failure_files)
    told = dataset.run.counts.failures
    if rows != told:
        raise DatasetError(
            f"{dataset}: the {layout.FAILURES_DIR} files hold {counted(rows, 'row')}, "
            f"{layout.RUN_FILE} tells of {told:,}; files are missing or do not belong there"
        )
    return rows


def _files(files: tuple[Part, ...]) -> str:
    return f"{counted(len(files), 'file')}, {format_size(sum(file.size_bytes for file in files))}"
