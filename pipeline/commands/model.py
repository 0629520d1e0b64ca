"""`beamvec model export` and `beamvec model check`."""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np

from beamvec.errors import ArgumentError
from beamvec.pipeline.commands.summary import RANDOM_WEIGHTS
from beamvec.pipeline.terminal import show
from beamvec.redact import redact
from beamvec.transforms.export.export import ExportOptions, export
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.spec import ModelSpec


def run(args: argparse.Namespace) -> int:
    """Run `beamvec model` and return its exit code."""
    return _export(args) if args.action == "export" else _check(args.handle)


def _export(args: argparse.Namespace) -> int:
    fields = dataclasses.fields(ExportOptions)
    options = ExportOptions(**{field.name: getattr(args, field.name) for field in fields})
    try:
        exported, agreement = export(args.source, args.path, options)
    except OSError as error:
        raise ArgumentError(f"cannot write the model to {args.path}: {error}") from error
    spec = exported.spec
    show(
        f"model        {args.path}",
        f"source       {args.source}, weights: {exported.weights}",
        f"input        {spec.size} x {spec.size} pixels",
        f"output       float32 [N, {spec.dimension}]",
        f"agreement    least cosine {agreement.cosine:.6f} to the original, on "
        f"{agreement.images} images",
        f"next         beamvec model check {args.path}",
    )
    if exported.weights == "random":
        show(RANDOM_WEIGHTS)
    return 0


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
