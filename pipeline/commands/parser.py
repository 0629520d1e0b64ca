"""The command line: every flag of beamvec's own, and no import of Beam or TensorFlow.

The flags of a command are added when it is used: those of `extract` follow from engines and kinds
of input, which import numpy and pyarrow, and whoever asks for the version does not wait for that.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from beamvec import __version__
from beamvec.errors import ArgumentError
from beamvec.pipeline.commands.flags import add_trust
from beamvec.pipeline.spelling import did_you_mean

DEFAULT_DUPLICATE_COSINE = 0.98

PARENT_FOLDER = "parent-folder"
"""Takes labels for a probe from the folder that an image is in."""

HEADS = ("linear", "mlp")
"""Classifiers for a probe."""

STAGES = ("read", "decode", "infer")
"""Where an image can fail."""

SHELLS = ("bash", "zsh")
"""Those that a script is made for."""


class _Help(argparse.HelpFormatter):
    """Keeps URLs and examples whole, so that they can be copied."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrap(" ".join(text.split()), width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        # Lines that are indented are examples.
        lines = [
            part
            for line in text.splitlines()
            for part in ([line] if line.startswith(" ") else _wrap(line, width - len(indent)))
        ]
        return "\n".join(indent + line for line in lines)


def _wrap(text: str, width: int) -> list[str]:
    found = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return found or [""]


class _Parser(argparse.ArgumentParser):
    """Reports mistakes as `ArgumentError`, in one line.

    Args:
        fill: adds its flags to it, before it is first used.
        options: of `argparse.ArgumentParser`.
    """

    def __init__(self, fill: Callable[[_Parser], None] | None = None, **options: Any):
        super().__init__(**{"formatter_class": _Help, **options})
        self.set_defaults(parser=self)  # So that whoever reports a mistake knows its flags.
        self._words: list[str] = []
        self._fill = fill

    def fill(self) -> _Parser:
        """Return itself with its flags."""
        fill, self._fill = self._fill, None
        if fill:
            fill(self)
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and remember the words in case that one of them is mistyped."""
        self.fill()
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


_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


def build_parser() -> _Parser:
    """Return the parser of all commands; `extract` leaves Beam's own options over."""
    parser = _Parser(
        prog="beamvec",
        description="Turn images into a Parquet dataset of embeddings, on Apache Beam.",
    )
    version = f"beamvec {__version__}"
    parser.add_argument("-V", "--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_extract(commands)
    _add_doctor(commands)
    _add_tune(commands)
    inspect = _add_reader(commands, "inspect", "show what is in a dataset")
    inspect.add_argument("--verify", action="store_true", help="read everything and check it")
    _add_failures(commands)
    _add_search(commands)
    _add_probe(commands)
    _add_duplicates(commands)
    report = _add_reader(commands, "report", "write a page about a dataset to look at")
    report.add_argument("--html", required=True, metavar="FILE", help="the page to write")
    _add_map(commands)
    _add_model(commands)
    _add_help(commands)
    return parser


def fill_all(parser: _Parser) -> _Parser:
    """Return a parser with the flags of all its commands."""
    for action in parser.fill()._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                fill_all(command)
    return parser


def _add_doctor(commands: _Commands) -> None:
    def fill(doctor: _Parser) -> None:
        from beamvec.pipeline.commands.extract_flags import add_job

        add_job(doctor, required=False)

    commands.add_parser(
        "doctor",
        help="check machine, model, input, output and runner before a run",
        allow_abbrev=False,
        usage="beamvec doctor [flags of extract]",
        description="Check what a run needs, a line each: versions, CPU and GPUs, and of what is "
        "given the input, the output, the runner and the model. Takes the flags of `extract`.",
        epilog="exit codes: 0 everything is fit; 2 something is not, and its line says what to do",
        fill=fill,
    )


def _add_tune(commands: _Commands) -> None:
    def fill(tune: _Parser) -> None:
        from beamvec.pipeline.commands.extract_flags import add_trial

        add_trial(tune)

    commands.add_parser(
        "tune",
        help="find the fastest engine, precision and threads of this machine",
        allow_abbrev=False,
        description="Try each engine and precision that this machine has on the first images of an "
        "input, in a minute or two, and tell how fast each is, how near to float32, what sets "
        "the limit, and which flags to copy. An --engine or a --precision leaves out others.",
        epilog="example:\n  beamvec tune --input photos --model lite0 --images 1000000 --price 0.4",
        fill=fill,
    )


def _add_reader(commands: _Commands, name: str, help_: str) -> _Parser:
    """Add a command that reads a finished dataset."""
    reader = commands.add_parser(name, help=help_, description=help_.capitalize() + ".")
    reader.add_argument("dir", metavar="DIR", help="the dataset's folder, local or gs:// or s3://")
    reader.add_argument("--verbose", action="store_true", help="show the whole of an error")
    return reader


def _add_outputs(command: _Parser, page: str) -> None:
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument("--html", metavar="FILE", help=page)


def _add_failures(commands: _Commands) -> None:
    failures = _add_reader(
        commands, "failures", "list the images that could not be embedded, and why"
    )
    form = failures.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV, with all columns")
    form.add_argument("--json", action="store_true", help="print JSON, likewise")
    failures.add_argument(
        "--stage", choices=STAGES, action="append", help="only those of this stage; repeatable"
    )
    failures.add_argument(
        "--copy-to",
        metavar="DIR",
        help="copy their files there, as far as they can be read, out of containers and from URLs "
        "too; no file that is there is changed",
    )
    failures.add_argument(
        "--allow-private-hosts",
        action="store_true",
        help="copy from URLs in private networks and on this machine too",
    )


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


def _add_map(commands: _Commands) -> None:
    map_ = _add_reader(commands, "map", "write a page with a map of the embeddings to explore")
    map_.add_argument("--html", required=True, metavar="FILE", help="the page to write")
    map_.add_argument(
        "--max-rows",
        type=int,
        default=20_000,
        metavar="N",
        help="dots on the map, at most 100,000; of a larger dataset rows spread over all (20,000)",
    )
    map_.add_argument(
        "--pictures",
        type=int,
        default=1_000,
        metavar="N",
        help="how many dots have a picture in the page, 3 kB each (1,000)",
    )


def _add_extract(commands: _Commands) -> None:
    def fill(extract: _Parser) -> None:
        from beamvec.pipeline.commands import extract_flags

        extract.usage = extract_flags.USAGE
        extract.description, extract.epilog = extract_flags.DESCRIPTION, extract_flags.EPILOG
        extract_flags.add_job(extract, required=True)

    commands.add_parser("extract", help="embed images", allow_abbrev=False, fill=fill)


def _add_help(commands: _Commands) -> None:
    """Add what says how to use beamvec; `main` turns `help COMMAND` into `COMMAND --help`."""
    commands.add_parser("help", help="show this, or the help of a command: beamvec help extract")
    completion = commands.add_parser(
        "completion",
        help="write what lets a shell complete beamvec's commands and flags",
        description="Write what lets a shell complete beamvec's commands, flags and their values.",
        epilog="""\
examples:
  beamvec completion bash > ~/.local/share/bash-completion/completions/beamvec
  beamvec completion zsh > ~/.zfunc/_beamvec    (a folder in fpath, before compinit)""",
    )
    completion.add_argument("shell", choices=SHELLS, help="the shell")


def _add_model(commands: _Commands) -> None:
    def fill(model: _Parser) -> None:
        from beamvec.pipeline.commands import model_flags

        actions = model.add_subparsers(dest="action", metavar="ACTION")
        export = actions.add_parser(
            "export", help="make a model that beamvec takes of another kind"
        )
        model_flags.add_export_flags(export)
        check = actions.add_parser("check", help="load a model and tell what it is")
        model_flags.add_check_flags(check)
        spec = actions.add_parser("spec", help="say what a model wants to see, in a file beside it")
        model_flags.add_describe_flags(spec)
        for action in (export, check, spec):
            action.add_argument("--verbose", action="store_true", help="show TensorFlow's logs")

    commands.add_parser("model", help="make or check a model", fill=fill)
