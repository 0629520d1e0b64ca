"""Time to the first embedding: from the start of the process to the first chunk file.

    python benchmarks/first_embedding.py [--images DIR] [--model DIR] [--rounds 3]

The floor is a process that imports TensorFlow, loads the SavedModel and calls it on one batch. One
round goes first that does not count, so that all files are in memory, and the model is quantised
for int8. Two commands that need no model are measured beside it.
"""

from __future__ import annotations

import functools
import shutil
import sys
import time
from pathlib import Path

import inputs
import processes
from beamvec.transforms.inference.config import DEFAULT_BATCH_SIZE
from inputs import FLOAT32, INT8, Setup
from measure import Failed, Goal, Report, take_turns
from steady import link_images

_POLL_S = 0.002
_FLOOR = "floor"
_CALIBRATION = 128
_COMMANDS = ("--version", "extract --help")


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    photos = setup.photos(DEFAULT_BATCH_SIZE)
    report = Report("first_embedding", "seconds from the start of a process to embeddings")
    report.notes.append(f"one batch of {len(photos)} images; files in memory")
    listed = setup.write_list(photos)
    variants = {_FLOOR: functools.partial(_time_floor, setup)}
    calibration = _calibration_flags(setup) if INT8 in setup.variants else []
    for variant in setup.variants:
        flags = [*variant.flags, *(calibration if variant == INT8 else [])]
        variants[variant.name] = functools.partial(time_first_chunk, setup, listed, flags)
    for name in _COMMANDS:
        command = [sys.executable, "-m", "beamvec", *name.split()]
        variants[f"beamvec {name}"] = functools.partial(processes.time_command, command)
    times = take_turns(variants, setup.rounds, report, warm_up=True)
    for name, seconds in times.items():
        report.add(name, "s", seconds)
    for name in [name for name in times if name in {v.name for v in setup.variants}]:
        goal = Goal("<=", 1.3) if name == FLOAT32.name else None
        report.add_ratio(f"{name} / {_FLOOR}", times[name], times.get(_FLOOR, []), goal)
    return report


def _calibration_flags(setup: Setup) -> list[str]:
    """Name images to quantise with: one batch, which is embedded, would be too few."""
    folder = link_images(setup.photos(_CALIBRATION), str(setup.work / "calibration"))
    return ["--calibration-images", folder, "--allow-low-fidelity"]


def _time_floor(setup: Setup) -> float:
    command = processes.script_command("first_embedding.py", "--child", setup.model)
    begin = time.perf_counter()
    process = processes.start([*command, str(setup.size)])
    assert process.stdout is not None
    process.stdout.readline()
    seconds = time.perf_counter() - begin
    processes.finish(process)
    return seconds


def time_first_chunk(setup: Setup, listed: str, extract_flags: list[str]) -> float:
    """Return the seconds from the start of `beamvec extract` with such flags to a chunk file."""
    output = setup.work / "first"
    shutil.rmtree(output, ignore_errors=True)
    flags = ["--input-list", listed, "--model", setup.model, "--output", str(output)]
    begin = time.perf_counter()
    process = processes.start(processes.beamvec_command(*flags, *extract_flags))
    seconds = None
    while seconds is None and process.poll() is None:
        time.sleep(_POLL_S)
        if _has_chunk(output / "chunks"):
            seconds = time.perf_counter() - begin
    processes.finish(process)
    if seconds is None:
        raise Failed("no chunk file was seen")
    return seconds


def _has_chunk(folder: Path) -> bool:
    return any(file.suffix == ".parquet" for file in folder.glob("*"))


def call_once(model: str, size: int) -> None:
    """Call a SavedModel on one batch: what no program with TensorFlow can do without."""
    import numpy as np
    import tensorflow as tf

    signature = tf.saved_model.load(model).signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    images = np.zeros((DEFAULT_BATCH_SIZE, size, size, 3), np.float32)
    outputs = signature(**{name: tf.constant(images)})
    print([output.numpy().shape for output in outputs.values()], flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        call_once(sys.argv[2], int(sys.argv[3]))
        sys.exit()
    sys.exit(inputs.run_alone(run, __doc__))
