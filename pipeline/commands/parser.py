"""The command line: every flag of beamvec's own, and no import of Beam or TensorFlow."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn, TypeAlias

from beamvec import __version__
from beamvec.errors import ArgumentError
from beamvec.pipeline.commands.model_flags import (
    add_check_flags,
    add_describe_flags,
    add_export_flags,
    add_spec,
    add_trust,
)
from beamvec.pipeline.run import config
from beamvec.pipeline.spelling import did_you_mean
from beamvec.pipeline.units import parse_size
from beamvec.transforms.decoding.limits import DEFAULT_MAX_FILE_SIZE, MAX_PIXELS
from beamvec.transforms.decoding.resize import COLOR_PROFILES, RESIZE_MODES
from beamvec.transforms.inference.config import DEFAULT_BATCH_SIZE, DEFAULT_MODEL
from beamvec.transforms.inference.engine import PRECISIONS, XLA_CHOICES
from beamvec.transforms.inference.registry import ENGINES
from beamvec.transforms.inputs.registry import SOURCES, list_options

DEFAULT_DUPLICATE_COSINE = 0.98

PARENT_FOLDER = "parent-folder"
"""Takes labels for a probe from the folder that an image is in."""

HEADS = ("linear", "mlp")
"""Classifiers for a probe."""


class _Parser(argparse.ArgumentParser):
    """Reports mistakes as `ArgumentError`, in one line."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.set_defaults(parser=self)  # So that whoever reports a mistake knows its flags.
        self._words: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and remember the words in case that one of them is mistyped."""
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._words, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise `ArgumentError`; what is missing may be there, but mistyped."""
        for word in self._words if "required" in message else ():
            flag, known = word.split("=")[0], self.flags.values()
            if flag.startswith("--") and flag not in known and (hint := did_you_mean(flag, known)):
                raise ArgumentError(f"unknown argument {word}{hint}")
        raise ArgumentError(f"{message}; see `{self.prog} --help`")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print, and raise what argparse would drop: that nobody reads it, or a disk is full."""
        (file or sys.stderr).write(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the nearest of the choices, which argparse itself does not."""
        if action.choices is not None and value not in action.choices:
            known = list(action.choices)
            hint = did_you_mean(str(value), known) or f"; choose from {', '.join(known)}"
            raise argparse.ArgumentError(action, f"there is no {value!r}{hint}")

    @property
    def flags(self) -> dict[str, str]:
        """The flag of each argument that it has, by the argument's name in Python."""
        return {
            action.dest: action.option_strings[-1]
            for action in self._actions
            if action.option_strings
        }


def flag_of(argument: str) -> str:
    """Return the flag of an argument.

    >>> flag_of("input_list")
    '--input-list'
    """
    return "--" + argument.replace("_", "-")


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


def build_parser() -> _Parser:
    """Return the parser of all commands; `extract` leaves Beam's own options over."""
    parser = _Parser(
        prog="beamvec",
        description="Turn images into a Parquet dataset of embeddings, on Apache Beam.",
    )
    parser.add_argument("--version", action="version", version=f"beamvec {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_extract(commands)
    doctor = commands.add_parser(
        "doctor",
        help="check machine, model, input, output and runner before a run",
        allow_abbrev=False,
        description="Check what a run needs, a line each: versions, CPU and GPUs, and of what is "
        "given the input, the output, the runner and the model. Takes the flags of `extract`.",
        epilog="exit codes: 0 everything is fit; 2 something is not, and its line says what to do",
    )
    _add_job(doctor, required=False)
    inspect = _add_reader(commands, "inspect", "show what is in a dataset")
    inspect.add_argument("--verify", action="store_true", help="read everything and check it")
    _add_search(commands)
    _add_probe(commands)
    _add_duplicates(commands)
    report = _add_reader(commands, "report", "write a page about a dataset to look at")
    report.add_argument("--html", required=True, metavar="FILE", help="the page to write")
    _add_model(commands)
    return parser


def _add_reader(commands: _Commands, name: str, help_: str) -> _Parser:
    """Add a command that reads a finished dataset."""
    reader = commands.add_parser(name, help=help_, description=help_.capitalize() + ".")
    reader.add_argument("dir", metavar="DIR", help="the dataset's folder, local or gs:// or s3://")
    reader.add_argument("--verbose", action="store_true", help="show the whole of an error")
    return reader


def _add_outputs(command: _Parser, page: str) -> None:
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument("--html", metavar="FILE", help=page)


def _add_search(commands: _Commands) -> None:
    search = _add_reader(commands, "search", "find the nearest images, by cosine")
    query = search.add_mutually_exclusive_group(required=True)
    query.add_argument(
        "--image", action="append", metavar="FILE", help="an image to look for; repeatable"
    )
    query.add_argument(
        "--uri", action="append", metavar="URI", help="an image of the dataset; repeatable"
    )
    search.add_argument(
        "--k", type=int, default=10, metavar="N", help="how many to find (%(default)s)"
    )
    search.add_argument(
        "--model",
        metavar="HANDLE",
        help="the model that made the dataset, for --image. A model is code: one that a dataset "
        "names is loaded only if you name it here, or if it is the default of `extract`",
    )
    add_trust(search)
    _add_outputs(search, "write a contact sheet")


def _add_probe(commands: _Commands) -> None:
    probe = _add_reader(
        commands, "probe", "tell how well classifiers do on the embeddings, by cross-validation"
    )
    probe.add_argument(
        "--labels",
        required=True,
        metavar="COLUMN",
        help=f"a column of the manifest, or {PARENT_FOLDER}",
    )
    probe.add_argument(
        "--head",
        choices=HEADS,
        default="linear",
        help="linear: logistic regression; mlp: with a dense layer of 1024 units (%(default)s)",
    )
    probe.add_argument(
        "--folds", type=int, default=5, metavar="N", help="of cross-validation (%(default)s)"
    )
    _add_outputs(probe, "write a page with the confusion matrix and the worst mistakes")


def _add_duplicates(commands: _Commands) -> None:
    duplicates = _add_reader(commands, "duplicates", "find groups of equal and similar images")
    duplicates.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_DUPLICATE_COSINE,
        metavar="C",
        help="images with at least this cosine are similar (%(default)s)",
    )
    _add_outputs(duplicates, "write a contact sheet of the groups")


def _add_extract(commands: _Commands) -> None:
    extract = commands.add_parser(
        "extract",
        help="embed images",
        allow_abbrev=False,
        description="Embed images into a Parquet dataset. Options of Beam, such as --runner, pass "
        "through. The same command, started again after any stop, goes on where it stopped.",
        epilog="exit codes: 0 done; 1 done, but more images failed than --max-failure-ratio "
        "allows; 2 wrong usage or configuration, before any work starts; 3 the pipeline failed",
    )
    _add_job(extract, required=True)


def _add_job(command: _Parser, required: bool) -> None:
    """Add what tells a run what to do; input and output may be left out if not required."""
    source = command.add_mutually_exclusive_group(required=required)
    for kind in SOURCES:
        # A shell makes several names of a pattern without quotes.
        several: dict[str, Any] = {"action": "extend", "nargs": "+"} if kind.repeatable else {}
        source.add_argument(flag_of(kind.kind), metavar=kind.metavar, help=kind.help, **several)
    add = command.add_argument
    for option in list_options():
        given: dict[str, Any] = {"metavar": option.metavar, "type": option.parse}
        if option.metavar is None:
            given = {"action": "store_const", "const": True}
        add(flag_of(option.name), help=option.help, **given)
    add("--allow-empty", action="store_true", help="an input without images is no mistake")
    add("--output", required=required, metavar="DIR", help="the dataset's folder")
    add(
        "--model",
        default=DEFAULT_MODEL,
        metavar="HANDLE",
        help="TF-Hub or Kaggle URL, or path of a SavedModel, an .onnx file or OpenVINO's .xml "
        "(%(default)s)",
    )
    add_spec(command)
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
        default="float32",
        help="what the model computes in (%(default)s); bfloat16 for CPUs with AVX512_BF16 or AMX, "
        "float16 for GPUs, int8 for CPUs with VNNI or AMX (engine openvino, extra int8)",
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
    add(
        "--chunk-size",
        type=int,
        default=config.DEFAULT_CHUNK_SIZE,
        metavar="N",
        help="images in a unit of work and of resume (%(default)s); does not change the result",
    )
    add(
        "--rows-per-shard",
        type=int,
        default=config.DEFAULT_ROWS_PER_SHARD,
        metavar="N",
        help="rows in an output file, on average (%(default)s)",
    )
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
    add(
        "--max-failure-ratio",
        type=float,
        default=config.DEFAULT_MAX_FAILURE_RATIO,
        metavar="R",
        help="end with exit code 1 if a larger part of the images fails (%(default)s)",
    )
    existing = command.add_mutually_exclusive_group()
    existing.add_argument(
        "--append",
        action="store_true",
        help="embed only what the dataset lacks, and try earlier failures again",
    )
    existing.add_argument(
        "--overwrite", action="store_true", help="replace a dataset that is there"
    )
    add("--verbose", action="store_true", help="show the logs of Beam and TensorFlow")


def _add_model(commands: _Commands) -> None:
    model = commands.add_parser("model", help="make or check a model")
    actions = model.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = actions.add_parser("export", help="make a model that beamvec takes of another kind")
    add_export_flags(export)
    check = actions.add_parser("check", help="load a model and tell what it is")
    add_check_flags(check)
    spec = actions.add_parser("spec", help="say what a model wants to see, in a file beside it")
    add_describe_flags(spec)
    for action in (export, check, spec):
        action.add_argument("--verbose", action="store_true", help="show TensorFlow's logs")
