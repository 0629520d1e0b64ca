"""What the commands print; nothing else of this package prints.

Names of files, values of `run.json` and messages are others' words. On a terminal they could move
the cursor, forge lines or hide text, so what is not printable is shown as an escape.
"""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO


def show(*lines: str) -> None:
    """Print lines on standard output."""
    _write(sys.stdout, lines, "\n")


def show_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    text = json.dumps(value, indent=2)  # In ASCII, with escapes for all control characters but one.
    print(text.replace("\x7f", "\\u007f"))


def warn(*lines: str, end: str = "\n") -> None:
    """Print lines on standard error, at once."""
    _write(sys.stderr, lines, end)


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


def _write(stream: TextIO, lines: tuple[str, ...], end: str) -> None:
    text = "\n".join(map(make_printable, lines))
    encoding = getattr(stream, "encoding", None) or "utf-8"
    # Not every terminal, and no log in ASCII, can show every character that is printable.
    known = text.encode(encoding, "backslashreplace").decode(encoding)
    print(known, end=end, file=stream, flush=True)
