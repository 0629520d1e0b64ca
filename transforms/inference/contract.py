"""What a model's graph tells of its input and output, and how that and what is said of it agree.

Where nothing is said, the TF-Hub image feature vector interface holds: images float32 [N, S, S, 3]
RGB in [0, 1] -> features float32 [N, D]; see
https://www.tensorflow.org/hub/common_signatures/images#image_feature_vector.
"""

from __future__ import annotations

import typing
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from beamvec.errors import ModelError
from beamvec.model_spec import AxisOrder, Dtype, ModelSpec, Pool
from beamvec.transforms.inference.description import Description

DEFAULT_INPUT_SIZE = 224

_OUTPUTS = ("feature_vector", "default")
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_POINT_FILTERS = ("nearest", "bilinear", "bicubic")
_WHOLE = ("uint8", "int32")
_RAW = {"scale": 1.0, "mean": (0.0,) * 3, "std": (1.0,) * 3}


@dataclass(frozen=True)
class Port:
    """An input or an output, as a graph tells it.

    Attributes:
        name: of the tensor.
        dtype: numpy's name of its type.
        shape: its lengths, None where one is free; None if all is.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        lengths = ["?" if length is None else str(length) for length in self.shape or ()]
        return f"{self.dtype} [{', '.join(lengths) if self.shape is not None else '...'}]"


def choose_input(handle: str, said: Description, names: Sequence[str]) -> str:
    """Return which input takes the images.

    Raises:
        ModelError: if there is none of the name that is said, or there are several.
    """
    wanted = said.fields.get("input_name")
    if wanted:
        if wanted not in names:
            raise ModelError(
                f"{handle} has no input {wanted}; it has {', '.join(names) or 'none at all'}"
            )
        return str(wanted)
    if len(names) == 1:
        return names[0]
    if not names:
        raise ModelError(f"{handle} holds no model: it takes no input at all")
    told = ", ".join(names)
    raise ModelError(
        f"{handle} takes {len(names)} inputs ({told}); say which takes the images: "
        f"`spec=input_name={names[0]}`"
    )


def resolve_input(handle: str, said: Description, port: Port) -> ModelSpec:
    """Return what is said of a model, completed by what its input tells.

    Args:
        handle: names the model in errors.
        said: what is said of it.
        port: its input.

    Raises:
        ModelError: if this is not one batch of square images of three colours, or not as is said.
    """
    layout, size = _resolve_shape(handle, said, port)
    if not said.spec.antialias and said.spec.interpolation not in _POINT_FILTERS:
        raise ModelError(
            f"{handle}: {said.spec.interpolation} without antialias cannot be had; it may be "
            f"{', '.join(_POINT_FILTERS)}"
        )
    dtype = _resolve_dtype(handle, said, port)
    values: dict[str, Any] = {}
    if dtype in _WHOLE and "scale" not in said.fields:
        values = {"scale": 1.0}
    spec = replace(said.spec, layout=layout, size=size, dtype=dtype, **values)
    if dtype in _WHOLE and any(getattr(spec, name) != raw for name, raw in _RAW.items()):
        raise ModelError(
            f"{handle} takes {dtype} images, 0 to 255, which cannot be scaled: leave scale, mean "
            f"and std out of what is said of it ({said.source})"
        )
    return spec


def _resolve_shape(handle: str, said: Description, port: Port) -> tuple[AxisOrder, int]:
    """Return the order of the axes and S: 224 where nobody tells it."""
    shape = (None,) * 4 if port.shape is None else port.shape
    orders = typing.get_args(AxisOrder)
    found = [each for each in orders if _fits(shape, each, 3)]
    found = found or [each for each in orders if _fits(shape, each, None)]
    wanted = said.fields.get("layout")
    if not found or (wanted and wanted not in found):
        raise ModelError(
            f"{handle} is no model of square images of three colours: its input {port.name} is "
            f"{port}, expected [N, S, S, 3] or [N, 3, S, S]"
            + (f" and, as is said of it, {wanted}" if wanted else "")
        )
    layout: AxisOrder = wanted or found[0]
    lengths = shape[1:3] if layout == "NHWC" else shape[2:4]
    told, size = next((length for length in lengths if length), None), said.fields.get("size", 0)
    if told and size and told != size:
        raise ModelError(f"{handle} takes images of {told} pixels a side, not {size} as is said")
    return layout, told or size or DEFAULT_INPUT_SIZE


def _fits(shape: Sequence[int | None], order: AxisOrder, colours: int | None) -> bool:
    if len(shape) != 4:
        return False
    height, width, found = shape[1:] if order == "NHWC" else (*shape[2:], shape[1])
    return found == colours and (height == width or None in (height, width))


def _resolve_dtype(handle: str, said: Description, port: Port) -> Dtype:
    known = typing.get_args(Dtype)
    if port.dtype not in known:
        raise ModelError(f"{handle} takes {port.dtype} images; it may be {', '.join(known)}")
    wanted = said.fields.get("dtype", port.dtype)
    if wanted != port.dtype:
        raise ModelError(f"{handle} takes {port.dtype} images, not {wanted} as is said")
    return typing.cast(Dtype, port.dtype)


def choose_output(handle: str, said: Description, names: Collection[str]) -> str:
    """Return which output holds the features.

    Raises:
        ModelError: if there is none of the name that is said, or none has a name that tells.

    >>> choose_output("m", Description(), ["logits", "feature_vector"])
    'feature_vector'
    """
    wanted = said.fields.get("output_name")
    if wanted:
        if wanted not in names:
            raise ModelError(f"{handle} has no output {wanted}; it has {', '.join(sorted(names))}")
        return str(wanted)
    for name in (*_OUTPUTS, *(names if len(names) == 1 else ())):
        if name in names:
            return name
    told = sorted(names)
    raise ModelError(
        f"{handle} has several outputs ({', '.join(told)}); say which holds the features, such as "
        f"`spec=output_name={told[0]}`"
    )


def resolve_output(handle: str, spec: ModelSpec, port: Port) -> ModelSpec:
    """Return a contract completed by what the output tells; dimension 0 where it leaves that free.

    Raises:
        ModelError: if this is not one vector of floats an image, nor pooled to one.
    """
    if port.dtype not in _FLOATS:
        raise ModelError(f"{handle} is no feature extractor: it returns {port}, expected floats")
    shape = port.shape
    if shape is None:
        raise ModelError(f"{handle} does not tell the shape of its output {port.name}")
    poolings: dict[int, tuple[Pool, ...]] = {2: ("none",), 3: ("mean", "cls"), 4: ("mean",)}
    choices = poolings.get(len(shape), ())
    if spec.pool not in choices:
        advice = " or ".join(f"`spec=pool={pool}`" for pool in choices)
        raise ModelError(
            f"{handle} returns {port}, "
            + (f"which needs {advice}" if choices else "expected [N, D]")
            + (f", not pool={spec.pool}" if spec.pool != "none" else "")
        )
    told = shape[1] if len(shape) == 4 and spec.layout == "NCHW" else shape[-1]
    if told and spec.dimension and told != spec.dimension:
        raise ModelError(f"{handle} returns {told} numbers an image, not {spec.dimension}")
    return replace(spec, dimension=told or spec.dimension)


def find_divisor(scale: float) -> float | None:
    """Return n if a scale is 1 / n of a round n, which is divided by: that rounds once.

    >>> find_divisor(1 / 255), find_divisor(1 / 127.5), find_divisor(0.3)
    (255.0, 127.5, None)
    """
    divisor = round(1 / scale, 6)
    return divisor if abs(divisor * scale - 1) < 1e-9 else None


def pool_axes(spec: ModelSpec, rank: int) -> tuple[int, ...]:
    """Return the axes over which `pool="mean"` takes the mean, of an output of a rank."""
    if rank == 3:
        return (1,)
    return (2, 3) if spec.layout == "NCHW" else (1, 2)
