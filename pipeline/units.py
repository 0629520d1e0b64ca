"""Durations and sizes as people read and write them."""

from __future__ import annotations

import re
from decimal import Decimal

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kmgt])(i?)b?|b?)", re.ASCII | re.IGNORECASE)


def format_duration(seconds: float) -> str:
    """Format a duration with its two largest units.

    >>> format_duration(4.25), format_duration(70), format_duration(7260)
    ('4.2 s', '1 min 10 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def format_size(size_bytes: float) -> str:
    """Format a size with a unit of 1,000s.

    >>> format_size(999), format_size(1_500_000)
    ('999 B', '1.5 MB')
    """
    units = iter(("kB", "MB", "GB", "TB"))
    unit = "B"
    while size_bytes >= 1000 and (larger := next(units, None)):
        size_bytes, unit = size_bytes / 1000, larger
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def parse_size(text: str) -> int:
    """Return the bytes of a size as people write it.

    Raises:
        ValueError: if it is none.

    >>> parse_size("512MB"), parse_size("1.5 GiB"), parse_size("4096")
    (512000000, 1610612736, 4096)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size; write it as 512MB, 2GiB, or bytes")
    number, unit, binary = match.groups()
    power = "kmgt".index(unit.lower()) + 1 if unit else 0
    return int(Decimal(number) * (1024 if binary else 1000) ** power)
