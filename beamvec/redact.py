"""Keeping secrets out of what is shown and written."""

from __future__ import annotations

import re

# No scheme is longer; without a bound, a long word is searched again from each of its letters.
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}://)(?:[^\s/@'\"]*@)?(?P<rest>[^\s'\"`]*)", re.ASCII
)


def redact(text: str) -> str:
    """Remove user names and passwords from the URLs in a text, and queries of http and https.

    In other schemes a question mark belongs to the path, or is a pattern's.

    >>> redact("cannot fetch https://user:password@host/model?token=1: 404")
    'cannot fetch https://host/model: 404'
    >>> redact("s3://bucket/a?.jpg")
    's3://bucket/a?.jpg'
    """
    return _URL.sub(_redact_url, text)


def _redact_url(match: re.Match[str]) -> str:
    scheme, rest = match["scheme"], match["rest"]
    if scheme.lower() in ("http://", "https://"):
        path = re.split("[?#]", rest, maxsplit=1)[0]
        end = rest[len(rest.rstrip(".,;:)")) :]
        rest = path if path.endswith(end) else path + end
    return scheme + rest
