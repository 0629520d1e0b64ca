"""`beamvec model export` and `beamvec model check`."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
from collections.abc import Sequence

import numpy as np

from beamvec.errors import ArgumentError, ImageError
from beamvec.pipeline.commands.summary import RANDOM_WEIGHTS
from beamvec.pipeline.terminal import show
from beamvec.redact import redact
from beamvec.transforms.embedding.embedder import Embedder
from beamvec.transforms.embedding.examine import examine_model
from beamvec.transforms.export.export import ExportOptions, export
from beamvec.transforms.files.storage import is_local
from beamvec.transforms.inference.config import ModelConfig, make_given
from beamvec.transforms.inference.description import describe_model, write_description
from beamvec.transforms.inference.doubt import compare_with_reference
from beamvec.transforms.inference.fields import FIELDS
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.model_files import ModelFiles
from beamvec.transforms.inputs.patterns import expand_pattern
from beamvec.transforms.records.images import ImageRef


def run(args: argparse.Namespace) -> int:
    """Run `beamvec model` and return its exit code."""
    actions = {"export": _export, "check": _check, "spec": _spec}
    return actions[args.action](args)


def _export(args: argparse.Namespace) -> int:
    fields = dataclasses.fields(ExportOptions)
    values = {field.name: getattr(args, field.name) for field in fields}
    pixels = {name: values[name] for name in ("scale", "mean", "std") if values[name] is not None}
    options = ExportOptions(**{**values, **dict(make_given(**pixels))})
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
    if args.reference and not args.images:
        raise ArgumentError("--reference needs --images, the images that it is of")
    refs = sorted(expand_pattern(args.images)) if args.images else []
    if args.images and not refs:
        raise ArgumentError(f"--images {args.images}: no images there")
    given = make_given(args.spec)
    config = ModelConfig(args.handle, args.engine, given=given, trusted=args.trust_model)
    code = _show_model(config, refs)
    if args.reference:
        return _compare(config, [ref.uri for ref in refs], args.reference)
    return code


def _compare(config: ModelConfig, uris: list[str], reference: str) -> int:
    """Compare the embeddings of images with those from elsewhere; return 0 if they are the same."""
    try:
        wanted = np.load(os.path.expanduser(reference), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArgumentError(f"cannot read --reference {reference}: {error}") from error
    try:
        features = Embedder(load_model(config)).embed(uris)
    except ImageError as error:
        raise ArgumentError(f"cannot embed --images: {error}") from error
    found = compare_with_reference(features, wanted)
    lines = zip(found.cosines, uris, strict=True)
    show(
        "cosine       image",
        *(f"{cosine:<11.6f}  {uri}" for cosine, uri in lines),
        f"reference    least {found.least:.6f}, mean {found.mean:.6f}: {found.verdict}",
    )
    return 0 if found.is_same else 3


def _spec(args: argparse.Namespace) -> int:
    """Write what is said of a model beside it, once the model has been seen to agree."""
    said = {name: value for name in FIELDS if (value := getattr(args, name)) is not None}
    config = ModelConfig(
        args.handle, args.engine, given=make_given(**said), trusted=args.trust_model
    )
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


def _show_model(config: ModelConfig, refs: Sequence[ImageRef] = ()) -> int:
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
    for doubt in examine_model(model, refs):
        show(f"WARNING      {doubt.message}; {doubt.remedy}")
    return 0
