"""Why an intact file cannot be decoded here: `UnsupportedImageError`."""

from __future__ import annotations


class UnsupportedImageError(Exception):
    """A file is none that can be decoded right; it may be intact.

    Args:
        what: what it is, as far as its first bytes tell.
        remedy: what reads it, or what to do; empty where there is nothing to say.
    """

    def __init__(self, what: str, remedy: str = ""):
        super().__init__(f"{what}; {remedy}" if remedy else what)
