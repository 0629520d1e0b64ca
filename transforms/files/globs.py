"""Globs: what `*`, `**`, `?` and `[...]` match, in local paths and in URIs alike."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"\*\*/|\*\*|\*|\?|\[((?:!|(?!!))(?:\][^\]]*|[^\]]+))\]")

IS_GLOB = re.compile(r"[*?\[]")


def compile_glob(pattern: str) -> re.Pattern[str]:
    r"""Return what matches the whole of each path that a glob means.

    `*` and `?` stay within a folder, `**` does not, and `**/` at the start of a name is no folder
    or more, as in Python, bash and gsutil. There is no way to quote but `[*]`; a backslash is a
    letter as any other.

    >>> bool(compile_glob("photos/**/*.jpg").fullmatch("photos/a.jpg"))
    True
    >>> bool(compile_glob("photos/*").fullmatch("photos/a/b.jpg"))
    False
    """
    parts, at = [], 0
    for match in _SPECIAL.finditer(pattern):
        parts += [re.escape(pattern[at : match.start()]), _translate(match, pattern)]
        at = match.end()
    return re.compile("".join([*parts, re.escape(pattern[at:])]), re.DOTALL)


def _translate(match: re.Match[str], pattern: str) -> str:
    word = match[0]
    before = pattern[: match.start()]
    if word == "**/" and (before.endswith("/") or not before):
        return "(?:.*/)?"
    if word in ("**", "**/"):
        return ".*" + word[2:]
    if word in ("*", "?"):
        return "[^/]" + ("*" if word == "*" else "")
    negated, members = match[1][:1] == "!", match[1].removeprefix("!")
    escaped = re.sub(r"([\\^\[&~|\]])", r"\\\1", members)
    found = f"[^/{escaped}]" if negated else f"[{escaped}]"
    try:
        re.compile(found)
    except re.error:  # A range that ends before it begins.
        return "(?!)"
    return found
