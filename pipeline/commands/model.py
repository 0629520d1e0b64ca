"""`beamvec model export` and `beamvec model check`."""

from __future__ import annotations

import argparse
import os

import numpy as np

from beamvec.errors import ArgumentError
from beamvec.pipeline.commands.summary import RANDOM_WEIGHTS
from beamvec.pipeline.terminal import show
from beamvec.redact import redact
from beamvec.transforms.export.efficientnet_lite import (
    EFFICIENTNET_LITE0,
    export_efficientnet_lite0,
)
from beamvec.transforms.export.keras_models import export_model
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.spec import ModelSpec


def run(args: argparse.Namespace) -> int:
    """Run `beamvec model` and return its exit code."""
    return _export(args) if args.action == "export" else _check(args.handle)


def _export(args: argparse.Namespace) -> int:
    kind, _, architecture = args.architecture.partition(":")
    lite = args.architecture == EFFICIENTNET_LITE0
    if lite and args.weights != "imagenet":
        raise ArgumentError(f"{EFFICIENTNET_LITE0} has ImageNet weights; leave out --weights")
    if not lite and (kind != "keras" or not architecture):
        raise ArgumentError(f"{args.architecture} is no architecture; write keras:ResNet50V2")
    if os.path.exists(args.dir):
        raise ArgumentError(f"{args.dir} exists; name a folder that does not")
    try:
        if lite:
            export_efficientnet_lite0(args.dir)
        else:
            export_model(architecture, args.weights, args.dir, args.seed)
    except OSError as error:
        raise ArgumentError(f"cannot write the model to {args.dir}: {error}") from error
    return _check(args.dir)


def _check(handle: str) -> int:
    model = load_model(ModelSpec(handle))
    size = model.input_size
    model.embed_pixels(np.zeros((1, size, size, 3), np.uint8))  # Raises what only a call can show.
    show(
        f"model        {redact(handle)}",
        f"called as    {model.entry}",
        f"input        float32 [N, {size}, {size}, 3] RGB in [0, 1]",
        f"output       float32 [N, {model.dimension}]",
        f"fingerprint  {model.fingerprint}",
    )
    if model.weights == "random":
        show(RANDOM_WEIGHTS)
    return 0
