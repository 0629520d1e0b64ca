"""The flags of `beamvec model export`."""

from __future__ import annotations

import argparse


def add_export_flags(export: argparse.ArgumentParser) -> None:
    """Add what `beamvec model export` takes."""
    export.description = (
        "Write a model of Keras as a SavedModel with the TF-Hub feature vector interface, one of "
        "PyTorch as an ONNX file; run the original and the result on some images, and print the "
        "least cosine."
    )
    export.epilog = (
        "exit codes: 0 written; 2 wrong usage, or the model cannot be had; 3 the result differs "
        "from the original, and is removed"
    )
    add = export.add_argument
    source = (
        "keras:NAME of keras.applications, torchvision:NAME or timm:NAME (which need the extra "
        "torch), or the path of a .keras file"
    )
    add("source", metavar="SOURCE", help=source)
    path = "what to write, which must not exist: a folder, for PyTorch also a file.onnx"
    add("path", metavar="DIR_OR_FILE", help=path)
    add(
        "--weights",
        default="imagenet",
        metavar="W",
        help="imagenet (the library's, downloaded), random, or a file: Keras's, or safetensors",
    )
    add("--seed", type=int, default=0, help="fixes random weights (%(default)s)")
    add("--layer", default="", metavar="NAME", help="the last layer to keep of a .keras file")
    add(
        "--size", type=int, default=0, metavar="S", help="width, where a .keras file leaves it free"
    )
    add(
        "--scale",
        type=parse_number,
        metavar="X",
        help="the model wants (pixels * scale - mean) / std of pixels from 0 to 255, such as 1/255",
    )
    for name in ("mean", "std"):
        add(
            f"--{name}", type=parse_colours, metavar="R,G,B", help=f"{name} in this, or one for all"
        )
    add("--channels", choices=["RGB", "BGR"], help="the order of colours that the model wants")
    add("--images", default="", metavar="PATTERN", help="compare on up to 16 of these images too")
    add("--trust-model", action="store_true", help="load layers that run code of the file's")
    add("--verbose", action="store_true", help="show TensorFlow's logs")


def parse_number(text: str) -> float:
    """Return a number that is written as such, or as a fraction.

    >>> parse_number("1/4")
    0.25
    """
    above, _, below = text.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"{text} is no number such as 0.5 or 1/255") from error


def parse_colours(text: str) -> tuple[float, float, float]:
    """Return a number for each of red, green and blue; a single one is for all three.

    >>> parse_colours("0.5")
    (0.5, 0.5, 0.5)
    """
    numbers = [parse_number(word) for word in text.split(",")]
    if len(numbers) not in (1, 3):
        raise argparse.ArgumentTypeError(f"{text} is not one number, or three as in 0.5,0.4,0.3")
    red, green, blue = numbers * (3 // len(numbers))
    return red, green, blue
