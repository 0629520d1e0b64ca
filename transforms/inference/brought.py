"""What models bring along of their preprocessing, in the forms that others write.

- `preprocessor_config.json` of Hugging Face's image processors:
  https://huggingface.co/docs/transformers/main_classes/image_processor
- `config.json` of timm, key `pretrained_cfg`: https://huggingface.co/docs/timm/models
- ONNX's standard metadata: https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md
- OpenVINO's Model API, `model_info`: https://github.com/open-edge-platform/model_api

Each function returns fields of `ModelSpec`, and raises `ValueError` naming what none of them can
express.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beamvec.model_spec import UNIT_SCALE

_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's filters by number, as `resample` has them."""

_UNUSED_STEPS = {"do_convert_rgb", "do_reduce_labels", "do_rescale", "do_normalize", "do_resize"}
_UNUSED_STEPS |= {"do_center_crop", "do_flip_channel_order"}
_REFUSED = ("size_divisor", "keep_aspect_ratio", "ensure_multiple_of", "min_pixels", "pad_size")

_CONVNEXT_STRETCH = 384
"""From this size on ConvNeXT's processor stretches, and crops nothing."""


def read_preprocessor(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a `preprocessor_config.json` tells.

    >>> fields = read_preprocessor({"size": 224, "image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    >>> fields["size"], fields["resize"], fields["interpolation"]
    (224, 'stretch', 'bilinear')
    """
    for name, value in content.items():
        is_step = name.startswith("do_") and name not in _UNUSED_STEPS
        if value and (is_step or name in _REFUSED):
            raise ValueError(f"{name}={value} cannot be expressed")
    if not content.get("do_resize", True):
        raise ValueError("do_resize=false cannot be expressed: images differ in size")
    fields = {**_read_sizes(content), **_read_values(content)}
    resample = content.get("resample", _RESAMPLE.index("bilinear"))
    if not isinstance(resample, int) or not 0 <= resample < len(_RESAMPLE):
        raise ValueError(f"resample={resample} is unknown")
    fields["interpolation"] = _RESAMPLE[resample]
    if content.get("do_flip_channel_order"):
        fields["channels"] = "BGR"
    return fields


def _read_values(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is done to the values: rescaled, perhaps moved by one, and normalised."""
    scale = content.get("rescale_factor", UNIT_SCALE) if content.get("do_rescale", True) else 1.0
    mean: Any = [0.0] * 3
    std: Any = [1.0] * 3
    if content.get("do_normalize", "image_mean" in content):
        mean, std = content.get("image_mean"), content.get("image_std")
        if not isinstance(mean, list) or not isinstance(std, list):
            raise ValueError("do_normalize=true has no image_mean and image_std")
        if content.get("include_top"):  # EfficientNet's processor divides a second time.
            std = [each * each for each in std]
    if content.get("rescale_offset"):
        mean = [each + 1.0 for each in mean]
    return {"scale": scale, "mean": mean, "std": std}


def _read_sizes(content: Mapping[str, Any]) -> dict[str, Any]:
    size: Any = content.get("size")
    kind = str(content.get("image_processor_type", ""))
    crop = content.get("crop_size") if content.get("do_center_crop") else None
    keys = set(size) if isinstance(size, Mapping) else set()
    if keys == {"shortest_edge"} or (isinstance(size, int) and crop and "DeiT" not in kind):
        edge = size["shortest_edge"] if isinstance(size, Mapping) else size
        return _crop(edge, crop, content.get("crop_pct"))
    square = _read_square(size, "size")
    if crop is not None and _read_square(crop, "crop_size") != square:
        raise ValueError(
            f"size={size} with crop_size={crop} (stretched, then cut) cannot be expressed"
        )
    return {"size": square, "resize": "stretch"}


def _crop(edge: int, crop: Any, crop_pct: Any) -> dict[str, Any]:
    if crop_pct is not None and crop is None:
        if edge >= _CONVNEXT_STRETCH:
            return {"size": edge, "resize": "stretch"}
        return {"size": edge, "resize": "crop", "crop_ratio": crop_pct}
    if crop is None:
        raise ValueError(
            "size.shortest_edge without do_center_crop cannot be expressed: images "
            "would not be square"
        )
    size = _read_square(crop, "crop_size")
    if size > edge:
        raise ValueError(f"crop_size={size}, larger than size={edge}, cannot be expressed")
    return {"size": size, "resize": "crop", "crop_ratio": size / edge}


def _read_square(size: Any, name: str) -> int:
    if isinstance(size, Mapping) and set(size) == {"height", "width"}:
        if size["height"] == size["width"]:
            return int(size["height"])
    elif isinstance(size, int):
        return size
    raise ValueError(f"{name}={size} cannot be expressed: no square")


def read_timm(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that timm's `pretrained_cfg` tells.

    >>> read_timm({"input_size": [3, 224, 224], "crop_pct": 0.9, "interpolation": "bicubic",
    ...            "mean": [0.5] * 3, "std": [0.5] * 3})["crop_ratio"]
    0.9
    """
    shape = content.get("input_size")
    if not isinstance(shape, list) or len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2]:
        raise ValueError(f"input_size={shape} cannot be expressed: no square of three colours")
    ratio, mode = content.get("crop_pct", 0.875), content.get("crop_mode", "center")
    if mode not in ("center", "squash") or (mode == "squash" and ratio != 1):
        raise ValueError(f"crop_mode={mode} with crop_pct={ratio} cannot be expressed")
    return {
        "size": shape[1],
        "resize": "crop" if mode == "center" else "stretch",
        "crop_ratio": ratio,
        "interpolation": content.get("interpolation", "bilinear"),
        "scale": UNIT_SCALE,
        "mean": content.get("mean"),
        "std": content.get("std"),
    }


_RANGES: Mapping[str, Mapping[str, Any]] = {
    "NominalRange_0_255": {"scale": 1.0},
    "Normalized_0_1": {"scale": UNIT_SCALE},
    "Normalized_1_1": {"scale": 1 / 127.5, "mean": [1.0] * 3},
}
_PIXEL_FORMATS = {"Rgb8": "RGB", "Bgr8": "BGR"}


def read_onnx_metadata(content: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that ONNX's standard metadata tells; none where there are no such keys."""
    fields: dict[str, Any] = {}
    if value_range := content.get("Image.NominalPixelRange"):
        if value_range not in _RANGES:
            raise ValueError(f"Image.NominalPixelRange={value_range} cannot be expressed")
        fields |= _RANGES[value_range]
    if pixel_format := content.get("Image.BitmapPixelFormat"):
        if pixel_format not in _PIXEL_FORMATS:
            raise ValueError(f"Image.BitmapPixelFormat={pixel_format} cannot be expressed")
        fields["channels"] = _PIXEL_FORMATS[pixel_format]
    if content.get("Image.ColorSpaceGamma") == "Linear":
        raise ValueError("Image.ColorSpaceGamma=Linear cannot be expressed")
    return fields


_MODEL_API = {"mean_values", "scale_values", "reverse_input_channels", "resize_type"}
_MODEL_API |= {"model_type", "embedded_processing", "interpolation_type"}
_RESIZES = {"standard": "stretch", "crop": "crop", "fit_to_window_letterbox": "pad"}
_INTERPOLATIONS = {"LINEAR": "bilinear", "CUBIC": "bicubic", "NEAREST": "nearest"}


def read_model_api(content: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that OpenVINO's `model_info` tells; none where there are no such keys.

    Its pixels are 0 to 255 and, unless their order is reversed, BGR.
    """
    if not _MODEL_API & set(content):
        return {}
    fields: dict[str, Any] = {"scale": 1.0}
    if _is_true(content.get("embedded_processing")):
        return fields
    for name, field in (("mean_values", "mean"), ("scale_values", "std")):
        if content.get(name):
            fields[field] = content[name].strip("[]()")
    reverses = _is_true(content.get("reverse_input_channels"))
    fields["channels"] = "RGB" if reverses else "BGR"
    resize = content.get("resize_type", "standard")
    if resize not in _RESIZES:
        raise ValueError(f"resize_type={resize} cannot be expressed")
    fields |= {"resize": _RESIZES[resize], "crop_ratio": 1.0}
    if resize == "fit_to_window_letterbox" and content.get("pad_value", "0") != "0":
        raise ValueError(f"pad_value={content['pad_value']} cannot be expressed")
    interpolation = content.get("interpolation_type", "LINEAR")
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(f"interpolation_type={interpolation} cannot be expressed")
    return fields | {"interpolation": _INTERPOLATIONS[interpolation], "antialias": False}


def _is_true(text: str | None) -> bool:
    return (text or "").lower() in ("yes", "true", "1")
