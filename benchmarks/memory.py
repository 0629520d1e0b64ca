"""Peak memory of `beamvec extract` against the number of images: it must not grow.

    python benchmarks/memory.py [--rounds 3]

Each run is a process of its own. The images are 100 JPEGs under many names, the model is a small
convolutional one, so that what is measured is the pipeline.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import inputs
import processes
from inputs import Setup
from measure import Report, take_turns

_COUNTS = (1_000, 10_000)
_DISTINCT = 100
_SIZES = ((500, 375),)

SMALL_SIZE = 64
"""Width and height of the small model's input in pixels."""


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    report = Report("memory", "peak memory against the number of images")
    report.notes.append(f"{_DISTINCT} JPEGs of 500 x 375 under many names, a small model")
    model = str(setup.work / "small_model")
    processes.finish(processes.start(processes.script_command("memory.py", "--child", model)))
    counts = [setup.scaled(count) for count in _COUNTS]
    variants = {}
    for count in counts:
        folder = setup.work / f"names {count}"
        folder.mkdir()
        inputs.make_photos(folder, count, _SIZES, _DISTINCT)
        output = setup.work / "memory"
        variants[f"{count:,} images"] = functools.partial(measure_peak_mb, folder, model, output)
    peaks = take_turns(variants, setup.rounds, report)
    for name, values in peaks.items():
        report.add(name, "MB", values)
    if len(peaks) == len(_COUNTS):
        few, many = peaks
        report.add_ratio(f"{many} / {few}", peaks[many], peaks[few])
    return report


def measure_peak_mb(images: Path, model: str, output: Path) -> float:
    """Run `beamvec extract` from a small process and return its peak resident memory in MB.

    Linux counts the memory of whoever starts a process to that process's own peak.
    """
    flags = ["--overwrite", "--input", str(images), "--model", model, "--output", str(output)]
    peak: float = processes.call_script("peak_memory.py", *processes.beamvec_command(*flags))
    return peak


def make_small_model(path: str) -> None:
    """Save a convolutional model for images of 64 x 64 pixels, which costs next to nothing."""
    from beamvec.transforms.export.saved_model import as_feature_vector
    from beamvec.transforms.inference.model_files import import_tensorflow

    tf = import_tensorflow()
    import keras

    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((SMALL_SIZE, SMALL_SIZE, 3)),
        keras.layers.Conv2D(32, 8, 8, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
    ]
    root = as_feature_vector(tf, keras.Sequential(layers), lambda images: images / 255.0)
    tf.saved_model.save(root, path, signatures={"serving_default": root.serving_default})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        make_small_model(sys.argv[2])
        sys.exit()
    sys.exit(inputs.run_alone(run, __doc__))
