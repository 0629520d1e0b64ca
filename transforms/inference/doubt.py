"""Doubt: what looks wrong in a model's embeddings of a few images, `find_doubts`.

The limits are measured, on five trained models (EfficientNet-Lite0 and 1, two ResNets, the backbone
of a YOLOv8) and twelve of `keras.applications` with random weights, each with the range of values
that it expects and with others:

- Spread, one less the mean cosine of all pairs of images, is 0.26 and more for trained models with
  the right range, and less than 0.035 for those that expect 0..255 and get [0, 1]; given 0..255,
  these have 0.256 and more again. Random weights have 0.004 to 0.98 with the right range. Where
  that was less than 0.05, 0..255 gave them 0.246 at most, an EfficientNetB0: close, so no other
  range should be tried with weights that are known to be random.
- Between [0, 1], [-1, 1] and ImageNet's mean and deviation nothing that was tried told the right
  one on all models. Features are as varied with each, and have a cosine of 0.55 to 0.99 to the
  right ones. That is left to a file beside the model, and to `compare_with_reference`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beamvec.errors import ArgumentError

Pixels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]
Respond = Callable[[float, tuple[float, ...], Pixels], Features]

MAX_REAL = 8
"""How many real images are looked at."""

_ALIKE = 0.05
"""The spread below which embeddings hardly tell images apart."""

_VARIED = 0.25
"""The spread that another range of values must give to be named the likely one."""

_MIN_NUMBERS = 16
_MAX_CONSTANT = 0.5
_SUM_TOLERANCE = 1e-3

_SAME, _NEAR = 0.999, 0.98
"""What the least cosine is where only a filter's rounding or the precision differs, and where
resizing or decoding do. With another range of values it was 0.97 at most, and the mean 0.9."""


_OTHER = {
    False: "another range of values: try `--spec scale=1` if it was trained on 0..255",
    True: "another range of values than 0..255",
}
"""By whether the model gets 0..255 already."""


@dataclass(frozen=True)
class Doubt:
    """Something that looks wrong.

    Attributes:
        name: a word for it: `not-finite`, `few-numbers`, `probabilities`, `constant`, `alike` or
            `range`.
        message: what was seen, with its figure.
        remedy: what to do about it.
    """

    name: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Comparison:
    """How near embeddings are to those of the same images from elsewhere.

    Attributes:
        cosines: of each image, float64 [N].
        least: of them.
        mean: of them.
        is_same: whether they are of the same model with the same preprocessing.
        verdict: what that means, in words.
    """

    cosines: npt.NDArray[np.float64]
    least: float
    mean: float
    is_same: bool
    verdict: str


def find_doubts(
    embed: Callable[[Pixels], Features],
    size: int,
    pixels: Pixels | None = None,
    respond: Respond | None = None,
    is_raw: bool = False,
) -> list[Doubt]:
    """Return what looks wrong in a model's embeddings; nothing is no proof that all is right.

    Calls `embed` once, with 10 to 18 images, and `respond` once more with the same ones, only if
    the embeddings hardly tell images apart.

    Args:
        embed: the model: uint8 [N, size, size, 3] RGB -> float32 [N, D].
        size: width and height of its input in pixels.
        pixels: some real images, uint8 [N, size, size, 3]; the first 8 are looked at.
        respond: the same model with another `scale` and `mean` of its spec, and a `std` of 1.
        is_raw: whether it gets values as of pixels, 0 to 255, already.
    """
    images = make_images(size)
    if pixels is not None:
        images = np.concatenate([images, pixels[:MAX_REAL]])
    features = embed(images)
    broken = int((~np.isfinite(features)).any(axis=1).sum())
    if broken:
        return [
            Doubt(
                "not-finite",
                f"the embeddings of {broken} of {len(images)} images hold NaN or infinity",
                "use `precision=float32`; if it is that already, the range of values or the "
                "model's weights are wrong",
            )
        ]
    found = (
        _doubt_length(features),
        _doubt_probabilities(features),
        _doubt_constant(features, is_raw),
        _doubt_spread(features, images, None if is_raw else respond, is_raw),
    )
    return [doubt for doubt in found if doubt is not None]


def make_images(size: int) -> Pixels:
    """Return ten images, uint8 [10, size, size, 3] RGB, the same each time.

    Four have the spectrum and some colours of photographs, two are of soft blobs on a ground;
    two are gradients, a checker board and stripes.
    """
    y, x = np.mgrid[:size, :size] / size
    checks = (np.floor(x * 8) + np.floor(y * 8)) % 2
    stripes = np.floor((x + y) * 12) % 2
    images = [
        _make_texture(1, size, (120, 110, 90)),
        _make_texture(2, size, (90, 130, 70)),
        _make_texture(3, size, (100, 130, 180)),
        _make_texture(4, size, (190, 170, 150)),
        np.stack([255 * x, 255 * y, 255 * (1 - x)], axis=-1),
        np.stack([200 * y + 30] * 3, axis=-1),
        np.stack([230 * checks + 10, 200 * checks + 30, 180 * checks + 20], axis=-1),
        np.stack([200 * stripes + 20, 60 + 0 * x, 220 * (1 - stripes)], axis=-1),
        _make_blobs(5, x, y),
        _make_blobs(6, x, y),
    ]
    return np.clip(images, 0, 255).astype(np.uint8)


def compare_with_reference(features: Features, reference: Features) -> Comparison:
    """Compare embeddings with those of the same images from elsewhere, row by row.

    Args:
        features: float32 [N, D].
        reference: of any float type, [N, D], in the same order.

    Raises:
        ArgumentError: if the shapes differ, or either holds what is no number.

    >>> compare_with_reference(np.eye(3, dtype=np.float32), 2 * np.eye(3, dtype=np.float32)).least
    1.0
    """
    if np.shape(reference) != features.shape:
        raise ArgumentError(
            f"`reference` is {list(np.shape(reference))}, and the embeddings are "
            f"{list(features.shape)}; it takes a row for each image, sorted by the names of the "
            "files, and a column for each number"
        )
    for name, values in (("reference", reference), ("embeddings", features)):
        if not (np.issubdtype(values.dtype, np.floating) and np.isfinite(values).all()):
            raise ArgumentError(
                f"`reference` cannot be compared: the {name} hold what is no number"
            )
    cosines = _cosines(features, reference)
    own = cosines.diagonal()
    least, mean = float(own.min()), float(own.mean())
    if least >= _SAME:
        verdict = "the same model, and the same preprocessing"
    elif (cosines.max(axis=1) >= _SAME).all():
        verdict = "the same embeddings in another order: sort the rows by the names of the files"
    elif least >= _NEAR:
        verdict = "the same model; resizing, decoding or precision differ a little"
    else:
        verdict = (
            "another model or other preprocessing: look at scale, mean, std, channels and resize "
            "in `--spec`"
        )
    return Comparison(own, least, mean, least >= _SAME, verdict)


def _doubt_length(features: Features) -> Doubt | None:
    dimension = features.shape[1]
    if dimension >= _MIN_NUMBERS:
        return None
    return Doubt(
        "few-numbers",
        f"an embedding has {dimension} numbers, which is few for features of an image",
        "if this is a classifier, name the output before its last layer with `--spec "
        "output_name=...`, or export it up to that layer",
    )


def _doubt_probabilities(features: Features) -> Doubt | None:
    sums = features.sum(axis=1, dtype=np.float64)
    if features.shape[1] < 2 or (features < 0).any() or abs(sums - 1).max() > _SUM_TOLERANCE:
        return None
    return Doubt(
        "probabilities",
        f"the {features.shape[1]} numbers of each embedding are positive and sum to one, as the "
        "probabilities of a classifier do",
        "name the output before the classifier with `--spec output_name=...`, or export the model "
        "up to that layer",
    )


def _doubt_constant(features: Features, is_raw: bool) -> Doubt | None:
    constant = float((np.ptp(features, axis=0) == 0).mean())
    if constant <= _MAX_CONSTANT:
        return None
    return Doubt(
        "constant",
        f"{constant:.0%} of the numbers are the same for all of {len(features)} images",
        f"the model may expect {_OTHER[is_raw]}",
    )


def _doubt_spread(
    features: Features, images: Pixels, respond: Respond | None, is_raw: bool
) -> Doubt | None:
    spread = _spread(features)
    if spread >= _ALIKE:
        return None
    message = (
        f"the embeddings of {len(images)} very different images are alike: their cosine is "
        f"{1 - spread:.5f} on average"
    )
    if (
        respond is not None
        and (varied := _spread(respond(1.0, (0.0, 0.0, 0.0), images))) >= _VARIED
    ):
        return Doubt(
            "range",
            f"{message}, and {1 - varied:.5f} if the model gets values from 0 to 255",
            "the model likely expects 0..255: `--spec scale=1`, with the mean and the order of "
            "channels that it was trained with",
        )
    return Doubt(
        "alike",
        message,
        f"the model may have random weights, or expect {_OTHER[is_raw]}",
    )


def _spread(features: Features) -> float:
    """Return one less the mean cosine of all pairs of rows."""
    if not np.isfinite(features).all():
        return 0.0
    pairs = np.triu_indices(len(features), 1)
    return 1 - float(_cosines(features, features)[pairs].mean())


def _cosines(left: Features, right: Features) -> npt.NDArray[np.float64]:
    """Return the cosines of all rows with all rows; with a row of zeros, 1 for zeros, else 0."""
    units = []
    for rows in (left.astype(np.float64), right.astype(np.float64)):
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        units.append(np.hstack([rows / np.where(lengths > 0, lengths, 1), lengths == 0]))
    cosines: npt.NDArray[np.float64] = units[0] @ units[1].T
    return cosines


def _make_texture(seed: int, size: int, color: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """Return noise whose amplitude falls with one over the frequency, as that of photographs."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = 1 / size
    noise = np.fft.fft2(random.normal(size=(3, size, size))) / frequency
    bands = np.moveaxis(np.fft.ifft2(noise).real, 0, -1)
    mixed = 2 * bands[..., :1] + bands
    return np.array(color) + 50 * mixed / mixed.std()


def _make_blobs(
    seed: int, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return eight soft discs of random colours, lit from below."""
    random = np.random.default_rng(seed)
    image = np.ones((*x.shape, 3)) * random.integers(60, 220, 3)
    for _ in range(8):
        at_x, at_y, width, height = random.random(4) * (1, 1, 0.25, 0.25) + (0, 0, 0.05, 0.05)
        distance = np.hypot((x - at_x) / width, (y - at_y) / height)
        cover = np.clip(4 * (1.1 - distance), 0, 1)[..., None]
        color = random.integers(0, 256, 3) * (0.6 + 0.4 * y[..., None])
        image = image * (1 - cover) + cover * color
    return image + random.normal(0, 4, image.shape)
