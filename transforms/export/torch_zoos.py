"""The models of torchvision and timm without their classifiers, and what they want to see."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.export.names import suggest
from beamvec.transforms.inference.model_files import first_line

INPUT, OUTPUT = "pixels", "features"
"""Names in the ONNX file."""

_CLASSES = 1000  # Of ImageNet, which torchvision's classifiers have without weights too.
_TENSORS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@dataclass(frozen=True)
class Backbone:
    """A model of PyTorch without its classifier, and what it wants to see.

    Attributes:
        module: float32 [N, 3, S, S] -> float32 [N, D] or [N, D, h, w].
        spec: without dimension.
        weights: a word or two on its weights.
        head: where its classifier was; names of modules.
    """

    module: Any
    spec: ModelSpec
    weights: str
    head: tuple[str, ...]


def build_torchvision(name: str, weights: str) -> Backbone:
    """Build a classifier of torchvision, and take its head off.

    Args:
        name: such as resnet50.
        weights: `imagenet`, the best that torchvision has for it, or anything else for none.

    Raises:
        ModelError: if there is no such classifier, or its weights cannot be had.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ModelError(
            f"torchvision has no classifier {name}{suggest('torchvision', name, known)}"
        )
    trained = models.get_model_weights(name).DEFAULT
    with _tensors_only(f"torchvision:{name}"):
        module = models.get_model(name, weights=trained if weights == "imagenet" else None)
    word = trained.name if weights == "imagenet" else _word(weights)
    return Backbone(module, _read_preset(trained.transforms()), word, _remove_head(name, module))


def _read_preset(preset: Any) -> ModelSpec:
    size, resized = preset.crop_size[0], preset.resize_size[0]
    return ModelSpec(
        input_name=INPUT,
        layout="NCHW",
        size=size,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        resize="crop",
        interpolation=preset.interpolation.value,
        antialias=bool(preset.antialias),
        crop_ratio=size / resized,
        output_name=OUTPUT,
    )


def _remove_head(name: str, module: Any) -> tuple[str, ...]:
    """Put the identity in place of the last layer that tells classes, and return its name.

    What is left is what the classifier itself sees: after VGG's hidden layers, for example.
    """
    import torch

    def classes(layer: Any) -> int:
        return getattr(layer, "out_features", getattr(layer, "out_channels", 0))

    layers = (torch.nn.Linear, torch.nn.Conv2d)
    heads = [
        path
        for path, layer in module.named_modules()
        if isinstance(layer, layers) and classes(layer) == _CLASSES
    ]
    if not heads:
        raise ModelError(f"torchvision:{name} has no layer of {_CLASSES} classes to take off")
    parent, _, child = heads[-1].rpartition(".")
    setattr(module.get_submodule(parent), child, torch.nn.Identity())
    return tuple(heads)


def build_timm(name: str, weights: str) -> Backbone:
    """Build a model of timm without a classifier.

    Args:
        name: such as resnet50, or with a tag of weights, resnet50.a1_in1k.
        weights: `imagenet`, those that timm has under this name, or anything else for none.

    Raises:
        ModelError: if there is no such model, its weights cannot be had, or `ModelSpec` cannot say
            how it wants its images.
    """
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        raise ModelError(f"timm has no model {name}{suggest('timm', name, timm.list_models())}")
    with _tensors_only(f"timm:{name}"):
        module = timm.create_model(name, pretrained=weights == "imagenet", num_classes=0)
    config = module.pretrained_cfg
    word = config.get("tag") or "imagenet" if weights == "imagenet" else _word(weights)
    head = config.get("classifier") or ()
    heads = (head,) if isinstance(head, str) else tuple(head)
    return Backbone(
        module, _read_config(name, timm.data.resolve_model_data_config(module)), word, heads
    )


def _read_config(name: str, config: Mapping[str, Any]) -> ModelSpec:
    """Return what timm's configuration of a model says of its images."""
    channels, size, width = config["input_size"]
    if channels != 3 or size != width:
        raise ModelError(
            f"timm:{name} takes images [{channels}, {size}, {width}], expected [3, S, S]"
        )
    mode, ratio = config["crop_mode"], config["crop_pct"]
    if mode not in ("center", "squash") or (mode == "squash" and ratio != 1):
        raise ModelError(
            f"timm:{name} wants images cut with crop_mode {mode} and crop_pct {ratio}, which "
            "beamvec cannot do"
        )
    return ModelSpec(
        input_name=INPUT,
        layout="NCHW",
        size=size,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        resize="crop" if mode == "center" else "stretch",
        interpolation=config["interpolation"],
        crop_ratio=ratio,
        output_name=OUTPUT,
    )


def _word(weights: str) -> str:
    return "random" if weights == "random" else "file"


@contextmanager
def _tensors_only(source: str) -> Iterator[None]:
    """Let torch read what the library downloads as tensors only, whatever the library asks for."""
    before = os.environ.get(_TENSORS_ONLY)
    os.environ[_TENSORS_ONLY] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # On initialisation; nothing that a user can act on.
            yield
    except Exception as error:  # Downloads fail with what the library's client raises.
        raise ModelError(
            f"cannot get {source}: {first_line(error)}; without a network give `weights`, a "
            "safetensors file"
        ) from error
    finally:
        if before is None:
            del os.environ[_TENSORS_ONLY]
        else:
            os.environ[_TENSORS_ONLY] = before
