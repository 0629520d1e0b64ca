"""What `make demo` runs: the main job on photographs, and a look at the result."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

from beamvec.embeddings import Dataset, open_dataset
from beamvec.pipeline.commands.flags import name_flags
from beamvec.pipeline.commands.main import main as beamvec
from beamvec.pipeline.commands.search import find_nearest
from beamvec.pipeline.terminal import show, warn
from beamvec.transforms.inference.config import DEFAULT_MODEL

OUTPUT = Path("demo-output")
_PHOTOGRAPHS = (
    "astronaut.png brick.png camera.png cell.png chelsea.png clock_motion.png coffee.png coins.png"
    " grass.png gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png"
    " motorcycle_right.png retina.jpg rocket.jpg".split()
)
_SHOWN = 6
_NEIGHBOURS = 2


def main() -> int:
    """Embed photographs, show the summary and some nearest neighbours."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", metavar="DIR", help="your own; else those of scikit-image")
    args = parser.parse_args()
    inputs = [args.images] if args.images else find_photographs()
    dataset = str(OUTPUT / "dataset")
    flags = [flag for path in inputs for flag in ("--input", path)]
    model = find_model()
    command = ["extract", *flags, "--model", model, "--output", dataset, "--overwrite"]
    source = args.images or f"'{Path(inputs[0]).parent}/*'"
    show(f"beamvec extract --input {source} --model {model} --output {dataset}")
    code = beamvec(command)
    if code <= 1:
        show(*describe_neighbours(open_dataset(dataset)))
        page = str(OUTPUT / "report.html")
        show(f"beamvec report {dataset} --html {page}")
        beamvec(["report", dataset, "--html", page])
    return code


def find_photographs() -> list[str]:
    """Return the photographs that scikit-image carries in its own package."""
    import skimage.data

    folder = Path(os.path.dirname(skimage.data.__file__))
    return [str(folder / name) for name in _PHOTOGRAPHS if (folder / name).exists()]


def find_model() -> str:
    """Return the hub's model if it can be reached, else a stand-in with random weights."""
    from beamvec.errors import ModelError
    from beamvec.transforms.export.keras_models import export_model
    from beamvec.transforms.inference.model_files import ModelFiles

    try:
        ModelFiles.fetch(DEFAULT_MODEL)
    except ModelError as error:
        stand_in = OUTPUT / "resnet_v2_50_random_weights"
        text = name_flags(str(error), {"model": "--model"})
        warn(text, "Using a ResNet-v2-50 with RANDOM WEIGHTS instead.")
        if not stand_in.exists():
            export_model("ResNet50V2", "random", str(stand_in))
        return str(stand_in)
    return DEFAULT_MODEL


def describe_neighbours(dataset: Dataset) -> list[str]:
    """List the nearest images, by cosine, of some images spread over a dataset."""
    names = [os.path.basename(uri) for uri in dataset.read_uris()]
    shown = np.linspace(0, len(names) - 1, min(_SHOWN, len(names))).astype(int)
    found = find_nearest(dataset, dataset.take(shown).vectors, shown.tolist(), _NEIGHBOURS)
    lines = ["nearest neighbours by cosine"]
    for row, matches in zip(shown, found, strict=True):
        near = ", ".join(f"{os.path.basename(m['uri'])} {m['cosine']:.3f}" for m in matches)
        lines.append(f"  {names[row]:<24} {near}")
    return lines


if __name__ == "__main__":
    from beamvec.pipeline.silence import silence

    silence()
    sys.exit(main())
