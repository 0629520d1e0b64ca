"""An ONNX model, completed to a graph from uint8 images to features.

The operators: https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

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

PIXELS, FEATURES = "beamvec_pixels", "beamvec_features"
"""Names of the input and the output of the completed graph."""

_AXES_ARE_INPUTS = 18
"""The first version of the operators in which ReduceMean takes its axes as an input."""


def complete_graph(
    onnx: Any, model: Any, handle: str, said: Description, batch_size: int
) -> ModelSpec:
    """Change a model so that it takes uint8 [batch_size, S, S, 3] and returns float32 [N, D].

    Args:
        onnx: the module.
        model: a `ModelProto`, which is changed.
        handle: names it in errors.
        said: what is said of it.
        batch_size: images in each call.

    Returns:
        Its contract; dimension 0 where the model leaves it free.

    Raises:
        ModelError: if it is no feature extractor, or not as is said of it.
    """
    graph = model.graph
    weights = {each.name for each in graph.initializer}
    inputs = {each.name: each for each in graph.input if each.name not in weights}
    image = inputs[choose_input(handle, said, list(inputs))]
    if len(inputs) > 1:
        raise ModelError(
            f"{handle} takes {len(inputs)} inputs ({', '.join(inputs)}), and ONNX Runtime wants "
            "them all; use `engine=openvino`, or export what makes the features alone"
        )
    outputs = {each.name: each for each in graph.output}
    output = outputs[choose_output(handle, said, outputs)]
    spec = resolve_input(handle, said, _to_port(onnx, image))
    spec = resolve_output(handle, spec, _to_port(onnx, output))
    nodes = _Nodes(onnx, model)
    nodes.preprocess(spec, image)
    nodes.postprocess(spec, output)
    shape = [batch_size, spec.size, spec.size, 3]
    tensor = onnx.helper.make_tensor_value_info
    graph.input.remove(image)
    graph.input.append(tensor(PIXELS, onnx.TensorProto.UINT8, shape))
    del graph.output[:]
    graph.output.append(tensor(FEATURES, onnx.TensorProto.FLOAT, [batch_size, None]))
    return spec


def _to_port(onnx: Any, value: Any) -> Port:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    if not tensor.HasField("shape"):
        return Port(value.name, dtype, None)
    lengths = [each.dim_value if each.HasField("dim_value") else 0 for each in tensor.shape.dim]
    return Port(value.name, dtype, tuple(length or None for length in lengths))


@dataclass
class _Nodes:
    """Operators that are put before and after those of a model."""

    onnx: Any
    model: Any
    count: int = field(default=0)

    def _make(self, operator: str, inputs: list[str], output: str | None, **options: Any) -> Any:
        self.count += 1
        name = output or f"beamvec_{self.count}"
        return self.onnx.helper.make_node(operator, inputs, [name], **options), name

    def _constant(self, values: Any) -> str:
        self.count += 1
        name = f"beamvec_{self.count}"
        array = np.asarray(values)
        self.model.graph.initializer.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def _chain(
        self, steps: list[tuple[str, list[str], dict[str, Any]]], start: str, end: str
    ) -> Any:
        """Make operators, each of what the one before it returns."""
        made, at = [], start
        for i, (operator, more, options) in enumerate(steps):
            last = i == len(steps) - 1
            node, at = self._make(operator, [at, *more], end if last else None, **options)
            made.append(node)
        return made

    def preprocess(self, spec: ModelSpec, image: Any) -> None:
        """Make a model's own input of uint8 [N, S, S, 3] RGB; see `ModelSpec`."""
        float32, steps = self.onnx.TensorProto.FLOAT, []
        if spec.dtype not in ("uint8", "int32"):
            divisor = np.float32(find_divisor(spec.scale) or 1 / spec.scale)
            steps = [("Cast", [], {"to": float32}), ("Div", [self._constant(divisor)], {})]
            if any(spec.mean):
                steps.append(("Sub", [self._constant(np.array(spec.mean, np.float32))], {}))
            if any(each != 1 for each in spec.std):
                steps.append(("Div", [self._constant(np.array(spec.std, np.float32))], {}))
        if spec.channels == "BGR":
            steps.append(("Gather", [self._constant([2, 1, 0])], {"axis": 3}))
        if spec.layout == "NCHW":
            steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
        steps.append(("Cast", [], {"to": image.type.tensor_type.elem_type}))
        own = list(self.model.graph.node)
        del self.model.graph.node[:]
        self.model.graph.node.extend([*self._chain(steps, PIXELS, image.name), *own])

    def postprocess(self, spec: ModelSpec, output: Any) -> None:
        """Make features, float32 [N, D], of a model's own output."""
        steps: list[tuple[str, list[str], dict[str, Any]]]
        steps = [("Cast", [], {"to": self.onnx.TensorProto.FLOAT})]
        if spec.pool == "cls":
            steps.append(("Gather", [self._constant(0)], {"axis": 1}))
        elif spec.pool == "mean":
            axes = list(pool_axes(spec, len(output.type.tensor_type.shape.dim)))
            as_input = self._version() >= _AXES_ARE_INPUTS
            more, options = ([self._constant(axes)], {}) if as_input else ([], {"axes": axes})
            steps.append(("ReduceMean", more, {**options, "keepdims": 0}))
        if spec.normalize == "l2":
            steps.append(("LpNormalization", [], {"axis": 1, "p": 2}))
        self.model.graph.node.extend(self._chain(steps, output.name, FEATURES))

    def _version(self) -> int:
        versions = [
            each.version for each in self.model.opset_import if each.domain in ("", "ai.onnx")
        ]
        return max(versions, default=1)
