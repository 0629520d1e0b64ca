"""What the benchmarks run on: a folder of photographs and a model, given or made."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.main import silence
from transforms.export import as_feature_vector, export_model
from transforms.saved_model import import_tensorflow
from transforms.settings import count_cpus

silence()


def add_input_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that all benchmarks share."""
    parser.add_argument("--images", metavar="DIR", help="photographs; made if not given")
    parser.add_argument("--model", metavar="DIR", help="a SavedModel; made if not given")


def find_images(args: argparse.Namespace, work: Path, count: int) -> Path:
    """Return the given folder of images, or make one of `count` JPEGs of 500 x 375 pixels."""
    if args.images:
        return Path(args.images)
    folder = work / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(count):
        make_photo(random).save(folder / f"{i:06d}.jpg", quality=90)
    return folder


def make_photo(random: np.random.Generator, width: int = 500, height: int = 375) -> Image.Image:
    """Make an image with structure at several scales, so that it compresses like a photograph."""
    pixels = np.zeros((height, width, 3), np.float32)
    for scale in (4, 16, 64, 256):
        noise = random.integers(0, 256, (scale * 3 // 4, scale, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        pixels += np.asarray(layer, np.float32) / (2 + scale / 16)
    return Image.fromarray((pixels * (255 / pixels.max())).astype(np.uint8))


def find_model(args: argparse.Namespace, work: Path) -> str:
    """Return the given model, or export a ResNet-v2-50 with random weights."""
    if args.model:
        return str(args.model)
    path = str(work / "resnet_v2_50")
    export_model("ResNet50V2", "random", path)
    return path


def make_small_model(work: Path) -> str:
    """Save a convolutional model for images of 64 x 64 pixels, which costs next to nothing."""
    tf = import_tensorflow()
    import keras

    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((64, 64, 3)),
        keras.layers.Conv2D(32, 8, 8, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
    ]
    path = str(work / "small_model")
    root = as_feature_vector(tf, keras.Sequential(layers), lambda images: images / 255.0)
    tf.saved_model.save(root, path, signatures={"serving_default": root.serving_default})
    return path


def make_work_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder, in `BEAMVEC_BENCH_DIR` if that is set."""
    return tempfile.TemporaryDirectory(dir=os.environ.get("BEAMVEC_BENCH_DIR"))


def describe_machine() -> str:
    """Describe the processor, the cores that may be used and the versions that matter."""
    tf = import_tensorflow()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}"
    return f"{name}, {count_cpus()} cores, {versions}"
