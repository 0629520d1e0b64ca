"""A loaded SavedModel, and the graph from uint8 images to features that is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.inference.contract import (
    Port,
    choose_input,
    choose_output,
    find_divisor,
    pool_axes,
    resolve_input,
    resolve_output,
)
from beamvec.transforms.inference.description import Description
from beamvec.transforms.inference.model_files import first_line

_SERVING = "serving_default"
_WHOLE = ("uint8", "int32")


class Traced(NamedTuple):
    """A function from uint8 [N, S, S, 3] to float32 [N, D], its contract, and what it calls."""

    function: Any
    spec: ModelSpec
    entry: str


@dataclass(frozen=True)
class LoadedModel:
    """A SavedModel as TensorFlow loaded it.

    Attributes:
        tf: the tensorflow module.
        model: what `tf.saved_model.load` returned.
        handle: names it in errors.
        said: what is said of it.
        xla: whether XLA compiles the whole function, as one program.
    """

    tf: Any
    model: Any
    handle: str
    said: Description
    xla: bool = False

    def trace(self, batch_size: int) -> Traced:
        """Trace the object itself, if it can be called as those of the hub, else a signature.

        Raises:
            ModelError: if neither gives features.
        """
        signature = self._choose_signature()
        spec = self._read_input(signature)
        reason = "it has neither a callable with `training` nor a signature serving_default"
        for entry, embed in self._list_entries(signature).items():
            try:
                function, complete = self._trace(embed, spec, batch_size)
            except ModelError:
                raise
            except (TypeError, ValueError, self.tf.errors.OpError) as error:
                reason = first_line(error)
            else:
                return Traced(function, complete, entry)
        raise ModelError(f"{self.handle} is no feature extractor: {reason}")

    def _choose_signature(self) -> Any:
        """Return the signature that is said, else serving_default, else None."""
        signatures: Mapping[str, Any] = getattr(self.model, "signatures", {})
        wanted = self.said.fields.get("signature")
        if wanted and wanted not in signatures:
            known = ", ".join(signatures) or "none"
            raise ModelError(f"{self.handle} has no signature {wanted}; it has {known}")
        found = signatures.get(wanted or _SERVING)
        if found is None and signatures and not callable(self.model):
            raise ModelError(
                f"{self.handle} has no signature {_SERVING}; it has {', '.join(signatures)}: say "
                f"which is called, such as `spec=signature={next(iter(signatures))}`"
            )
        return found

    def _read_input(self, signature: Any) -> ModelSpec:
        if signature is None:
            port = Port("images", "float32", (None, None, None, 3))
            return resolve_input(self.handle, self.said, port)
        inputs = signature.structured_input_signature[1]
        name = choose_input(self.handle, self.said, list(inputs))
        if len(inputs) > 1:
            raise ModelError(
                f"{self.handle} takes {len(inputs)} inputs ({', '.join(inputs)}), and a SavedModel "
                "is given images only; export what makes the features alone"
            )
        return resolve_input(self.handle, self.said, _to_port(name, inputs[name]))

    def _list_entries(self, signature: Any) -> dict[str, Callable[[Any], Any]]:
        """Return what can be called with images, the best first."""
        entries: dict[str, Callable[[Any], Any]] = {}
        named = self.said.fields.get("signature")
        if callable(self.model) and not named:
            entries["__call__(training=False)"] = lambda images: self.model(images, training=False)
        if signature is not None:
            (name,) = signature.structured_input_signature[1]
            entries[named or _SERVING] = lambda images: signature(**{name: images})
        return entries

    def _trace(
        self, embed: Callable[[Any], Any], spec: ModelSpec, batch_size: int
    ) -> tuple[Any, ModelSpec]:
        tf, complete = self.tf, [spec]

        # With a second argument, even a default one, TensorFlow would print all pixels in a call.
        def features(pixels: Any) -> Any:
            name, output = self._choose_output(embed(_preprocess(tf, pixels, spec)))
            complete.append(resolve_output(self.handle, spec, _to_port(name, output)))
            return _postprocess(tf, output, complete[-1])

        signature = [tf.TensorSpec((batch_size, spec.size, spec.size, 3), tf.uint8)]
        function = tf.function(
            features, input_signature=signature, autograph=False, jit_compile=self.xla or None
        )
        return function.get_concrete_function(), complete[-1]

    def _choose_output(self, output: Any) -> tuple[str, Any]:
        """Return the name and the tensor of what holds the features."""
        if isinstance(output, (list, tuple)):
            output = {f"output_{place}": each for place, each in enumerate(output)}
        if not isinstance(output, Mapping):
            return "output", output
        name = choose_output(self.handle, self.said, list(output))
        return name, output[name]


def _to_port(name: str, tensor: Any) -> Port:
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    return Port(name, tensor.dtype.name, shape)


def _preprocess(tf: Any, pixels: Any, spec: ModelSpec) -> Any:
    """Turn uint8 [N, S, S, 3] RGB into what a model takes; see `ModelSpec`."""
    if spec.dtype not in _WHOLE:
        pixels = tf.cast(pixels, tf.float32)
        divisor = find_divisor(spec.scale)
        pixels = pixels / divisor if divisor else pixels * spec.scale
        if any(spec.mean):
            pixels = pixels - tf.constant(spec.mean, tf.float32)
        if any(each != 1 for each in spec.std):
            pixels = pixels / tf.constant(spec.std, tf.float32)
    if spec.channels == "BGR":
        pixels = pixels[..., ::-1]
    if spec.layout == "NCHW":
        pixels = tf.transpose(pixels, (0, 3, 1, 2))
    return tf.cast(pixels, spec.dtype)


def _postprocess(tf: Any, output: Any, spec: ModelSpec) -> Any:
    """Turn what a model returns into features, float32 [N, D]."""
    features = tf.cast(output, tf.float32)
    if spec.pool == "cls":
        features = features[:, 0]
    elif spec.pool == "mean":
        features = tf.reduce_mean(features, pool_axes(spec, features.shape.rank))
    return tf.math.l2_normalize(features, 1) if spec.normalize == "l2" else features
