"""`beamvec completion`: a script with which a shell completes commands, flags and their values.

The script is made once, by shtab: what asks the program at each press of a key would import
pyarrow each time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import shtab

from beamvec.pipeline.commands.parser import build_parser, fill_all
from beamvec.pipeline.terminal import show_script

_FOLDERS = {"DIR"}
_FILES = {"FILE", "FILE.npy", "PATTERN", "HANDLE", "MODEL", "DIR_OR_FILE", "SOURCE"}


def run(args: argparse.Namespace) -> int:
    """Run `beamvec completion` and return its exit code."""
    parser = fill_all(build_parser())
    for action in _list_actions(parser):
        if action.choices is None and action.metavar in _FOLDERS | _FILES:
            found = shtab.DIRECTORY if action.metavar in _FOLDERS else shtab.FILE
            action.complete = found  # type: ignore[attr-defined]  # Where shtab looks for it.
    show_script(shtab.complete(parser, args.shell))
    return 0


def _list_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                yield from _list_actions(command)
