"""Peak memory of `beamvec extract` against the number of images: it must not grow.

    python benchmarks/memory.py [--counts 1000 10000] [--rounds 2]

Each run is a process of its own. The images are 100 JPEGs under many names, the model is a small
convolutional one, so that what is measured is the pipeline.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

import inputs

_DISTINCT = 100


def make_images(folder: Path, count: int) -> None:
    """Make `count` names for 100 different images of 500 x 375 pixels."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"{i:08d}.jpg"
        if i < _DISTINCT:
            inputs.make_photo(random).save(path, quality=90)
        else:
            os.link(folder / f"{i % _DISTINCT:08d}.jpg", path)


def measure_peak_mb(images: Path, model: str, output: Path) -> float:
    """Run `beamvec extract` and return its peak resident memory in MB."""
    command = [sys.executable, "-m", "pipeline.main", "extract", "--overwrite"]
    command += ["--input", str(images), "--model", model, "--output", str(output)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"beamvec extract ended with exit code {process.returncode}")
    return usage.ru_maxrss / 1024 * 1.048576


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with inputs.make_work_folder() as folder:
        work = Path(folder)
        model = inputs.make_small_model(work)
        peaks: dict[int, list[float]] = {count: [] for count in args.counts}
        for count in args.counts:
            make_images(work / str(count), count)
        for _ in range(args.rounds):
            for count, runs in peaks.items():
                runs.append(measure_peak_mb(work / str(count), model, work / "out"))
    print(inputs.describe_machine())
    first = statistics.median(peaks[args.counts[0]])
    for count, runs in peaks.items():
        peak = statistics.median(runs)
        print(f"{count:>10,} images: peak {peak:7.0f} MB, {peak / first:.3f} of the first")


if __name__ == "__main__":
    main()
