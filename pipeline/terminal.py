"""What the commands print; nothing else of this package prints.

Names of files, values of `run.json` and messages are others' words. On a terminal they could move
the cursor, forge lines or hide text, so what is not printable is shown as an escape.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import sys
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any, TextIO

from beamvec.pipeline.status import Status


def show(*lines: str) -> None:
    """Print lines on standard output; what a command was busy with is over."""
    idle()
    _write(sys.stdout, lines, "\n")


def show_json(value: Any, in_a_line: bool = False) -> None:
    """Print a value as JSON on standard output."""
    indent = None if in_a_line else 2
    # In ASCII, with escapes for all control characters but one.
    text = json.dumps(value, indent=indent)
    idle()
    print(text.replace("\x7f", "\\u007f"))


def show_csv(names: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table as CSV on standard output, for another program; on a terminal, printable."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    idle()
    if sys.stdout.isatty():
        show(*text.getvalue().splitlines())
    else:
        print(text.getvalue(), end="")


def show_script(text: str) -> None:
    """Print a text of beamvec's own on standard output as it is, for another program."""
    print(text)


def warn(*lines: str, end: str = "\n") -> None:
    """Print lines on standard error, at once."""
    _write(sys.stderr, lines, end)


def log_json(event: str, message: str, level: str = "info", **values: Any) -> None:
    """Print a line of a log on standard error, at once: a JSON object.

    Args:
        event: what kind of line it is, such as `progress`.
        message: the line as people read it.
        level: info, warning or error.
        values: what else is known, as JSON has it.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    line = {"time": now, "level": level, "event": event, "message": message, **values}
    print(json.dumps(line).replace("\x7f", "\\u007f"), file=sys.stderr, flush=True)


def make_printable(line: str) -> str:
    r"""Return a line of text with escapes in place of characters that are not printable.

    >>> make_printable("caf\u00e9\x1b[2J\n")
    'café\\x1b[2J\\n'
    """
    if line.isprintable():
        return line
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in line
    )


def _write_status(text: str, end: str) -> None:
    _print(_open_terminal() or sys.stderr, (text,), end)


@functools.cache
def _open_terminal() -> TextIO | None:
    """Open the terminal of standard error once more, None if it is none.

    While TensorFlow is imported, for some seconds, standard error itself leads nowhere.
    """
    stream: TextIO = sys.stderr
    if stream is not sys.__stderr__ or not stream.isatty():
        return None
    number = os.dup(stream.fileno())
    return open(number, "w", encoding=stream.encoding, errors="backslashreplace")


_STATUS = Status(_write_status)


def busy(text: str) -> None:
    """Tell on standard error what goes on, until the next call, a line of another kind or `idle`.

    On a terminal the line counts the seconds; elsewhere there is one only if it takes long.
    """
    _open_terminal()
    _STATUS.begin(text)


def idle() -> None:
    """Tell nothing any more; other lines follow."""
    _STATUS.end()


def _write(stream: TextIO, lines: tuple[str, ...], end: str) -> None:
    _STATUS.clear()
    _print(stream, lines, end)


def _print(stream: TextIO, lines: tuple[str, ...], end: str) -> None:
    text = "\n".join(map(make_printable, lines))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    # Not every terminal, and no log in ASCII, can show every character that is printable.
    known = text.encode(encoding, "backslashreplace").decode(encoding)
    print(known, end=end, file=stream, flush=True)
