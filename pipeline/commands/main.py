"""The command `beamvec`, also `python -m beamvec`; see `start` for what comes before.

Only what is light is imported at the top, so that Ctrl-C finds `main` at work.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

from beamvec.errors import (
    ArgumentError,
    BeamvecError,
    ExportError,
    PipelineError,
    TooManyFailuresError,
)
from beamvec.pipeline.commands.flags import name_flags
from beamvec.pipeline.commands.signals import code_of_stop, heed_signals
from beamvec.pipeline.commands.streams import is_cut_off, open_streams, settle_streams
from beamvec.pipeline.silence import silence, speak
from beamvec.pipeline.terminal import busy, idle, log_json, warn
from beamvec.redact import redact

_TAKE_BEAM_FLAGS = ("extract", "doctor")
_PRINT_AT_ONCE = ("completion", "doctor")
_LOAD_MUCH = (*_TAKE_BEAM_FLAGS, "model", "tune")

_CUT_OFF = 128 + 13
"""What a shell shows for a command that SIGPIPE has ended."""


class _CommandLine:
    """A command, and what is known of it when it fails."""

    def __init__(self) -> None:
        self.flags: dict[str, str] = {}
        self.verbose = False
        self.logs_json = False

    def run(self, argv: Sequence[str] | None) -> int:
        """Parse the arguments and run the command."""
        from beamvec.pipeline.commands.parser import build_parser
        from beamvec.pipeline.spelling import did_you_mean
        from beamvec.transforms.machine import without_extras

        parser = build_parser()
        self.flags = parser.flags
        words = list(sys.argv[1:] if argv is None else argv)
        if words[:1] == ["help"]:
            words = [*words[1:], "--help"]
        try:
            args, rest = parser.parse_known_args(words)
        except SystemExit:  # The end of --help and --version.
            sys.stdout.flush()
            raise
        self.flags = args.parser.flags
        takes_beam_flags = args.command in _TAKE_BEAM_FLAGS
        if rest and not takes_beam_flags:
            hint = did_you_mean(rest[0].split("=")[0], self.flags.values())
            raise ArgumentError(f"unknown argument {rest[0]}{hint or '; see `beamvec --help`'}")
        if args.command is None or getattr(args, "action", "") is None:
            args.parser.print_help(sys.stderr)
            return 2
        self.verbose = getattr(args, "verbose", False)
        self.logs_json = getattr(args, "log_format", "") == "json"
        (speak if self.verbose else silence)()
        is_loud = not (getattr(args, "quiet", False) or self.logs_json)
        if is_loud and args.command not in _PRINT_AT_ONCE:
            busy("starting")
        # Without flags of Beam's its local runner does the work; with --verbose Beam tells what is
        # missing.
        with contextlib.nullcontext() if rest or self.verbose else without_extras():
            module = _import_command(args.command)
            code: int = module.run(args, rest) if takes_beam_flags else module.run(args)
        return code


def _import_command(name: str) -> ModuleType:
    # Each command imports what it needs: help and inspect answer without Beam and TensorFlow.
    import importlib

    if name in _LOAD_MUCH:
        from beamvec.transforms.machine import check_machine

        check_machine()
    return importlib.import_module(f"beamvec.pipeline.commands.{name}")


def main(argv: Sequence[str] | None = None, heed_ctrl_c: bool = False) -> int:
    """Run a command and return its exit code, whatever happens.

    Args:
        argv: the command line without the program's name; None takes it from the process.
        heed_ctrl_c: whether Ctrl-C had its plain effect until now.
    """
    with heed_signals(heed_ctrl_c):
        return _run(_CommandLine(), argv)


def _run(command: _CommandLine, argv: Sequence[str] | None) -> int:
    try:
        open_streams()
        code = command.run(argv)
        sys.stdout.flush()
        return code
    except BeamvecError as error:
        _complain(name_flags(str(error), command.flags), command.logs_json)
        return _exit_code(error)
    except KeyboardInterrupt:
        code = code_of_stop()
        _complain("stopped", command.logs_json)
        return code
    except Exception as error:  # noqa: BLE001 A user gets a line, and an exit code that is true.
        if isinstance(error, BrokenPipeError) and any(map(is_cut_off, (sys.stdout, sys.stderr))):
            return _CUT_OFF
        if command.verbose:
            trace = "".join(traceback.format_exception(error))
            if command.logs_json:
                log_json("traceback", trace)
            else:
                warn(*trace.splitlines())
        _complain(redact(_explain(error)), command.logs_json)
        return 3
    finally:
        with contextlib.suppress(OSError):
            idle()
        settle_streams()


def _complain(text: str, as_json: bool) -> None:
    with contextlib.suppress(OSError):  # Nobody reads it; the exit code says it too.
        if as_json:
            log_json("error", text, "error")
        else:
            warn(f"beamvec: {text}")


def _exit_code(error: BeamvecError) -> int:
    if isinstance(error, TooManyFailuresError):
        return 1
    return 3 if isinstance(error, PipelineError | ExportError) else 2


def _explain(error: Exception) -> str:
    """Explain in a line an error that no part of beamvec expects."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"memory does not suffice{text and f' ({text})'}; free some, or raise its limit"
    if isinstance(error, OSError):
        return text or type(error).__name__
    return (
        f"{type(error).__name__}: {text or 'no message'}; beamvec did not expect that: please "
        "report it as a bug, with the whole error, which --verbose shows"
    )


if __name__ == "__main__":
    sys.exit(main())
