"""What the benchmarks run on: photographs and a model, given or made, and what is asked of them."""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import measure
import processes
from beamvec.transforms.inference.engine import Precision
from measure import Report

_SUFFIXES = (".jpg", ".jpeg")
_SIZES = ((500, 375), (375, 500), (500, 333), (640, 480), (1600, 1200))
_DISTINCT = 200


@dataclass(frozen=True)
class Variant:
    """A way to run the model."""

    precision: Precision
    engine: str

    @property
    def name(self) -> str:
        """What the tables call it: TensorFlow goes without saying."""
        return self.precision if self.engine == "tensorflow" else f"{self.engine} {self.precision}"

    @property
    def flags(self) -> list[str]:
        """The flags of `beamvec extract` for it: none for the default."""
        if (self.precision, self.engine) == ("float32", "tensorflow"):
            return []
        return ["--precision", self.precision, "--engine", self.engine]


FLOAT32 = Variant("float32", "tensorflow")
INT8 = Variant("int8", "openvino")
VARIANTS = (
    FLOAT32,
    Variant("bfloat16", "tensorflow"),
    Variant("float16", "tensorflow"),
    Variant("float32", "openvino"),
    Variant("bfloat16", "openvino"),
    INT8,
)


@dataclass(frozen=True)
class Setup:
    """What a benchmark is to do, and with what.

    Attributes:
        work: a folder for whatever it writes.
        given_images: the user's folder of photographs, None to make some.
        given_model: the user's SavedModel, None to make one.
        size: width and height of the model's input in pixels.
        rounds: how often each thing is measured.
        quick: whether to do a small part only, to see that everything works.
        variants: ways to run the model.
    """

    work: Path
    given_images: str | None
    given_model: str | None
    size: int
    rounds: int
    quick: bool
    variants: tuple[Variant, ...]

    def scaled(self, count: int) -> int:
        """Return a number of images, or a small part of it for a quick run."""
        return max(8, count // 16) if self.quick else count

    @functools.cached_property
    def model(self) -> str:
        """The SavedModel: the given one, or a ResNet-v2-50 with random weights."""
        if self.given_model:
            return os.path.abspath(self.given_model)
        path = str(self.work / "resnet_v2_50")
        export = [sys.executable, "-m", "beamvec", "model", "export"]
        processes.time_command([*export, "keras:ResNet50V2", path, "--weights", "random"])
        return path

    def photos(self, count: int) -> list[str]:
        """Return `count` photographs, spread over the given folder, or all if it has fewer."""
        found = self._photos if self.given_images else self._made_photos(count)
        chosen = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
        return [found[i] for i in chosen]

    @functools.cached_property
    def _photos(self) -> list[str]:
        folder = Path(os.path.abspath(self.given_images or ""))
        found = sorted(str(f) for f in folder.rglob("*") if f.suffix.lower() in _SUFFIXES)
        if not found:
            raise SystemExit(f"no JPEG files in {folder}")
        return found

    def _made_photos(self, count: int) -> list[str]:
        folder = self.work / "photos"
        folder.mkdir(exist_ok=True)
        return make_photos(folder, count, _SIZES, _DISTINCT)

    def write_list(self, photos: list[str]) -> str:
        """Write paths for `--input-list` and the rivals, and return the list's path."""
        path = self.work / f"photos-{len(photos)}.txt"
        path.write_text("".join(f"{photo}\n" for photo in photos))
        return str(path)


def make_photos(
    folder: Path, count: int, sizes: tuple[tuple[int, int], ...], distinct: int
) -> list[str]:
    """Make JPEGs of the sizes in turn; beyond `distinct` ones they are further names for these."""
    random = np.random.default_rng(0)
    files = [folder / f"{i:08d}.jpg" for i in range(count)]
    for i, file in enumerate(files):
        if file.exists():
            continue
        if i < distinct:
            make_photo(random, *sizes[i % len(sizes)]).save(file, quality=90)
        else:
            os.link(files[i % distinct], file)
    return [str(file) for file in files]


def make_photo(random: np.random.Generator, width: int = 500, height: int = 375) -> Image.Image:
    """Make an image with structure at several scales, so that it compresses like a photograph."""
    pixels = np.zeros((height, width, 3), np.float32)
    scale = 4
    while scale <= max(256, width // 6):
        noise = random.integers(0, 256, (scale * 3 // 4, scale, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        pixels += np.asarray(layer, np.float32) / (2 + scale / 16)
        scale *= 4
    pixels *= 255 / pixels.max()
    pixels += random.normal(0, 6, (height, width, 1)).astype(np.float32)  # A sensor's grain.
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def add_flags(parser: argparse.ArgumentParser, variants: bool = True) -> None:
    """Add the flags that all benchmarks share; `--variants` where they are what is measured."""
    names = [variant.name for variant in VARIANTS]
    add = parser.add_argument
    add("--images", metavar="DIR", help="a folder of JPEGs; made if not given")
    add("--model", metavar="DIR", help="a SavedModel; made if not given")
    add("--size", type=int, default=224, metavar="S", help="its input in pixels (%(default)s)")
    add("--rounds", type=int, metavar="N", help="how often to measure (3, 1 with --quick)")
    if variants:
        ways = ", ".join(names)
        add("--variants", nargs="+", choices=names, default=names, metavar="V", help=ways)
    else:
        parser.set_defaults(variants=())
    add("--quick", action="store_true", help="a small part only, to see that everything works")
    add("--json", metavar="FILE", help="write everything for machines")


def make_setup(args: argparse.Namespace, work: Path) -> Setup:
    """Build a setup from the flags of `add_flags`."""
    return Setup(
        work=work,
        given_images=args.images,
        given_model=args.model,
        size=args.size,
        rounds=args.rounds or (1 if args.quick else 3),
        quick=args.quick,
        variants=tuple(variant for variant in VARIANTS if variant.name in args.variants),
    )


def measure_all(args: argparse.Namespace, runs: list[Callable[[Setup], Report]]) -> int:
    """Run benchmarks, print their tables, write the JSON; return 1 if something failed."""
    machine = measure.describe_machine()
    print(measure.format_machine(machine), flush=True)
    reports = []
    # On a disk of your own choice, where /tmp lies in memory.
    with tempfile.TemporaryDirectory(dir=os.environ.get("BEAMVEC_BENCH_DIR")) as work:
        setup = make_setup(args, Path(work))
        for run in runs:
            reports.append(run(setup))
            print(f"\n{measure.format_report(reports[-1])}", flush=True)
            if args.json:
                measure.write_json(args.json, machine, reports)
    return int(any(report.failed for report in reports))


def run_alone(run: Callable[[Setup], Report], description: str) -> int:
    """Run one benchmark as a script of its own."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    add_flags(parser)
    return measure_all(parser.parse_args(), [run])
