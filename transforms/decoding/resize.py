"""How images become square: `Resizing`, importable without Pillow.

Which code resizes them is part of it, as that changes pixels: by one grey level at most, but
datasets are the same to the last byte wherever they are made.
"""

from __future__ import annotations

import typing
from typing import Literal, NamedTuple, cast

from beamvec.errors import BeamvecError
from beamvec.model_spec import ColorProfile, Interpolation, ModelSpec, Resize

COLOR_PROFILES: tuple[ColorProfile, ...] = typing.get_args(ColorProfile)

RESIZE_MODES: tuple[Resize, ...] = typing.get_args(Resize)

Resizer = Literal["pillow", "simd"]
"""What resizes: Pillow alone, or `simd` wherever that agrees with it."""

RESIZERS: tuple[Resizer, ...] = typing.get_args(Resizer)


class ResizerError(BeamvecError):
    """What is to resize the images is not there."""


class Resizing(NamedTuple):
    """How an image becomes a square; see `beamvec.model_spec.ModelSpec`.

    Attributes:
        size: S, the target's width and height in pixels.
        mode: `stretch`, `crop` or `pad`.
        interpolation: Pillow's filter.
        antialias: whether the filter widens with the reduction.
        crop_ratio: of `crop`, the size over the short side that it is cut from.
        color_profile: whether colours are converted to sRGB where a file says what they are.
        resizer: what resizes.
    """

    size: int
    mode: Resize = "stretch"
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    crop_ratio: float = 0.875
    color_profile: ColorProfile = "ignore"
    resizer: Resizer = "pillow"


def choose_resizer() -> Resizer:
    """Return the fastest that there is on this machine."""
    from beamvec.transforms.decoding import simd

    return "simd" if simd.is_available() else "pillow"


def require_resizer(resizer: str) -> None:
    """Check that a resizer is there.

    Raises:
        ResizerError: if it is not.
    """
    if resizer not in ("pillow", choose_resizer()):
        raise ResizerError(
            f"images are to be resized by {resizer}, and this machine has no cykooz-resizer that "
            "fits its Pillow; install the versions that beamvec asks for"
        )


def make_resizing(spec: ModelSpec, resizer: str = "") -> Resizing:
    """Return how a model wants its images to become square.

    Args:
        spec: of the model.
        resizer: what resizes them, a `Resizer`; empty for the fastest on this machine.
    """
    return Resizing(
        spec.size,
        spec.resize,
        spec.interpolation,
        spec.antialias,
        spec.crop_ratio,
        spec.color_profile,
        cast(Resizer, resizer or choose_resizer()),
    )
