"""Numbers with the noun that they count, as people read them."""

from __future__ import annotations


def counted(number: int, one: str, several: str = "") -> str:
    """Write a number, and a noun in the singular or the plural.

    Args:
        number: how many.
        one: the noun for one of them.
        several: for any other number; `one` and an s unless it is given.

    >>> counted(1, "image"), counted(1200, "image"), counted(0, "class", "classes")
    ('1 image', '1,200 images', '0 classes')
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"
