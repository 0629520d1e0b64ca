"""JPEGs of 24 megapixels: decoding at reduced scale, as beamvec does, against decoding in full.

    python benchmarks/large_images.py [--model DIR] [--rounds 3]

Reduced scale is Pillow's `draft`, which leaves at least twice the target size. Both variants are
the same pipeline in processes of their own; in one, the decoders have `draft` taken away. Start-up
is left out.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import numpy as np

import inputs
import processes
from accuracy import read_directions
from beamvec.transforms.inference.config import DEFAULT_BATCH_SIZE
from inputs import FLOAT32, Setup, Variant
from measure import Goal, Report, take_turns

_COUNT = 192
_DISTINCT = 8
_SIZE = (6000, 4000)
_FULL_DECODE = "full_decode.py"


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    folder = setup.work / "large"
    folder.mkdir()
    photos = inputs.make_photos(folder, setup.scaled(_COUNT), (_SIZE,), _DISTINCT)
    megabytes = np.mean([Path(photo).stat().st_size for photo in photos]) / 1e6
    report = Report("large_images", "images/s on JPEGs of 6000 x 4000, start-up left out")
    report.notes.append(
        f"{len(photos)} images of {megabytes:.1f} MB: {_DISTINCT} different ones under many names"
    )
    rates = take_turns(
        {
            f"{variant.name}: {way}": functools.partial(_measure, setup, variant, way)
            for variant in setup.variants
            for way in ("reduced", "full")
        },
        setup.rounds,
        report,
    )
    for name, values in rates.items():
        report.add(name, "images/s", values)
    for variant in setup.variants:
        _compare(report, setup, variant, rates)
    return report


def _output(setup: Setup, variant: Variant, way: str) -> str:
    return str(setup.work / f"large {variant.name} {way}")


def _measure(setup: Setup, variant: Variant, way: str) -> float:
    output = _output(setup, variant, way)
    flags = ["--input", str(setup.work / "large"), "--model", setup.model, "--output", output]
    # One batch: decoding a chunk overlaps with embedding another, as it does in a long run.
    flags += ["--overwrite", "--chunk-size", str(DEFAULT_BATCH_SIZE), *variant.flags]
    if way == "full":
        command = processes.script_command(_FULL_DECODE, "extract", *flags)
    else:
        command = processes.beamvec_command(*flags)
    processes.time_command(command)
    run_file = Path(output, "run.json")
    return float(json.loads(run_file.read_text())["timings"]["images_per_s"])


def _compare(report: Report, setup: Setup, variant: Variant, rates: dict[str, list[float]]) -> None:
    reduced, full = (rates.get(f"{variant.name}: {way}") for way in ("reduced", "full"))
    if not (reduced and full):
        return
    report.add_ratio(f"{variant.name}: reduced / full", reduced, full, Goal(">=", 2.5))
    if variant == FLOAT32:
        ways = [read_directions(_output(setup, variant, way))[1] for way in ("reduced", "full")]
        least = float((ways[0] * ways[1]).sum(axis=1).min())
        report.add("least cosine, reduced to full", "cosine", [least], Goal(">=", 0.995))


if __name__ == "__main__":
    sys.exit(inputs.run_alone(run, __doc__))
