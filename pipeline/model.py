"""`beamvec model export` and `beamvec model check`."""

from __future__ import annotations

import argparse
import os

import numpy as np

from pipeline.config import ExtractConfig
from pipeline.options import UsageError
from pipeline.summary import RANDOM_WEIGHTS
from transforms.export import export_model
from transforms.model import FeatureModel, load_model
from transforms.redact import redact
from transforms.saved_model import ModelError
from transforms.settings import DEFAULT_BATCH_SIZE


def load_to_launch(job: ExtractConfig | argparse.Namespace, local: bool) -> FeatureModel:
    """Load the model of a run on this machine.

    Args:
        job: has the flags `model`, `batch_size`, `precision`, `engine` and `require_gpu`.
        local: whether the workers are here too. What other machines can do, they see themselves:
            here the model is loaded in float32, and without a GPU if there is none.

    Raises:
        ModelError: see `load_model`.
    """
    precision = job.precision if local else "float32"
    gpu = job.require_gpu and local
    return load_model(job.model, job.batch_size, precision, job.engine, gpu)


def run_model(args: argparse.Namespace) -> int:
    """Run `beamvec model` and return its exit code."""
    try:
        return _export(args) if args.action == "export" else _check(args.handle)
    except ModelError as error:
        raise UsageError(str(error)) from error


def _export(args: argparse.Namespace) -> int:
    kind, _, architecture = args.architecture.partition(":")
    if kind != "keras" or not architecture:
        raise UsageError(f"{args.architecture} is no architecture; write keras:ResNet50V2")
    if os.path.exists(args.dir):
        raise UsageError(f"{args.dir} exists; name a folder that does not")
    try:
        export_model(architecture, args.weights, args.dir, args.seed)
    except OSError as error:
        raise UsageError(f"cannot write the model to {args.dir}: {error}") from error
    return _check(args.dir)


def _check(handle: str) -> int:
    model = load_model(handle, DEFAULT_BATCH_SIZE)
    size = model.input_size
    model.embed(np.zeros((1, size, size, 3), np.uint8))  # Raises what only a call can show.
    print(f"model        {redact(handle)}")
    print(f"called as    {model.entry}")
    print(f"input        float32 [N, {size}, {size}, 3] RGB in [0, 1]")
    print(f"output       float32 [N, {model.dimension}]")
    print(f"fingerprint  {model.fingerprint}")
    if model.weights == "random":
        print(RANDOM_WEIGHTS)
    return 0
