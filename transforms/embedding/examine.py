"""What is doubtful in a model, seen on a handful of images: `examine_model`."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from beamvec.errors import BeamvecError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.decoding.places import DecoderStartError, PoolClosedError
from beamvec.transforms.decoding.pool import DecoderError, DecoderPool, SharedPool
from beamvec.transforms.decoding.reading import ImageFile, read_file
from beamvec.transforms.decoding.resize import Resizing, make_resizing
from beamvec.transforms.decoding.runs import read_run
from beamvec.transforms.files.readers import FILES, ImageReader, RunReader
from beamvec.transforms.inference import hub
from beamvec.transforms.inference.config import make_given
from beamvec.transforms.inference.doubt import MAX_REAL, Doubt, find_doubts
from beamvec.transforms.inference.model import FeatureModel, load_model
from beamvec.transforms.records.images import ImageRef

_PATIENCE_S = 10.0

_MAX_REACH, _MIN_WIDTH = 256.0, 0.1

_ASSUMED = Doubt(
    "assumed",
    "nothing beside the model says what values it wants to see: RGB in [0, 1] is assumed, as on "
    "TF-Hub, and embeddings cannot tell that from [-1, 1]",
    "give `--spec scale=1/255` if it is right, `--spec scale=1` for 0..255, or `--spec "
    "scale=1/127.5 --spec mean=1` for [-1, 1]; `beamvec model spec` keeps it beside the model",
)


def examine_model(
    model: FeatureModel,
    refs: Sequence[ImageRef] = (),
    pool: SharedPool | None = None,
    reader: ImageReader = FILES,
) -> list[Doubt]:
    """Return what is doubtful in a model: nothing is no proof that all is right.

    Args:
        model: what is loaded.
        refs: some real images; the first 8 are looked at, beside made ones. Those that cannot be
            read or decoded are left out.
        pool: where they are decoded.
        reader: how they are read.
    """
    if model.weights == "random":
        return []  # Said in plainer words elsewhere.
    some = tuple(refs[:MAX_REAL])
    pixels = _decode(model, some, pool or SharedPool(), reader) if some else None
    respond, is_raw = functools.partial(_respond, model), model.spec.scale == 1
    doubts = find_doubts(model.embed_pixels, model.input_size, pixels, respond, is_raw)
    return [*doubts, *_doubt_values(model.spec), *([_ASSUMED] if _is_assumed(model) else [])]


def _is_assumed(model: FeatureModel) -> bool:
    """Tell whether the range of values is a guess."""
    is_told = model.is_told or hub.is_on_hub(model.config.handle)
    return not (is_told or "int" in model.spec.dtype)


def _doubt_values(spec: ModelSpec) -> list[Doubt]:
    """Doubt values that no model was trained on: most likely a scale and a mean of two kinds.

    Images of 0..255 reach 255, those of [0, 1] less ImageNet's mean over its deviation 2.7.
    """
    lows = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    highs = [low + 255 * spec.scale / std for low, std in zip(lows, spec.std, strict=True)]
    reach = max(abs(value) for value in lows + highs)
    width = min(abs(high - low) for high, low in zip(highs, lows, strict=True))
    if reach <= _MAX_REACH and width >= _MIN_WIDTH:
        return []
    return [
        Doubt(
            "values",
            f"the model gets values from {min(lows + highs):.4g} to {max(lows + highs):.4g}, which "
            f"none is trained on",
            "`(pixels * scale - mean) / std` of pixels from 0 to 255: with scale=1/255, mean and "
            "std are those of [0, 1], as 0.485; with scale=1 those of 0..255, as 123.675",
        )
    ]


def _respond(
    model: FeatureModel, scale: float, mean: tuple[float, ...], pixels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Embed images as the same model would with another range of values; NaN if it cannot."""
    given = dict(model.config.given) | {"scale": scale, "mean": mean, "std": 1.0}
    try:
        precision = "float32" if model.config.int8 else model.config.precision
        config = replace(model.config, given=make_given(given), precision=precision)
        other = load_model(replace(config, int8=None, xla="off"))
    except BeamvecError:
        return np.full((len(pixels), model.dimension), np.nan, np.float32)
    return other.embed_pixels(pixels)


def _decode(
    model: FeatureModel, refs: tuple[ImageRef, ...], pool: SharedPool, reader: ImageReader
) -> npt.NDArray[np.uint8] | None:
    """Return what can be decoded within some seconds; what cannot, the run itself tells of."""
    found: list[npt.NDArray[np.uint8]] = []

    def decode() -> None:
        with contextlib.suppress(DecoderStartError, PoolClosedError):
            images = _decode_each(refs, make_resizing(model.spec), pool.get(), reader)
            found.extend([pixels for pixels in images if pixels is not None])

    thread = threading.Thread(target=decode, name="examine", daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    return np.stack(found) if found else None


def _decode_each(
    refs: Sequence[ImageRef], resizing: Resizing, pool: DecoderPool, reader: ImageReader
) -> list[npt.NDArray[np.uint8] | None]:
    """Return the pixels of images; None for those that cannot be read or decoded."""

    def read(ref: ImageRef) -> ImageFile:
        return read_file(ref, reader, pool.max_file_size)

    def decode(file: ImageFile) -> npt.NDArray[np.uint8] | None:
        if file.error or isinstance(file.content, str):
            return None
        with contextlib.suppress(DecoderError):
            return pool.decode(file.content, resizing).pixels
        return None

    with ThreadPoolExecutor(MAX_REAL, "examine") as threads:
        if isinstance(reader, RunReader):  # They are read as they lie there.
            listed = dict(read_run(refs, reader, pool.max_file_size))
            files = [listed[i] for i in sorted(listed)]
        else:
            files = list(threads.map(read, refs))
        return list(threads.map(decode, files))
