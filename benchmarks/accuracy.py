"""What precision and engine do to the embeddings: cosines to float32, and nearest neighbours.

    python benchmarks/accuracy.py [--images DIR] [--model DIR]

Where the images lie in a sub-folder for each class, the nearest neighbour of each, by cosine,
should be of its own class as often as in float32. One run of each is enough: it repeats itself.
Of int8, some images set the ranges; what the run measured on others stands beside it.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

import inputs
import processes
from beamvec import embeddings
from beamvec.transforms.inference.compare_int8 import measure_nearness
from inputs import FLOAT32, INT8, Setup, Variant
from measure import Goal, Report, take_turns

_COUNT = 1_000

Vectors = npt.NDArray[np.float32]


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    photos = setup.photos(setup.scaled(_COUNT))
    report = Report("accuracy", "embeddings of each variant against those of float32")
    report.notes.append(f"{len(photos)} images")
    listed = setup.write_list(photos)
    chosen = [FLOAT32, *(variant for variant in setup.variants if variant != FLOAT32)]
    variants = {v.name: functools.partial(_embed, setup, v, listed) for v in chosen}
    vectors = {name: found[0] for name, found in take_turns(variants, 1, report).items()}
    classes = np.array([Path(photo).parent.name for photo in sorted(photos)])
    is_labelled = np.unique(classes, return_counts=True)[1].min() > 1 < len(set(classes))
    if not is_labelled:
        report.skipped["nearest neighbours"] = (
            "the images do not lie in folders, one a class, of two or more"
        )
    base = vectors.get(FLOAT32.name)
    for name, found in vectors.items():
        if base is not None and name != FLOAT32.name:
            _compare(report, name, base, found)
            _add_kept(report, name, base, found)
        if name == INT8.name:
            _add_measured(report, name, setup)
        if base is not None and is_labelled:
            _add_neighbours(report, name, base, found, classes)
    return report


def _embed(setup: Setup, variant: Variant, listed: str) -> Vectors:
    """Return the embeddings, each of length 1, sorted by uri."""
    output = _folder(setup, variant.name)
    flags = ["--input-list", listed, "--model", setup.model, "--output", output, "--overwrite"]
    processes.time_command(processes.beamvec_command(*flags, *variant.flags))
    return read_directions(output)[1]


def _folder(setup: Setup, name: str) -> str:
    return str(setup.work / f"accuracy {name}")


def read_directions(output: str) -> tuple[list[str], Vectors]:
    """Return a dataset's uris, sorted, and their embeddings scaled to length 1."""
    dataset = embeddings.open_dataset(output)
    uris, vectors = dataset.read_uris(), dataset.read_vectors()
    order = np.argsort(uris)
    scaled = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return [uris[i] for i in order], scaled[order]


def _compare(report: Report, name: str, base: Vectors, found: Vectors) -> None:
    cosines = (base * found).sum(axis=1)
    least, mean = (0.975, 0.994) if name == INT8.name else (0.999, None)
    report.add(f"{name}: least cosine", "cosine", [float(cosines.min())], Goal(">=", least))
    report.add(f"{name}: 1st percentile", "cosine", [float(np.percentile(cosines, 1))])
    goal = Goal(">=", mean) if mean else None
    report.add(f"{name}: mean cosine", "cosine", [float(cosines.mean())], goal)


def _add_kept(report: Report, name: str, base: Vectors, found: Vectors) -> None:
    """Add which share of the nearest neighbours stays, of all images."""
    nearness = measure_nearness(base, found)
    if nearness:
        kept = nearness.neighbours_kept
        report.add(f"{name}: nearest neighbours kept", "of ten", [kept])


def _add_measured(report: Report, name: str, setup: Setup) -> None:
    """Add what the run itself measured, on images that int8 was not calibrated on."""
    fidelity = embeddings.open_dataset(_folder(setup, name)).run.fidelity
    if fidelity:
        report.notes.append(f"{name}, as the run measured it: {fidelity.describe()}")


def _add_neighbours(
    report: Report, name: str, base: Vectors, found: Vectors, classes: npt.NDArray[np.str_]
) -> None:
    right = find_neighbours(found, classes)
    report.add(f"{name}: neighbour of its class", "of images", [right])
    if found is not base:
        change = abs(right - find_neighbours(base, classes))
        report.add(f"{name}: change of that", "of images", [change], Goal("<=", 0.01))


def find_neighbours(directions: Vectors, classes: npt.NDArray[np.str_]) -> float:
    """Return the part of the images whose nearest neighbour is of the same class.

    >>> find_neighbours(np.eye(4, dtype="f")[[0, 0, 1, 1]], np.array(["a", "a", "b", "c"]))
    0.5
    """
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -2)
    return float((classes[cosines.argmax(axis=1)] == classes).mean())


if __name__ == "__main__":
    sys.exit(inputs.run_alone(run, __doc__))
