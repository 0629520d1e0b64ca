"""Names that are mistyped, of models that a library has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST_NEAR, _MOST_LISTED = 5, 100


def suggest(library: str, name: str, known: Iterable[str]) -> str:
    """Return the end of an error: the known names that are nearest; if none is near, all.

    >>> suggest("keras", "resnet50v3", ["ResNet50V2", "VGG16"])
    '; choose one of keras:ResNet50V2'
    """
    spelled = {word.lower(): word for word in known}
    near = difflib.get_close_matches(name.lower(), spelled, n=_MOST_NEAR)
    if not near and len(spelled) > _MOST_LISTED:
        return f"; {library}.list_models() lists all {len(spelled):,}"
    near = near or sorted(spelled)
    return "; choose one of " + ", ".join(f"{library}:{spelled[word]}" for word in near)
