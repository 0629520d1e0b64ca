"""`beamvec model export` and `beamvec model check`."""

from __future__ import annotations

import argparse
import dataclasses
import shlex

import numpy as np

from beamvec.errors import ArgumentError
from beamvec.pipeline.commands.summary import RANDOM_WEIGHTS
from beamvec.pipeline.terminal import show
from beamvec.redact import redact
from beamvec.transforms.export.export import ExportOptions, export
from beamvec.transforms.files.storage import is_local
from beamvec.transforms.inference.config import ModelConfig, make_given
from beamvec.transforms.inference.description import describe_model, write_description
from beamvec.transforms.inference.fields import FIELDS
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.model_files import ModelFiles


def run(args: argparse.Namespace) -> int:
    """Run `beamvec model` and return its exit code."""
    actions = {"export": _export, "check": _check, "spec": _spec}
    return actions[args.action](args)


def _export(args: argparse.Namespace) -> int:
    fields = dataclasses.fields(ExportOptions)
    values = {field.name: getattr(args, field.name) for field in fields}
    pixels = {name: values[name] for name in ("scale", "mean", "std") if values[name] is not None}
    options = ExportOptions(**{**values, **dict(make_given(pixels))})
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
        f"next         beamvec extract --model {shlex.quote(args.path)} --input ...",
    )
    if exported.weights == "random":
        show(RANDOM_WEIGHTS)
    return 0


def _check(args: argparse.Namespace) -> int:
    given = make_given(args.spec)
    return _show_model(ModelConfig(args.handle, args.engine, given=given, trusted=args.trust_model))


def _spec(args: argparse.Namespace) -> int:
    """Write what is said of a model beside it, once the model has been seen to agree."""
    said = {name: value for name in FIELDS if (value := getattr(args, name)) is not None}
    config = ModelConfig(args.handle, args.engine, given=make_given(said), trusted=args.trust_model)
    code = _show_model(config)
    if not said:
        return code
    if not is_local(args.handle):
        raise ArgumentError(
            f"{args.handle} is not on this machine, so nothing can be written beside it; give its "
            "fields to `extract` with --spec, or copy it here"
        )
    files = ModelFiles.fetch(args.handle)
    known = describe_model(files)
    try:
        path = write_description(files, {**known.fields, **dict(config.given)}, known.notes)
    except OSError as error:
        raise ArgumentError(f"cannot write beside the model {args.handle}: {error}") from error
    show(f"written      {path}")
    return code


def _show_model(config: ModelConfig) -> int:
    model = load_model(config)
    size, spec = model.input_size, model.spec
    model.embed_pixels(np.zeros((1, size, size, 3), np.uint8))  # Raises what only a call can show.
    show(
        f"model        {redact(config.handle)}",
        f"run by       {model.config.engine}: {model.entry}",
        f"input        {spec.describe_input()}",
        f"resize       {spec.describe_resize()}",
        f"output       {spec.describe_output()}",
        f"said by      {model.source}",
        f"fingerprint  {model.fingerprint}",
    )
    if model.weights == "random":
        show(RANDOM_WEIGHTS)
    return 0
