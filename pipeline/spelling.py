"""What somebody may have meant who has mistyped a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_NEAR = 0.7
"""How much of two words must agree; with less, --runner would be taken for --engine."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint at the known word that is nearest, empty if none is near.

    >>> did_you_mean("--apend", ["--append", "--input"])
    '; did you mean --append?'
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=_NEAR)
    return f"; did you mean {near[0]}?" if near else ""
