"""Whether an exported model gives what the original gives, on some images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from beamvec.errors import ArgumentError, ExportError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.resize import make_resizing
from beamvec.transforms.files import storage
from beamvec.transforms.inputs.patterns import expand_pattern

Pixels: TypeAlias = npt.NDArray[np.uint8]
Features: TypeAlias = npt.NDArray[np.float32]
Call: TypeAlias = Callable[[Pixels], Features]
"""uint8 [N, S, S, 3] RGB -> float32 [N, D]."""

LEAST_COSINE = 0.9999
"""Of an image's features from the original and the export; float32's rounding leaves 0.999999."""

LARGEST_STRETCH = 0.01
"""How much longer one may be than the other. Cosines are blind to it, and a network of ReLUs with
random weights only stretches its features when its input is scaled wrongly."""

_SYNTHETIC = 4
_MOST_IMAGES = 16


@dataclass(frozen=True)
class Exported:
    """A model that was written, and what it was written from.

    Attributes:
        spec: what the written model wants to see; size and dimension are known.
        weights: a word or two on the weights.
        original: the model it was made of, in its own framework, with its own preprocessing.
        result: the written file, loaded again.
    """

    spec: ModelSpec
    weights: str
    original: Call
    result: Call


@dataclass(frozen=True)
class Agreement:
    """How well an export agrees with the original.

    Attributes:
        cosine: the least of all images.
        images: how many there were.
    """

    cosine: float
    images: int


def compare(exported: Exported, images: Sequence[str] = ()) -> Agreement:
    """Run the original and the result on some made images, and on the user's.

    Args:
        exported: what is compared.
        images: their paths, as `choose_images` gives them.

    Raises:
        ArgumentError: if one of them cannot be read.
        ExportError: if they disagree on an image.
    """
    named = [("a made image", pixels) for pixels in make_images(exported.spec.size)]
    named += [(name, _read_image(name, exported.spec)) for name in images]
    agreements = [(_agree(exported, pixels[None]), name) for name, pixels in named]
    cosine, name = min(agreements)
    if not cosine >= LEAST_COSINE:
        raise ExportError(
            f"the exported model does not give what the original gives: cosine {cosine:.6f} on "
            f"{name}, and {LEAST_COSINE} is the least that is taken; nothing was written"
        )
    return Agreement(cosine, len(named))


def choose_images(images: str) -> list[str]:
    """Return the paths of the first 16 images, by name, that a file, a folder or a glob names.

    Raises:
        ArgumentError: if it names none.
    """
    names = sorted(ref.uri for ref in expand_pattern(images))
    if not names:
        raise ArgumentError(f"`images={images}`: no images there")
    return names[:_MOST_IMAGES]


def make_images(size: int) -> Pixels:
    """Return some images, uint8 [4, size, size, 3] RGB, always the same: coarse, fine, light, dark.

    >>> make_images(32).shape
    (4, 32, 32, 3)
    """
    random = np.random.default_rng(0)
    images = np.empty((_SYNTHETIC, size, size, 3), np.uint8)
    kinds = [(0, 256, 7), (0, 256, size), (128, 256, 28), (0, 64, 28)]
    for image, (low, high, cells) in zip(images, kinds, strict=True):
        block = max(1, size // cells)
        colours = random.integers(low, high, (size // block + 1, size // block + 1, 3))
        image[:] = colours.repeat(block, 0).repeat(block, 1)[:size, :size]
    return images


def _agree(exported: Exported, pixels: Pixels) -> float:
    """Return the cosine of both results for an image; -1 if one is no vector of the same length."""
    one, other = (call(pixels).astype(np.float64) for call in (exported.original, exported.result))
    if one.shape != other.shape or not (np.isfinite(one).all() and np.isfinite(other).all()):
        return -1.0
    lengths = np.linalg.norm(one), np.linalg.norm(other)
    if max(lengths) == 0:
        return 1.0
    if max(lengths) > min(lengths) * (1 + LARGEST_STRETCH):
        return -1.0
    return float(np.vdot(one, other) / (lengths[0] * lengths[1]))


def _read_image(name: str, spec: ModelSpec) -> Pixels:
    try:
        return decode_image(storage.read_bytes(name), make_resizing(spec)).pixels
    except Exception as error:  # Third-party decoding raises what it likes.
        raise ArgumentError(f"`images`: cannot read {name}: {error}") from error
