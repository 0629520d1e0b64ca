"""What the owner of an image says about its use: the header `X-Robots-Tag`."""

from __future__ import annotations

import re
from collections.abc import Iterable

REFUSALS = ("noai", "noimageai")
"""Directives by which owners refuse that a model sees their images."""

_TOKEN = re.compile(r"[\w*.-]+", re.ASCII)
# Directives that have a colon of their own.
_WITH_VALUE = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


def product_of(user_agent: str) -> str:
    """Return the name that a user agent goes by, in lower case.

    >>> product_of("beamvec/1.0 (of a museum)")
    'beamvec'
    """
    return re.split(r"[/\s]", user_agent, maxsplit=1)[0].lower()


def find_refusal(headers: Iterable[str], product: str) -> str | None:
    """Return the directive that refuses an image to us, None if there is none.

    Args:
        headers: the values of `X-Robots-Tag`. In each, what follows `name:` is for that agent only.
        product: the name of ours, in lower case.

    >>> find_refusal(["noindex, noai"], "beamvec"), find_refusal(["otherbot: noai"], "beamvec")
    ('noai', None)
    """
    for header in headers:
        agent = "*"
        for part in header.lower().split(","):
            name, colon, rest = (piece.strip() for piece in part.partition(":"))
            if colon and name not in _WITH_VALUE and _TOKEN.fullmatch(name):
                agent, directive = name, rest
            else:
                directive = part.strip()
            if directive in REFUSALS and agent in ("*", product):
                return directive
    return None
