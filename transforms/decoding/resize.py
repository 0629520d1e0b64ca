"""How images become square: the choices, importable without Pillow."""

from __future__ import annotations

from typing import Literal

from beamvec.errors import ArgumentError

Resize = Literal["stretch", "crop", "pad"]
"""What `decode_image` does to an image that is no square; its docstring tells what each does."""

RESIZE_MODES: tuple[Resize, ...] = ("stretch", "crop", "pad")


def check_resize(resize: str) -> None:
    """Raise `ArgumentError` for a way to resize that is not there."""
    if resize not in RESIZE_MODES:
        raise ArgumentError(f"`resize={resize}`: it takes {', '.join(RESIZE_MODES)}")
