"""A model as OpenVINO read it, completed to a graph from uint8 images to features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class OpenvinoGraph:
    """A model that has been read.

    Attributes:
        openvino: the module.
        model: what `Core.read_model` returned.
        handle: names it in errors.
        said: what is said of it.
    """

    openvino: Any
    model: Any
    handle: str
    said: Description

    def complete(self, batch_size: int) -> tuple[Any, ModelSpec]:
        """Return the model from uint8 [batch_size, S, S, 3] to float32 [batch_size, D], and how.

        Raises:
            ModelError: if it is no feature extractor, or not as is said of it.
        """
        names = {name: port for port in self.model.inputs for name in _names(port)}
        called = [_names(port)[0] for port in self.model.inputs]
        chosen = choose_input(self.handle, self.said, called)
        image = names[chosen]
        spec = resolve_input(self.handle, self.said, _to_port(image))
        output = self._choose_output()
        # What the output does not need, other inputs too, is left out; what it needs cannot be.
        model = self.openvino.Model([output], [image.get_node()], "features")
        area = (spec.size, spec.size)
        model.reshape([batch_size, *area, 3] if spec.layout == "NHWC" else [batch_size, 3, *area])
        complete = resolve_output(self.handle, spec, _to_port(model.outputs[0]))
        return self._preprocess(self._postprocess(model, complete), complete), complete

    def _choose_output(self) -> Any:
        outputs = self.model.outputs
        if len(outputs) == 1 and not self.said.fields.get("output_name"):
            return outputs[0].get_node().input_value(0)
        named = {name: port for port in outputs for name in _names(port)}
        chosen = named[choose_output(self.handle, self.said, named)]
        return chosen.get_node().input_value(0)

    def _preprocess(self, model: Any, spec: ModelSpec) -> Any:
        """Let a model take uint8 [N, S, S, 3] RGB; see `ModelSpec`."""
        type_, layout = self.openvino.Type, self.openvino.Layout
        steps = self.openvino.preprocess.PrePostProcessor(model)
        image = steps.input()
        image.tensor().set_element_type(type_.u8).set_layout(layout("NHWC"))
        image.model().set_layout(layout(spec.layout))
        todo = image.preprocess()
        if spec.dtype not in ("uint8", "int32"):
            todo.convert_element_type(type_.f32)
            todo.scale(find_divisor(spec.scale) or 1 / spec.scale)
            if any(spec.mean):
                todo.mean(list(spec.mean))
            if any(each != 1 for each in spec.std):
                todo.scale(list(spec.std))
        if spec.channels == "BGR":
            todo.reverse_channels()
        return steps.build()

    def _postprocess(self, model: Any, spec: ModelSpec) -> Any:
        """Let a model return features, float32 [N, D]."""
        ops = self.openvino.opset13
        image = model.inputs[0].get_node()
        features = ops.convert(model.outputs[0].get_node().input_value(0), "f32")
        if spec.pool == "cls":
            features = ops.gather(features, ops.constant(0), ops.constant(1))
        elif spec.pool == "mean":
            rank = len(model.outputs[0].get_partial_shape())
            axes = ops.constant(list(pool_axes(spec, rank)))
            features = ops.reduce_mean(features, axes, keep_dims=False)
        if spec.normalize == "l2":
            features = ops.normalize_l2(features, ops.constant([1]), 1e-12, "max")
        return self.openvino.Model([features], [image], "features")


def _names(port: Any) -> list[str]:
    """Return what a port is called, which may be nothing but its node's name."""
    return sorted(port.get_names()) or [port.get_node().get_friendly_name()]


def _to_port(port: Any) -> Port:
    shape = port.get_partial_shape()
    lengths = None
    if not shape.rank.is_dynamic:
        lengths = tuple(None if each.is_dynamic else each.get_length() for each in shape)
    return Port(_names(port)[0], port.element_type.to_dtype().name, lengths)
