"""The command line as a whole: what is mistyped, exit codes, what is left to Beam."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import hash_files

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
        (["extract", *GIVEN, "--max-file-size", "much"], "'much' is no size; write it as 512MB,"),
        (["extract", *GIVEN, "--max-file-size", "0"], "--max-file-size 0 is out of range"),
        (["help", "extarct"], "there is no 'extarct'; did you mean extract?"),
        (["--verson"], "unknown argument --verson; did you mean --version?"),
        (["extract", *GIVEN, "--limit", "0"], "--limit 0 is out of range; it takes at least 1"),
        (["extract", "--input", "my photos", "--output", "o"], "--input 'my photos': no such file"),
    ],
)
def test_what_is_mistyped_ends_with_2_and_a_hint(command, told, capsys):
    assert told in complain(capsys, command)


@pytest.mark.parametrize(("command", "usage"), [([], "COMMAND"), (["model"], "model [-h] ACTION")])
def test_a_command_that_is_left_out_ends_with_2_and_the_help(command, usage, capsys):
    assert main(command) == 2
    shown = capsys.readouterr()
    assert (shown.out, usage in shown.err) == ("", True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["help"], "usage: beamvec [-h]"),
        (["help", "extract"], "usage: beamvec extract"),
        (["help", "model", "check"], "usage: beamvec model check"),
        (["-V"], f"beamvec {__version__}"),
    ],
)
def test_help_and_version_as_people_type_them(words, told, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(told)


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


FULL = OSError(errno.ENOSPC, "No space left on device", "out/_lock")
BUG = (
    "; beamvec did not expect that: please report it as a bug, with the whole error, which "
    "--verbose shows"
)
STRANGE = [
    (FULL, "[Errno 28] No space left on device: 'out/_lock'"),
    (OSError(), "OSError"),
    (MemoryError(), "memory does not suffice; free some, or raise its limit"),
    (MemoryError("1 GB"), "memory does not suffice (1 GB); free some, or raise its limit"),
    (
        KeyError("a"),
        f"KeyError: 'a'{BUG}",
    ),
    (
        RuntimeError("one\ntwo https://me:secret@host/x"),
        f"RuntimeError: one two https://host/x{BUG}",
    ),
]


@pytest.mark.parametrize("flags", [[], ["--verbose"]])
@pytest.mark.parametrize(("error", "told"), STRANGE)
def test_an_error_that_nobody_expects_ends_with_3_and_one_line(
    error, told, flags, monkeypatch, capsys
):
    def fail(_):
        raise error

    monkeypatch.setattr(inspect, "run", fail)
    assert main(["inspect", "out", *flags]) == 3
    *trace, line = capsys.readouterr().err.splitlines()
    assert line == f"beamvec: {told}"
    assert trace[:1] == (["Traceback (most recent call last):"] if flags else [])


BEAMVEC = [sys.executable, "-m", "beamvec"]


@pytest.fixture
def finished(extract, photos, tmp_path):
    """A finished dataset."""
    extract("--input", photos / "group0")
    return tmp_path / "out"


def run_shell(script: str, *arguments: str | Path) -> subprocess.CompletedProcess:
    """Run a script of bash in which `$0` and all that follows is beamvec."""
    return subprocess.run(
        ["bash", "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", [["--help"], ["inspect", "{dir}"]])
@pytest.mark.parametrize("reader", ["true", "sleep 0"])
def test_output_that_nobody_reads_is_no_error(command, reader, finished):
    words = [word.format(dir=finished) for word in command]
    done = run_shell(f'"$0" "$@" | {reader}; exit ${{PIPESTATUS[0]}}', *BEAMVEC, *words)
    assert done.returncode in (0, 141)  # It may have been read before it was closed.
    assert done.stderr == ""


@pytest.mark.parametrize("command", [["--help"], ["inspect", "{dir}"]])
def test_output_that_is_cut_off_ends_with_141(command, finished):
    words = [word.format(dir=finished) for word in command]
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [*BEAMVEC, *words], stdout=theirs, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_run_whose_summary_is_cut_off_has_made_its_dataset(photos, model_path, tmp_path):
    words = ["extract", "--input", photos / "group0", "--model", model_path]
    words += ["--output", tmp_path / "out"]
    done = run_shell('"$0" "$@" 2>/dev/null | true; exit ${PIPESTATUS[0]}', *BEAMVEC, *words)
    assert (done.returncode, done.stderr) == (141, "")
    assert (tmp_path / "out" / "_SUCCESS").exists()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_change_nothing(closed, finished, photos, model_path, tmp_path):
    given = ["--input", photos / "group0", "--model", model_path, "--output", tmp_path / "again"]
    for words in (["inspect", finished], ["extract", "--quiet", *given]):
        done = run_shell(f'"$0" "$@" {closed}', *BEAMVEC, *words)
        assert (done.returncode, done.stderr) == (0, "")
    assert hash_files(tmp_path / "again") == hash_files(finished)


def test_an_error_that_cannot_be_told_has_its_exit_code():
    assert run_shell('"$0" "$@" 2>&-', *BEAMVEC, "inspect", "/nowhere").returncode == 2
    assert run_shell('"$0" "$@" 2>/dev/full', *BEAMVEC, "inspect", "/nowhere").returncode == 2


@pytest.mark.parametrize("command", [["--help"], ["inspect", "{dir}"]])
def test_a_full_disk_under_the_output_ends_with_3(command, finished):
    words = [word.format(dir=finished) for word in command]
    done = run_shell('"$0" "$@" >/dev/full', *BEAMVEC, *words)
    assert done.returncode == 3
    assert done.stderr == "beamvec: [Errno 28] No space left on device\n"


def test_ctrl_c_ends_with_130(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect, "run", interrupt)
    assert main(["inspect", "out"]) == 130
    assert capsys.readouterr().err == "beamvec: stopped\n"


def test_sigterm_is_heeded_as_ctrl_c_is(monkeypatch, capsys):
    def end(_):
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(inspect, "run", end)
    assert main(["inspect", "out"]) == 143
    assert capsys.readouterr().err == "beamvec: stopped\n"
    assert signal.getsignal(signal.SIGTERM) == before


# Before it, Python's own start raises for Ctrl-C what nobody can catch.
STARTED = """
import signal, sys
from beamvec.pipeline.commands import start
print(flush=True)
sys.stdin.readline()
import pyarrow.parquet
sys.exit(start.run())
"""


def test_ctrl_c_while_the_command_is_imported_ends_without_a_traceback():
    run = subprocess.Popen(
        [sys.executable, "-c", STARTED, "inspect", "/nowhere"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    run.stdout.readline()
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(b"\n")
    assert (run.returncode, error) == (-signal.SIGINT, b"")


IGNORED = """
import signal
from beamvec.pipeline.commands import start
assert start.run() == 2
print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
"""


def test_where_ctrl_c_is_turned_off_it_stays_so():
    run = subprocess.run(
        [sys.executable, "-c", IGNORED, "inspect", "/nowhere"],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert run.stdout == "True\n"


@pytest.mark.parametrize("module", ["beamvec", "beamvec.pipeline.commands.main"])
def test_the_command_is_there_as_a_module(module):
    command = [sys.executable, "-m", module, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"beamvec {__version__}\n"


def test_its_exit_code_is_that_of_the_process():
    command = [sys.executable, "-m", "beamvec", "inspect", "/nowhere"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
