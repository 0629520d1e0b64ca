"""How images become square: `Resizing`, importable without Pillow."""

from __future__ import annotations

import typing
from typing import NamedTuple

from beamvec.model_spec import ColorProfile, Interpolation, ModelSpec, Resize

COLOR_PROFILES: tuple[ColorProfile, ...] = typing.get_args(ColorProfile)

RESIZE_MODES: tuple[Resize, ...] = typing.get_args(Resize)


class Resizing(NamedTuple):
    """How an image becomes a square; see `beamvec.model_spec.ModelSpec`.

    Attributes:
        size: S, the target's width and height in pixels.
        mode: `stretch`, `crop` or `pad`.
        interpolation: Pillow's filter.
        antialias: whether the filter widens with the reduction.
        crop_ratio: of `crop`, the size over the short side that it is cut from.
        color_profile: whether colours are converted to sRGB where a file says what they are.
    """

    size: int
    mode: Resize = "stretch"
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    crop_ratio: float = 0.875
    color_profile: ColorProfile = "ignore"


def make_resizing(spec: ModelSpec) -> Resizing:
    """Return how a model wants its images to become square."""
    return Resizing(
        spec.size,
        spec.resize,
        spec.interpolation,
        spec.antialias,
        spec.crop_ratio,
        spec.color_profile,
    )
