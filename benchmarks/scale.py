"""A hundred thousand and a million tiny images: the cost of each, and peak memory.

    python benchmarks/scale.py

Each run is a process of its own, from listing to `_SUCCESS`, on one core. The images are 64 JPEGs
under many names, the model is next to nothing, so that what is measured is the pipeline. The
overhead is the CPU time of all its processes, start-up included, less what decoding and the model
take for as many of these images when nothing else is done. A shared machine changes its pace, so
decoding is measured all the time while the run goes on, on another core where there is one.
Reads `/proc`, so it runs on Linux only.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import inputs
import processes
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.resize import Resizing
from inputs import Setup
from measure import Failed, Goal, Report
from memory import SMALL_SIZE

_COUNTS = (100_000, 1_000_000)
_DISTINCT = 64  # File systems allow as few as 65,000 names for a file.
_SIZES = ((64, 48),)
_FOLDER_NAMES = 50_000
_CALLED = 20_000
_SAMPLE = 500
_OVERHEAD = Goal("<=", 150)


class Usage(NamedTuple):
    """CPU time in seconds and peak resident memory in MB of a run.

    And what decoding alone took meanwhile for an image, in microseconds of CPU time.
    """

    cpu_s: float
    peak_mb: float
    decode_us: float


def run(setup: Setup) -> Report:
    """Run the benchmark, once."""
    report = Report("scale", "CPU time of an image and peak memory, as the number of images grows")
    report.notes.append(f"{_DISTINCT} JPEGs of 64 x 48 under many names, a small model")
    model = str(setup.work / "small_model")
    processes.finish(processes.start(processes.script_command("memory.py", "--child", model)))
    peaks = []
    for count in (setup.scaled(count) for count in _COUNTS):
        folder = setup.work / f"tiny {count}"
        make_names(folder, count)
        work = ["--child", model]
        before = processes.call_script("scale.py", *work)
        start = time.perf_counter()
        usage = run_extract(folder, model, setup.work / "scale")
        wall_s = time.perf_counter() - start
        model_us = (before + processes.call_script("scale.py", *work)) / 2
        cpu_us, decode_us = usage.cpu_s / count * 1e6, usage.decode_us
        name = f"{count:,} images"
        report.add(f"{name}: wall time", "s", [wall_s])
        report.add(f"{name}: CPU", "us/image", [cpu_us])
        report.add(f"{name}: decoding", "us/image", [decode_us])
        report.add(f"{name}: model", "us/image", [model_us])
        goal = _OVERHEAD if peaks else None  # Start-up weighs more the fewer there are.
        report.add(f"{name}: overhead", "us/image", [cpu_us - decode_us - model_us], goal)
        report.add(f"{name}: peak of all processes", "MB", [usage.peak_mb])
        peaks.append(usage.peak_mb)
    report.add_ratio("peak at the most / at the fewest", peaks[1:], peaks[:1], Goal("<=", 1.1))
    return report


def make_names(folder: Path, count: int) -> None:
    """Make `count` names for some small JPEGs, in sub-folders `0`, `1` and so on."""
    made: list[str] = []
    for start in range(0, count, _FOLDER_NAMES):
        part = folder / str(start // _FOLDER_NAMES)
        part.mkdir(parents=True)
        names = min(_FOLDER_NAMES, count - start)
        if not made:
            made = inputs.make_photos(part, names, _SIZES, _DISTINCT)[:_DISTINCT]
            continue
        for i in range(names):
            os.link(made[i % len(made)], part / f"{i:08d}.jpg")


def run_extract(images: Path, model: str, output: Path) -> Usage:
    """Run `beamvec extract` on one core; return the usage of all its processes."""
    flags = ["--overwrite", "--input", str(images), "--model", model, "--output", str(output)]
    core, *others = cores = sorted(os.sched_getaffinity(0))
    files = [file.read_bytes() for file in sorted((images / "0").iterdir())[:_DISTINCT]]
    usages: dict[int, tuple[float, float]] = {}
    decode_us: list[float] = []
    try:
        os.sched_setaffinity(0, {core})  # The process starts with it, and this one moves away.
        process = processes.start(processes.beamvec_command(*flags))
        os.sched_setaffinity(0, others or cores)
        while process.poll() is None:
            for pid in _list_tree(process.pid):
                with suppress(OSError, StopIteration):  # It may have just ended.
                    usages[pid] = _read_usage(pid)
            decode_us.append(_decode_us(files))
    finally:
        os.sched_setaffinity(0, cores)
    processes.finish(process)
    if not usages:
        raise Failed("it ended at once")
    cpu_s, peak_mb = map(sum, zip(*usages.values(), strict=True))
    return Usage(cpu_s, peak_mb, statistics.mean(decode_us))


def _list_tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _list_tree(int(child))


def _read_usage(pid: int) -> tuple[float, float]:
    """Return a process's CPU time in seconds and its peak memory in MB."""
    # See proc_pid_stat(5): fields 14 and 15, counted from 1; the name in field 2 may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    peak_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return cpu_s, peak_kib * 1024 / 1e6


def _decode_us(files: list[bytes]) -> float:
    begin = time.process_time()
    for i in range(_SAMPLE):
        decode_image(files[i % len(files)], Resizing(SMALL_SIZE))
    return (time.process_time() - begin) / _SAMPLE * 1e6


def measure_model_us(model: str) -> float:
    """Return the CPU time that the model takes for an image, in microseconds."""
    import numpy as np

    from beamvec.transforms.inference.config import ModelConfig
    from beamvec.transforms.inference.model import load_model

    loaded = load_model(ModelConfig(model))
    pixels = np.zeros((_CALLED, loaded.input_size, loaded.input_size, 3), np.uint8)
    begin = time.process_time()
    loaded.embed_pixels(pixels)
    return (time.process_time() - begin) / _CALLED * 1e6


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(processes.answer(measure_model_us, sys.argv[2:]))
    sys.exit(inputs.run_alone(run, __doc__))
