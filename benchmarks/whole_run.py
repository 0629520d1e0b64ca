"""A whole run of 4,000 photographs, start-up included, against other ways to do the same.

    python benchmarks/whole_run.py [--images DIR] [--model DIR] [--rounds 3]

Each run is a process of its own. The rivals are in `rivals/`; what each wrote is compared with what
beamvec wrote, so that none is fast by doing something else.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads

import inputs
import processes
from accuracy import Vectors, read_directions
from inputs import FLOAT32, INT8, Setup, Variant
from measure import Failed, Goal, Report, Skipped, take_turns

_COUNT = 4_000
_LEAST_COSINE = 0.9
"""Rivals resize otherwise, some without antialiasing; embeddings of other images are far below."""

_RIVALS = {
    "textbook Beam": "rivals/textbook_beam.py",
    "tf.data loop": "rivals/tf_data.py",
    "Ray Data": "rivals/ray_data.py",
}
_GOALS = {
    ("float32", "textbook Beam"): Goal(">=", 1.1),
    ("float32", "tf.data loop"): Goal(">=", 1.0),
    ("bfloat16", "textbook Beam"): Goal(">=", 1.9),
    ("bfloat16", "tf.data loop"): Goal(">=", 1.25),
    ("openvino bfloat16", "textbook Beam"): Goal(">=", 2.2),
    ("openvino int8", "textbook Beam"): Goal(">=", 4.0),
    ("openvino int8", "Ray Data"): Goal(">=", 5.0),
}


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    photos = setup.photos(setup.scaled(_COUNT))
    report = Report("whole_run", "images/s from the start of the process to its end")
    report.notes.append(f"{len(photos)} images; each variant a process of its own")
    listed = setup.write_list(photos)
    if INT8 in setup.variants:
        with contextlib.suppress(Failed, Skipped):  # Its rounds tell why.
            quantised_s = _time_beamvec(setup, INT8, listed, "--limit", "1")
            report.add(f"{INT8.name}: quantising first, once", "s", [quantised_s])
    beamvec = [variant.name for variant in setup.variants]
    variants: dict[str, Callable[[], float]] = {
        v.name: functools.partial(_time_beamvec, setup, v, listed) for v in setup.variants
    }
    for name, script in _RIVALS.items():
        variants[name] = functools.partial(_time_rival, setup, name, script, listed)
    seconds = take_turns(variants, setup.rounds, report)
    rates = {name: [len(photos) / s for s in runs] for name, runs in seconds.items()}
    for name, runs in rates.items():
        report.add(name, "images/s", runs)
    for ours in [name for name in beamvec if name in rates]:
        for rival in [name for name in _RIVALS if name in rates]:
            goal = _GOALS.get((ours, rival))
            report.add_ratio(f"{ours} / {rival}", rates[ours], rates[rival], goal)
    _compare_all(report, setup, [name for name in _RIVALS if name in rates])
    return report


def _folder(setup: Setup, name: str) -> Path:
    return setup.work / f"whole run {name}"


def _time_beamvec(setup: Setup, variant: Variant, listed: str, *more: str) -> float:
    output = _folder(setup, variant.name)
    shutil.rmtree(output, ignore_errors=True)
    flags = ["--input-list", listed, "--model", setup.model, "--output", str(output)]
    return processes.time_command(processes.beamvec_command(*flags, *variant.flags, *more))


def _time_rival(setup: Setup, name: str, script: str, listed: str) -> float:
    output = _folder(setup, name)
    shutil.rmtree(output, ignore_errors=True)
    arguments = ["--list", listed, "--model", setup.model, "--output", str(output)]
    command = processes.script_command(script, *arguments, "--size", str(setup.size))
    return processes.time_command(command)


def _compare_all(report: Report, setup: Setup, rivals: list[str]) -> None:
    ours = _folder(setup, FLOAT32.name)
    if not ours.exists():
        return
    uris, base = read_directions(str(ours))
    for name in rivals:
        try:
            cosine = _compare(uris, base, _folder(setup, name))
            report.add(f"{name}: mean cosine to beamvec", "cosine", [cosine])
        except Failed as reason:
            report.failed[name] = str(reason)


def _compare(uris: list[str], base: Vectors, output: Path) -> float:
    """Return the mean cosine of what a rival wrote to beamvec's embeddings.

    Raises:
        Failed: if it is not the same job.
    """
    table = pads.dataset(output, format="parquet").to_table().sort_by("uri")
    if table["uri"].to_pylist() != uris:
        raise Failed(f"it wrote {table.num_rows} rows that are not those of beamvec")
    vectors = np.array(table["embedding"].to_pylist(), np.float32)
    scaled = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = float((scaled * base).sum(axis=1).mean())
    if cosine < _LEAST_COSINE:
        raise Failed(f"its embeddings are others: mean cosine {cosine:.3f}")
    return cosine


if __name__ == "__main__":
    sys.exit(inputs.run_alone(run, __doc__))
