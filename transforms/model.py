"""The model: a SavedModel with the TF-Hub image feature vector interface.

TensorFlow is imported on first use only, so that commands that need no model start at once. The
interface: images float32 [N, S, S, 3] RGB in [0, 1] -> features float32 [N, D]; see
https://www.tensorflow.org/hub/common_signatures/images#image_feature_vector.
"""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.saved_model import (
    ModelError,
    fetch_model,
    fingerprint_model,
    first_line,
    import_tensorflow,
    read_weights_note,
)

DEFAULT_INPUT_SIZE = 224


@dataclass(frozen=True)
class FeatureModel:
    """A loaded model.

    Attributes:
        handle: where it came from.
        fingerprint: SHA-256, in hex, over the SavedModel's graph, variables and assets.
        input_size: S, width and height of its input in pixels.
        dimension: D, length of its output.
        batch_size: images in each call; the last batch is padded.
        entry: how it is called, `__call__(training=False)` or `serving_default`.
        weights: what `beamvec model export` noted of the weights, such as `random`; None for
            models from elsewhere.
        load_id: unique to this load, so that loads can be counted.
        call: uint8 [batch_size, S, S, 3] RGB -> float32 [batch_size, D].
    """

    handle: str
    fingerprint: str
    input_size: int
    dimension: int
    batch_size: int
    entry: str
    weights: str | None
    load_id: str
    call: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

    def embed(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed any number of images, in batches of one fixed shape.

        Args:
            pixels: uint8 [n, S, S, 3] RGB.

        Returns:
            float32 [n, D], in the same order. With ResNet-v2-50 on a CPU a row is the same to the
            last bit whatever the other rows, its place and the batch size; a model whose layers
            do not fill vector registers may round differently from place to place.

        Raises:
            ModelError: if the model returns another number of rows than it was given.
        """
        features = np.empty((len(pixels), self.dimension), np.float32)
        for start in range(0, len(pixels), self.batch_size):
            batch = pixels[start : start + self.batch_size]
            missing = self.batch_size - len(batch)
            padded = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else batch
            output = self.call(padded)
            if output.shape != (self.batch_size, self.dimension):
                raise ModelError(
                    f"the model returned features of shape {list(output.shape)} for "
                    f"{self.batch_size} images; expected [{self.batch_size}, {self.dimension}]"
                )
            features[start : start + len(batch)] = output[: len(batch)]
        return features


_load_lock = threading.Lock()


def load_model(handle: str, batch_size: int) -> FeatureModel:
    """Load a model once per process, whatever the number of threads that ask for it.

    Args:
        handle: a TF-Hub or Kaggle URL, or the path of a SavedModel on any Beam filesystem.
        batch_size: images in each call, at least 2: TensorFlow has other kernels for one image,
            with other rounding.

    Raises:
        ModelError: if it cannot be fetched, or is no image feature vector model.
    """
    with _load_lock:
        return _load_once(handle, batch_size)


@functools.cache
def _load_once(handle: str, batch_size: int) -> FeatureModel:
    path = fetch_model(handle)
    fingerprint = fingerprint_model(path)
    tf = import_tensorflow()
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:  # TensorFlow raises what it likes on damaged files.
        raise ModelError(f"cannot load the model {handle}: {first_line(error)}") from error
    size = _input_size(loaded, handle)
    function, entry = _build_function(tf, loaded, handle, (batch_size, size, size, 3))
    # The first call makes TensorFlow optimise the graph; it also tells what comes out.
    probe = function(tf.zeros((batch_size, size, size, 3), tf.uint8))
    dimension = _dimension(probe, handle, batch_size)

    def call(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        output: npt.NDArray[np.float32] = function(tf.constant(pixels)).numpy()
        return output

    return FeatureModel(
        handle=handle,
        fingerprint=fingerprint,
        input_size=size,
        dimension=dimension,
        batch_size=batch_size,
        entry=entry,
        weights=read_weights_note(path),
        load_id=uuid.uuid4().hex,
        call=call,
    )


def _input_size(loaded: Any, handle: str) -> int:
    """Tell S from the signature: `DEFAULT_INPUT_SIZE` where it leaves the size free."""
    signature = getattr(loaded, "signatures", {}).get("serving_default")
    if signature is None:
        return DEFAULT_INPUT_SIZE
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise ModelError(
            f"{handle} is no image feature vector model: serving_default takes "
            f"{len(inputs)} inputs ({', '.join(inputs)}), expected one, images"
        )
    (spec,) = inputs.values()
    shape = spec.shape.as_list() if spec.shape.rank is not None else [None] * 4
    if len(shape) != 4 or shape[3] not in (3, None) or shape[1] != shape[2]:
        raise ModelError(
            f"{handle} is no image feature vector model: its input is {spec.dtype.name} {shape}, "
            "expected float32 [N, S, S, 3]"
        )
    if spec.dtype.name != "float32":
        raise ModelError(f"{handle} takes {spec.dtype.name} images, expected float32 in [0, 1]")
    return shape[1] or DEFAULT_INPUT_SIZE


def _build_function(
    tf: Any, loaded: Any, handle: str, shape: tuple[int, int, int, int]
) -> tuple[Any, str]:
    """Trace uint8 images -> features once, for one shape."""
    entries: dict[str, Callable[[Any], Any]] = {}
    if callable(loaded):
        entries["__call__(training=False)"] = lambda images: loaded(images, training=False)
    signature = getattr(loaded, "signatures", {}).get("serving_default")
    if signature is not None:
        (name,) = signature.structured_input_signature[1]
        entries["serving_default"] = lambda images: signature(**{name: images})
    reason = "it has neither a callable with `training` nor a signature serving_default"
    for entry, embed in entries.items():

        def features(pixels: Any, embed: Callable[[Any], Any] = embed) -> Any:
            output = embed(tf.cast(pixels, tf.float32) / 255.0)
            return _only_output(output, handle)

        function = tf.function(
            features, input_signature=[tf.TensorSpec(shape, tf.uint8)], autograph=False
        )
        try:
            return function.get_concrete_function(), entry
        except ModelError:
            raise
        except (TypeError, ValueError, tf.errors.OpError) as error:
            reason = first_line(error)
    raise ModelError(f"{handle} is no image feature vector model: {reason}")


def _only_output(output: Any, handle: str) -> Any:
    if not isinstance(output, dict):
        return output
    for name in ("feature_vector", "default", *(output if len(output) == 1 else ())):
        if name in output:
            return output[name]
    raise ModelError(
        f"{handle} is no image feature vector model: it has several outputs "
        f"({', '.join(sorted(output))})"
    )


def _dimension(output: Any, handle: str, batch_size: int) -> int:
    shape = list(output.shape)
    if len(shape) != 2 or output.dtype.name != "float32":
        raise ModelError(
            f"{handle} is no image feature vector model: it returns {output.dtype.name} {shape}, "
            "expected float32 [N, D]"
        )
    if shape[0] != batch_size:
        raise ModelError(f"{handle} returned {shape[0]} rows for {batch_size} images")
    return int(shape[1])
