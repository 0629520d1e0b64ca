"""The command line as a whole: what is mistyped, exit codes, what is left to Beam."""

from __future__ import annotations

import subprocess
import sys

import pytest

from beamvec import __version__
from beamvec.errors import DatasetError, ModelError, OutputError, PipelineError
from beamvec.pipeline.commands import inspect
from beamvec.pipeline.commands.main import main

GIVEN = ["--input", "photos", "--output", "out"]


def complain(capsys, command: list[str]) -> str:
    """Run a command that must end with 2 and one line, and return that line."""
    assert main(command) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("beamvec: ")
    assert shown.err.count("\n") == 1
    return shown.err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["extract", *GIVEN, "--apend"], "unknown argument --apend; did you mean --append?"),
        (["extract", *GIVEN, "--overwrit"], "argument --overwrit; did you mean --overwrite?"),
        (["extract", "--imput", "a", *GIVEN], "unknown argument --imput; did you mean --input?"),
        (["extract", *GIVEN, "--imput=a"], "unknown argument --imput=a; did you mean --input?"),
        (["extract", *GIVEN, "--runer", "x"], "unknown argument --runer; did you mean --runner?"),
        (["extract", *GIVEN, "--resize", "strech"], "no 'strech'; did you mean stretch?"),
        (["extract", *GIVEN, "--engine", "tensorflw"], "did you mean tensorflow?"),
        (["extarct", *GIVEN], "there is no 'extarct'; did you mean extract?"),
        (["inspct", "out"], "there is no 'inspct'; did you mean inspect?"),
        (["inspect", "out", "--verfy"], "unknown argument --verfy; did you mean --verify?"),
        (["inspect", "out", "--what"], "unknown argument --what; see `beamvec --help`"),
        (["model", "chek", "m"], "there is no 'chek'; did you mean check?"),
        (["probe", "out", "--labels", "l", "--head", "x"], "choose from linear, mlp"),
        (["extract", *GIVEN, "--append", "--overwrite"], "--overwrite: not allowed with"),
        (["extract", "--output", "out"], "one of the arguments --input --input-list --manifest"),
        (["extract", "--imput", "a", "--output", "o"], "argument --imput; did you mean --input?"),
        (["extract", "--manifst=a", "--output", "o"], "--manifst=a; did you mean --manifest?"),
        (["extract", "--input", "a", "--ouput", "o"], "--ouput; did you mean --output?"),
        (["extract", "--input", "a", "--project", "p"], "arguments are required: --output"),
        (["report", "out", "--htm1", "p"], "--htm1; did you mean --html?"),
        ([], "COMMAND"),
    ],
)
def test_what_is_mistyped_ends_with_2_and_a_hint(command, told, capsys):
    assert told in complain(capsys, command)


@pytest.mark.parametrize(
    ("error", "code"),
    [(DatasetError, 2), (OutputError, 2), (ModelError, 2), (PipelineError, 3)],
)
def test_every_error_of_ours_has_its_exit_code(error, code, monkeypatch, capsys):
    def fail(_):
        raise error("this and that, see https://user:secret@host/x")

    monkeypatch.setattr(inspect, "run", fail)
    assert main(["inspect", "out"]) == code
    assert capsys.readouterr().err == "beamvec: this and that, see https://host/x\n"


def test_an_error_that_is_not_ours_is_not_hidden(monkeypatch):
    def fail(_):
        raise ZeroDivisionError

    monkeypatch.setattr(inspect, "run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["inspect", "out"])


def test_ctrl_c_ends_with_130(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect, "run", interrupt)
    assert main(["inspect", "out"]) == 130
    assert capsys.readouterr().err == "beamvec: stopped\n"


@pytest.mark.parametrize("module", ["beamvec", "beamvec.pipeline.commands.main"])
def test_the_command_is_there_as_a_module(module):
    command = [sys.executable, "-m", module, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"beamvec {__version__}\n"


def test_its_exit_code_is_that_of_the_process():
    command = [sys.executable, "-m", "beamvec", "inspect", "/nowhere"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
