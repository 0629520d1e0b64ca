"""Causes: what failures have in common, whatever numbers and names their messages have."""

from __future__ import annotations

import re

_VARYING = re.compile(
    r"""
    \[Errno\ -?\d+\]                            # What the system calls an error,
    | (?<![\w.])b?'[^']*' | "[^"]*" | `[^`]*`   # names in quotes,
    | \b\w+://\S+ | (?<!\w)/\S*                 # URIs and paths,
    | \([^()]*\d[^()]*\)                        # what is in brackets and has a number,
    | 0x[0-9a-f]+ | \d[\d,.]*\d | \d            # and numbers.
    """,
    re.VERBOSE,
)
_MOST_CHARACTERS = 120


def name_cause(message: str) -> str:
    """Return the part of a failure's message that others of the same cause share.

    >>> name_cause("image file is truncated (17 bytes not processed)")
    'image file is truncated'
    >>> name_cause("9000 x 30000 is more than the 178,956,970 pixels of --max-pixels")
    '… x … is more than the … pixels of --max-pixels'
    """
    shared = _VARYING.sub(_replace, message)
    words = " ".join(shared.split()).replace(" ;", ";").removesuffix(": …")
    return words if len(words) <= _MOST_CHARACTERS else words[:_MOST_CHARACTERS].rpartition(" ")[0]


def _replace(found: re.Match[str]) -> str:
    text = found[0]
    if text.startswith("`"):  # A command, or a flag.
        return text
    return "" if text.startswith(("(", "[")) else "…"
