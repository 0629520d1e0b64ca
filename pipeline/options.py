"""The command line: every flag of beamvec's own, and no import of Beam or TensorFlow."""

from __future__ import annotations

import argparse
from typing import NoReturn, TypeAlias

from pipeline import __version__
from transforms import settings


class UsageError(ValueError):
    """A mistake of the user's: shown as one line, exit code 2."""


class _Parser(argparse.ArgumentParser):
    """Reports mistakes as `UsageError`, in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


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
        "--model", metavar="HANDLE", help="where the dataset's model is now, if it has moved"
    )
    _add_outputs(search, "write a contact sheet")


def _add_probe(commands: _Commands) -> None:
    probe = _add_reader(
        commands, "probe", "tell how well classifiers do on the embeddings, by cross-validation"
    )
    probe.add_argument(
        "--labels",
        required=True,
        metavar="COLUMN",
        help=f"a column of the manifest, or {settings.PARENT_FOLDER}",
    )
    probe.add_argument(
        "--head",
        choices=settings.HEADS,
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
        default=settings.DEFAULT_DUPLICATE_COSINE,
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
    source.add_argument(
        "--input",
        action="append",
        metavar="PATTERN",
        help="a file, a folder (recursive) or a quoted glob, local or gs:// or s3://; repeatable",
    )
    source.add_argument("--input-list", metavar="FILE", help="a text file with one URI a line")
    source.add_argument(
        "--manifest", metavar="FILE", help="a .csv or .parquet whose other columns ride along"
    )
    add = command.add_argument
    add("--uri-column", default="uri", metavar="NAME", help="the manifest's column of URIs (uri)")
    add("--output", required=required, metavar="DIR", help="the dataset's folder")
    add(
        "--model",
        default=settings.DEFAULT_MODEL,
        metavar="HANDLE",
        help="TF-Hub URL, Kaggle URL or path of a SavedModel (%(default)s)",
    )
    add(
        "--resize",
        choices=settings.RESIZE_MODES,
        default="stretch",
        help="how images become square (%(default)s)",
    )
    add(
        "--precision",
        choices=settings.PRECISIONS,
        default="float32",
        help="what the model computes in (%(default)s); bfloat16 for CPUs with AVX512_BF16 or AMX, "
        "float16 for GPUs",
    )
    add(
        "--engine",
        choices=settings.ENGINES,
        default="tensorflow",
        help="what runs the model (%(default)s); openvino is for CPUs and needs the extra openvino",
    )
    add(
        "--require-gpu",
        action="store_true",
        help="fail where TensorFlow sees no GPU; always so on Dataflow with a worker_accelerator",
    )
    add(
        "--batch-size",
        type=int,
        default=settings.DEFAULT_BATCH_SIZE,
        metavar="N",
        help="images in a call of the model (%(default)s); does not change the result",
    )
    add(
        "--chunk-size",
        type=int,
        default=settings.DEFAULT_CHUNK_SIZE,
        metavar="N",
        help="images in a unit of work and of resume (%(default)s); does not change the result",
    )
    add(
        "--rows-per-shard",
        type=int,
        default=settings.DEFAULT_ROWS_PER_SHARD,
        metavar="N",
        help="rows in an output file, on average (%(default)s)",
    )
    add(
        "--max-failure-ratio",
        type=float,
        default=settings.DEFAULT_MAX_FAILURE_RATIO,
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
    export = actions.add_parser(
        "export", help="write a SavedModel with the TF-Hub feature vector interface"
    )
    known = ", ".join(f"keras:{name}" for name in settings.KERAS_MODULES)
    export.add_argument("architecture", metavar="ARCHITECTURE", help=known)
    export.add_argument("dir", metavar="DIR", help="the folder to write; must not exist")
    export.add_argument(
        "--weights", default="imagenet", metavar="W", help="imagenet, random or a Keras file"
    )
    export.add_argument("--seed", type=int, default=0, help="fixes random weights (%(default)s)")
    check = actions.add_parser("check", help="load a model and tell what it is")
    check.add_argument("handle", metavar="HANDLE", help="TF-Hub URL, Kaggle URL or path")
    for action in (export, check):
        action.add_argument("--verbose", action="store_true", help="show TensorFlow's logs")
