"""The flags of `beamvec extract`, which `beamvec doctor` takes too, by what they are about."""

from __future__ import annotations

import argparse
from typing import Any

from beamvec.pipeline.commands.flags import flag_of
from beamvec.pipeline.commands.model_flags import add_spec
from beamvec.pipeline.run import config
from beamvec.pipeline.units import parse_size
from beamvec.transforms.decoding.limits import DEFAULT_MAX_FILE_SIZE, MAX_PIXELS
from beamvec.transforms.decoding.resize import COLOR_PROFILES, RESIZE_MODES
from beamvec.transforms.inference.config import DEFAULT_BATCH_SIZE, DEFAULT_MODEL
from beamvec.transforms.inference.engine import PRECISIONS, XLA_CHOICES
from beamvec.transforms.inference.registry import ENGINES
from beamvec.transforms.inputs.registry import SOURCES, list_options

LOG_FORMATS = ("text", "json")

USAGE = "beamvec extract --input PATTERN ... --output DIR [--model HANDLE] [flags]"
DESCRIPTION = (
    "Embed images into a Parquet dataset. Options of Beam, such as --runner, pass through. The "
    "same command, started again after any stop, goes on where it stopped."
)
EPILOG = """\
example:
  beamvec extract --input photos --model lite0 --output dataset --limit 100

exit codes: 0 done; 1 done, but more images failed than --max-failure-ratio allows; 2 wrong usage \
or configuration, before any work starts; 3 the pipeline failed; 130 stopped by Ctrl-C, 143 by \
SIGTERM: the same command goes on"""
_BEAM = (
    "Any option of Beam passes through: --runner FlinkRunner, --direct_num_workers 4, --project, "
    "and so on. One that Beam does not know is an error."
)


def add_job(command: argparse.ArgumentParser, required: bool) -> None:
    """Add what tells a run what to do; input and output may be left out if not required."""
    _add_input(command.add_argument_group("input"), required)
    _add_model(command.add_argument_group("model"), precision="float32")
    _add_output(command.add_argument_group("output"), required)
    _add_running(command.add_argument_group("running"))
    command.add_argument_group("Beam", _BEAM)


def add_trial(command: argparse.ArgumentParser) -> None:
    """Add what `beamvec tune` takes: the input, the model, and what is to be reckoned."""
    _add_input(command.add_argument_group("input"), required=True)
    _add_model(command.add_argument_group("model"), precision=None)
    group = command.add_argument_group("cost")
    group.add_argument("--images", type=int, metavar="N", help="say how long N images would take")
    group.add_argument(
        "--price", type=float, metavar="P", help="and what they cost, at P an hour of this machine"
    )
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument("--verbose", action="store_true", help="show the whole of an error")


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_input(group: Any, required: bool) -> None:
    source = group.add_mutually_exclusive_group(required=required)
    for kind in SOURCES:
        # A shell makes several names of a pattern without quotes.
        several: dict[str, Any] = {"action": "extend", "nargs": "+"} if kind.repeatable else {}
        source.add_argument(flag_of(kind.kind), metavar=kind.metavar, help=kind.help, **several)
    add = group.add_argument
    add(
        "--limit",
        type=int,
        metavar="N",
        help="only the first N images: of files, folders and globs those whose paths come first, "
        "else those that are named first",
    )
    for option in list_options():
        given: dict[str, Any] = {"metavar": option.metavar, "type": option.parse}
        if option.metavar is None:
            given = {"action": "store_const", "const": True}
        add(flag_of(option.name), help=option.help, **given)
    add("--allow-empty", action="store_true", help="an input without images is no mistake")
    add(
        "--max-file-size",
        type=_size,
        default=DEFAULT_MAX_FILE_SIZE,
        metavar="SIZE",
        help="files of more bytes are failures: 512MB, 2GiB, or bytes (512MiB)",
    )
    add(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help="images of more pixels are failures, as decompression bombs (%(default)s)",
    )


def _add_model(group: Any, precision: str | None) -> None:
    add = group.add_argument
    add(
        "--model",
        default=DEFAULT_MODEL,
        metavar="HANDLE",
        help="TF-Hub or Kaggle URL, or path of a SavedModel, an .onnx file or OpenVINO's .xml "
        "(%(default)s)",
    )
    add_spec(group)
    add("--resize", choices=RESIZE_MODES, help="how images become square (what the model wants)")
    add(
        "--color-profile",
        choices=COLOR_PROFILES,
        help="what becomes of a file's colour profile: ignored, as models are trained, or its "
        "colours converted to sRGB (ignore)",
    )
    add(
        "--precision",
        choices=PRECISIONS,
        default=precision,
        help=f"what the model computes in ({precision or 'all'}); bfloat16 for CPUs with "
        "AVX512_BF16 or AMX, float16 for GPUs, int8 for CPUs with VNNI or AMX (engine openvino, "
        "extra int8)",
    )
    add(
        "--calibration-images",
        metavar="PATTERN",
        help="folder or glob of some 350 images to quantise with for int8 (those of the input)",
    )
    add(
        "--allow-low-fidelity",
        action="store_true",
        help="take an int8 model whose embeddings are far from those in float32",
    )
    add(
        "--engine",
        choices=list(ENGINES),
        help="what runs the model (that of its format); openvino is for CPUs, and needs the extra "
        "openvino; onnxruntime needs the extra onnx",
    )
    add(
        "--xla",
        choices=XLA_CHOICES,
        default="off",
        help="compile the model with XLA, for GPUs (%(default)s); auto keeps what a dataset was "
        "begun with, else times both on a GPU of this machine",
    )
    add(
        "--require-gpu",
        action="store_true",
        help="fail where TensorFlow sees no GPU; always so on Dataflow with a worker_accelerator",
    )
    add(
        "--batch-size",
        type=int,
        default=DEFAULT_BATCH_SIZE,
        metavar="N",
        help="images in a call of the model (%(default)s); does not change the result",
    )


def _add_output(group: Any, required: bool) -> None:
    group.add_argument("--output", required=required, metavar="DIR", help="the dataset's folder")
    existing = group.add_mutually_exclusive_group()
    existing.add_argument(
        "--append",
        action="store_true",
        help="embed only what the dataset lacks, and try earlier failures again",
    )
    existing.add_argument(
        "--overwrite", action="store_true", help="replace a dataset that is there"
    )
    group.add_argument(
        "--rows-per-shard",
        type=int,
        default=config.DEFAULT_ROWS_PER_SHARD,
        metavar="N",
        help="rows in an output file, on average (%(default)s)",
    )


def _add_running(group: Any) -> None:
    add = group.add_argument
    add(
        "--dry-run",
        action="store_true",
        help="say what would be read, by which model and to where; write nothing",
    )
    add(
        "--chunk-size",
        type=int,
        default=config.DEFAULT_CHUNK_SIZE,
        metavar="N",
        help="images in a unit of work and of resume (%(default)s); does not change the result",
    )
    add(
        "--max-failure-ratio",
        type=float,
        default=config.DEFAULT_MAX_FAILURE_RATIO,
        metavar="R",
        help="end with exit code 1 if a larger part of the images fails (%(default)s)",
    )
    loudness = group.add_mutually_exclusive_group()
    loudness.add_argument(
        "--quiet",
        action="store_true",
        help="show warnings and errors only",
    )
    loudness.add_argument(
        "--verbose",
        action="store_true",
        help="name each image that fails, and show the logs of Beam and TensorFlow",
    )
    add(
        "--log-format",
        choices=LOG_FORMATS,
        default=LOG_FORMATS[0],
        help="json: every line of beamvec's own is an object with time, level, event and message, "
        "on standard error; the summary, one on standard output (%(default)s)",
    )
