"""Transfer: probes of a frozen backbone, beside the backbone fine-tuned, exported and embedded.

    python benchmarks/transfer.py [--images DIR] [--backbone NAME] [--reduce S] [--epochs N]

The images lie in a sub-folder for each class; without any, scikit-learn's handwritten digits are
taken. Of each class a third is held out, which no training sees; if the folder has `train` and
`test`, those are the parts. It prints the table that docs/transfer.md quotes.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import measure
import processes
from beamvec import embeddings
from beamvec.pipeline.commands.classifiers import fit_linear
from beamvec.pipeline.commands.parser import PARENT_FOLDER
from beamvec.pipeline.commands.probe import choose_sample, probe
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.resize import Resizing
from fine_tuning import (
    BACKBONES,
    build_classifier,
    fine_tune,
    load_backbone,
    score,
    set_head,
)

_TUTORIALS = (
    "for comparison: tutorials that fine-tune a network on CIFAR-10 report 86 % and 82.86 % on its "
    "10,000 test images; --images cifar10-folder measures that here, with `train` and `test` in it"
)
_HELD_OUT = 3
"""One in so many images of a class."""
_FOLDS = 5


@dataclass(frozen=True)
class Images:
    """Labelled images in two parts.

    Attributes:
        folder: where all of them lie.
        files: absolute paths, sorted.
        truth: int64 [n], the class of each.
        is_train: bool [n], whether training may see it.
        names: of the classes.
    """

    folder: Path
    files: list[str]
    truth: npt.NDArray[np.int64]
    is_train: npt.NDArray[np.bool_]
    names: list[str]

    def read(self, size: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return pixels uint8 [n, S, S, 3] RGB of some rows, decoded as `beamvec extract` does."""

        def decode(row: int) -> npt.NDArray[np.uint8]:
            return decode_image(Path(self.files[row]).read_bytes(), Resizing(size)).pixels

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.stack(list(pool.map(decode, rows)))


@dataclass(frozen=True)
class Accuracies:
    """How well classifiers do on features: held out, and over all by `beamvec probe`."""

    nearest: float
    linear: float
    probe: float


def find_images(folder: Path) -> Images:
    """List labelled images and choose which to hold out.

    Raises:
        SystemExit: if there are not two classes of three images.
    """
    suffixes = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
    found = sorted(f for f in folder.resolve().rglob("*") if f.suffix.lower() in suffixes)
    names, truth = np.unique([file.parent.name for file in found], return_inverse=True)
    if len(names) < 2 or np.bincount(truth).min() < _HELD_OUT:
        raise SystemExit(f"{folder} needs two sub-folders or more, one a class, of three images")
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        train = folder.resolve() / "train"
        is_train = np.array([train in file.parents for file in found])
    else:
        random = np.random.default_rng(0)
        is_train = np.ones(len(found), bool)
        for label in range(len(names)):
            rows = random.permutation(np.flatnonzero(truth == label))
            is_train[rows[: len(rows) // _HELD_OUT]] = False
    return Images(folder, [str(file) for file in found], truth, is_train, names.tolist())


def write_digits(folder: Path) -> None:
    """Write the 1,797 digits of 8 x 8 pixels that come with scikit-learn."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for i, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray((pixels * 255 / 16).astype(np.uint8))
        image.save(folder / str(label) / f"{i:04d}.png")


def write_reduced(images: Images, size: int, folder: Path) -> None:
    """Write smaller copies of images, squares of so many pixels, in the same sub-folders."""
    for file in images.files:
        copy = folder / Path(file).relative_to(images.folder.resolve()).with_suffix(".png")
        copy.parent.mkdir(parents=True, exist_ok=True)
        pixels = decode_image(Path(file).read_bytes(), Resizing(size)).pixels
        Image.fromarray(pixels).save(copy)


def embed(model: Any, name: str, images: Images, work: Path) -> npt.NDArray[np.float32]:
    """Save a Keras classifier, export it up to its features, embed all images.

    Returns:
        float32 [n, D], in the order of the images.
    """
    file, exported, dataset = (str(work / f"{name}{end}") for end in (".keras", "", "-dataset"))
    model.save(file)
    command = [sys.executable, "-m", "beamvec"]
    processes.time_command([*command, "model", "export", file, exported, "--layer", "features"])
    flags = ["--input", str(images.folder), "--model", exported, "--output", dataset]
    processes.time_command([*command, "extract", *flags])
    rows = embeddings.open_dataset(dataset)
    row_of = {uri: row for row, uri in enumerate(rows.read_uris())}
    return rows.read_vectors()[[row_of[file] for file in images.files]]


def classify(vectors: npt.NDArray[np.float32], dataset: str, images: Images) -> Accuracies:
    """Fit the classifiers of `beamvec probe` to the training part, and try them on the other."""
    from sklearn.neighbors import KNeighborsClassifier

    train, test = images.is_train, ~images.is_train
    nearest = KNeighborsClassifier(1, metric="cosine").fit(vectors[train], images.truth[train])
    linear = fit_linear(vectors[train], images.truth[train])
    sample = choose_sample(embeddings.open_dataset(dataset), PARENT_FOLDER, _FOLDS)
    found = probe(sample, "linear", _FOLDS)
    return Accuracies(
        nearest.score(vectors[test], images.truth[test]),
        linear.score(vectors[test], images.truth[test]),
        float(np.mean(found["accuracies"]["linear"])),
    )


def describe(images: Images, frozen: Accuracies, own: float, tuned: Accuracies) -> str:
    """Lay the result out as the table of docs/transfer.md."""
    held_out = int((~images.is_train).sum())
    rows = [
        f"| {held_out:,} images held out, {len(images.names)} classes | frozen | fine-tuned |",
        "| --- | --- | --- |",
        f"| the network's own head | | {own:.3f} |",
        f"| nearest neighbour | {frozen.nearest:.3f} | {tuned.nearest:.3f} |",
        f"| linear classifier | {frozen.linear:.3f} | {tuned.linear:.3f} |",
        f"| `beamvec probe`, linear, over all images | {frozen.probe:.3f} | {tuned.probe:.3f} |",
    ]
    return "\n".join(rows)


def run(images: Images, backbone: str, epochs: int, flip: bool, work: Path) -> str:
    """Measure both ways, and return the table."""
    network = load_backbone(backbone)
    model = build_classifier(network, len(images.names))
    train, test = np.flatnonzero(images.is_train), np.flatnonzero(~images.is_train)
    vectors = embed(model, "frozen", images, work)
    frozen = classify(vectors, str(work / "frozen-dataset"), images)
    set_head(model, fit_linear(vectors[train], images.truth[train]))
    read = functools.partial(images.read, model.input_shape[1])
    fine_tune(model, read, images.truth, train, epochs, flip)
    own = score(model, read, images.truth, test)
    vectors = embed(model, "tuned", images, work)
    tuned = classify(vectors, str(work / "tuned-dataset"), images)
    return describe(images, frozen, own, tuned)


def main() -> int:
    """Run it on the images that the command line gives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--images", metavar="DIR", help="a folder with a sub-folder for each class")
    add("--backbone", default=BACKBONES[0], metavar="NAME", help=", ".join(BACKBONES))
    add("--reduce", type=int, metavar="S", help="make the images squares of so many pixels first")
    add("--epochs", type=int, default=10, metavar="N", help="of fine-tuning (%(default)s)")
    args = parser.parse_args()
    machine = measure.describe_machine()
    print(measure.format_machine(machine), flush=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BEAMVEC_BENCH_DIR")) as work:
        folder = Path(args.images or f"{work}/digits")
        if not args.images:
            write_digits(folder)
        images = find_images(folder)
        if args.reduce:
            write_reduced(images, args.reduce, Path(work) / "reduced")
            images = find_images(Path(work) / "reduced")
        # A digit's mirror image is no digit.
        table = run(images, args.backbone, args.epochs, bool(args.images), Path(work))
    print(f"{datetime.now(timezone.utc):%B %Y}, {args.backbone}, {args.epochs} epochs")
    print(f"{table}\n{_TUTORIALS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
