"""The flags of `beamvec model`, and those that say what a model wants to see."""

from __future__ import annotations

import argparse
import typing
from typing import Any

from beamvec.pipeline.commands.flags import add_trust
from beamvec.transforms.inference.fields import FIELD_HELP, FIELDS
from beamvec.transforms.inference.registry import ENGINES


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
        "efficientnet-lite0 (trained; a package of the registry), keras:NAME of "
        "keras.applications, torchvision:NAME or timm:NAME (which need the extra torch), or the "
        "path of a .keras file"
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
        metavar="X",
        help="the model wants (pixels * scale - mean) / std of pixels from 0 to 255, such as 1/255",
    )
    for name in ("mean", "std"):
        add(f"--{name}", metavar="R,G,B", help=f"{name} in this, or one for all")
    add("--channels", choices=["RGB", "BGR"], help="the order of colours that the model wants")
    add("--images", default="", metavar="PATTERN", help="compare on up to 16 of these images too")
    add("--trust-model", action="store_true", help="load layers that run code of the file's")


def add_check_flags(check: argparse.ArgumentParser) -> None:
    """Add what `beamvec model check` takes."""
    check.add_argument("handle", metavar="HANDLE", help="TF-Hub or Kaggle URL or handle, or path")
    check.add_argument("--images", metavar="PATTERN", help="look at these images too")
    check.add_argument(
        "--reference",
        metavar="FILE.npy",
        help="compare with embeddings from elsewhere, [N, D], a row for each of --images sorted by "
        "path; exit code 3 if they differ",
    )
    _add_engine(check)
    add_spec(check)


def add_describe_flags(describe: argparse.ArgumentParser) -> None:
    """Add what `beamvec model spec` takes."""
    describe.description = (
        "Loads a model as it is described, shows that, and writes what is said here into the "
        "beamvec.json beside the model. Without a field nothing is written."
    )
    describe.add_argument("handle", metavar="MODEL", help="path of the model")
    for name, hint in FIELDS.items():
        choices = [str(each) for each in typing.get_args(hint) if isinstance(each, str)]
        describe.add_argument(
            f"--{name.replace('_', '-')}",
            choices=choices or None,
            metavar=None if choices else "VALUE",
            help=FIELD_HELP[name],
        )
    _add_engine(describe)
    add_trust(describe)


def add_spec(command: argparse.ArgumentParser) -> None:
    """Add the flags of whatever loads a model that says nothing of itself."""
    command.add_argument(
        "--spec",
        action=_KeepFields,
        metavar="NAME=VALUE",
        help="what the model wants to see, where nothing beside it says so: scale=1, pool=mean, "
        "output_name=features, ...; repeatable",
    )
    add_trust(command)


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--engine", choices=list(ENGINES), help="what runs it")


class _KeepFields(argparse.Action):
    """Collects NAME=VALUE in a dict."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002 As argparse has it.
    ) -> None:
        name, is_given, value = str(values).partition("=")
        if not is_given:
            parser.error(f"argument --spec: {values} is no NAME=VALUE, such as scale=1")
        found = getattr(namespace, self.dest) or {}
        setattr(namespace, self.dest, {**found, name: value})
