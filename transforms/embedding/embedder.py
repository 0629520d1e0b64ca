"""Embedding images in memory, without Beam: `load_model` gives an `Embedder`."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from beamvec.errors import ArgumentError, ImageError
from beamvec.model_spec import ModelSpec, Resize
from beamvec.transforms.decoding.decode import READ_THREADS, decode_chunk
from beamvec.transforms.decoding.pool import SharedPool
from beamvec.transforms.decoding.resize import Resizer, choose_resizer, make_resizing
from beamvec.transforms.embedding.int8 import prepare_int8
from beamvec.transforms.files.readers import FILES
from beamvec.transforms.files.storage import ReadResult, is_local
from beamvec.transforms.inference.config import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_MODEL,
    ModelConfig,
    choose_device,
    make_given,
)
from beamvec.transforms.inference.engine import Precision, Xla
from beamvec.transforms.inference.features import embed_chunk
from beamvec.transforms.inference.model import FeatureModel
from beamvec.transforms.inference.model import load_model as load_feature_model
from beamvec.transforms.records.chunks import Chunk, EmbeddedChunk
from beamvec.transforms.records.images import Failure, ImageRef

_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_TIFF_MODES = ("CMYK", "F", "I")

PIXEL_BYTES = 1 << 28
"""How many decoded pixels are in memory at a time, however many images `embed` is given."""

AnyImage: TypeAlias = Any
"""A path or URI, the bytes of an image file, a Pillow image, or an array uint8 [H, W, 3] RGB."""


@dataclass(frozen=True)
class Embedder:
    """A loaded model that embeds images as `beamvec.extract` does.

    Attributes:
        model: what is loaded.
        resizer: what resizes the images; see `decoding.resize.Resizer`.
    """

    model: FeatureModel
    resizer: Resizer = field(default_factory=choose_resizer)

    @property
    def spec(self) -> ModelSpec:
        """What the model wants to see, and where its features are."""
        return self.model.spec

    @property
    def dimension(self) -> int:
        """D, the length of an embedding."""
        return self.model.dimension

    @property
    def input_size(self) -> int:
        """S, width and height of the model's input in pixels."""
        return self.model.input_size

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, over the model's files; that of datasets that it made."""
        return self.model.fingerprint

    def embed(self, images: AnyImage | Sequence[AnyImage]) -> npt.NDArray[np.float32]:
        """Embed images.

        They are decoded in processes of their own, as those of `beamvec.extract` are, and the same
        file has the same embedding to the last bit. A Pillow image or an array is what it shows,
        with its EXIF orientation applied.

        Args:
            images: one image or several, each a path (`~` is the home) or URI, the bytes of a
                file, a Pillow image, or an array uint8 [H, W, 3] RGB, [H, W] grey or [H, W, 4]
                RGBA. An array uint8 [N, H, W, 3] is N images.

        Returns:
            float32 [N, D], in order; [1, D] for one image.

        Raises:
            ArgumentError: for what is none of these.
            ImageError: if an image cannot be read, decoded or embedded; it tells which and why.
        """
        sources = [_to_source(image) for image in _as_list(images)]
        refs = tuple(ImageRef(source if isinstance(source, str) else "") for source in sources)
        # Each image is found by its place; the uris of refs need not differ.
        numbered = tuple(ref._replace(columns=(i,)) for i, ref in enumerate(refs))
        reader, some = _Sources(sources), max(1, PIXEL_BYTES // (3 * self.input_size**2))
        with ThreadPoolExecutor(READ_THREADS, "decode") as threads:
            embedded = [
                self._embed_some(numbered[start : start + some], reader, threads)
                for start in range(0, max(1, len(numbered)), some)
            ]
        failures = [failure for each in embedded for failure in each.failures]
        if failures:
            raise ImageError(sorted(map(_describe, failures)))
        return np.concatenate([each.features for each in embedded])

    def _embed_some(
        self, refs: tuple[ImageRef, ...], reader: _Sources, threads: ThreadPoolExecutor
    ) -> EmbeddedChunk:
        chunk, resizing = Chunk(0, 0, "", refs), make_resizing(self.spec, self.resizer)
        decoded = decode_chunk(chunk, resizing, threads, SharedPool().get(), reader)
        return embed_chunk(decoded, self.model)


class _Sources:
    """Reads images that were given as paths or as bytes, by their place."""

    def __init__(self, sources: Sequence[str | bytes]):
        self._sources = sources

    def read(self, ref: ImageRef, limit_bytes: int | None = None) -> ReadResult:
        source = self._sources[ref.columns[0]]
        if isinstance(source, str):
            return FILES.read(ref, limit_bytes)
        return ReadResult(source, None, 0)

    def local_path(self, ref: ImageRef) -> str | None:
        return FILES.local_path(ref) if isinstance(self._sources[ref.columns[0]], str) else None


def _describe(failure: Failure) -> tuple[int, str, str, str]:
    return failure.ref.columns[0], failure.stage, failure.error_type, failure.message


def _as_list(images: AnyImage | Sequence[AnyImage]) -> Sequence[AnyImage]:
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    is_several = isinstance(images, Sequence) and not isinstance(images, (str, bytes))
    return images if is_several else [images]


def _to_source(image: AnyImage) -> str | bytes:
    """Return a path or URI, or the bytes of a file that shows the same."""
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        return os.path.expanduser(path) if is_local(path) else path
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    from PIL import Image

    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise ArgumentError(
                f"an image is an array {image.dtype} {list(image.shape)}; it must be uint8 "
                "[H, W, 3] RGB, values 0 to 255"
            )
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise ArgumentError(
            f"an image is a {type(image).__name__}; it must be a path, the bytes of a file, a "
            "Pillow image or an array uint8 [H, W, 3]"
        )
    if image.mode not in _PNG_MODES + _TIFF_MODES:
        image = _convert(image)
    buffer = io.BytesIO()
    # Without loss; the orientation comes along, to be applied where that of files is.
    format_ = "PNG" if image.mode in _PNG_MODES else "TIFF"
    image.save(buffer, format_, exif=image.getexif(), compress_level=1)
    return buffer.getvalue()


def _convert(image: Any) -> Any:
    """Turn a Pillow image of a mode that no file has into RGB, or RGBA if it is transparent."""
    try:
        return image.convert("RGBA" if image.mode in ("PA", "RGBa") else "RGB")
    except ValueError as error:
        raise ArgumentError(
            f"an image has Pillow's mode {image.mode}, which cannot be turned into RGB: {error}"
        ) from error


def load_model(
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    *,
    spec: Mapping[str, Any] | None = None,
    resize: Resize | None = None,
    precision: Precision = "float32",
    calibration_images: str | os.PathLike[str] | None = None,
    allow_low_fidelity: bool = False,
    engine: str | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    require_gpu: bool = False,
    trust_model: bool = False,
    xla: Xla = "off",
) -> Embedder:
    """Load a model to embed images in this process, without Beam.

    It is loaded once for the same arguments, however often this is called.

    Args:
        model: see `beamvec.extract`, as for the others.
        spec: fields of `ModelSpec`, which go before what is said beside the model.
        resize: how images become square; None for what the model wants.
        precision: what the model computes in.
        calibration_images: what to quantise with for `int8`, which needs them here.
        allow_low_fidelity: whether to take an int8 model that is far from float32.
        engine: what runs it.
        batch_size: images in a call of the model.
        require_gpu: whether to fail where the engine sees no GPU.
        trust_model: whether the model may read and write files.
        xla: whether XLA compiles it, `on` or `off`.

    Raises:
        ArgumentError: for an argument that cannot be.
        ModelError: if the model cannot be fetched, loaded or used.
    """
    device, given = choose_device(require_gpu), make_given(spec, resize=resize)
    config = ModelConfig(
        os.fspath(model), engine, precision, batch_size, device, given, trust_model, xla=xla
    )
    images = os.fspath(calibration_images) if calibration_images else None
    return Embedder(load_feature_model(prepare_int8(config, images, allow_low_fidelity)))
