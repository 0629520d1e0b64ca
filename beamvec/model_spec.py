"""What a model is and what it wants to see: `ModelSpec`, which each dataset records.

The names of its fields are those of a `beamvec.json` beside a model, of `--spec NAME=VALUE` and of
the flags of `beamvec model spec`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AxisOrder = Literal["NHWC", "NCHW"]
Channels = Literal["RGB", "BGR"]
Dtype = Literal["float32", "float16", "float64", "uint8", "int32"]
Resize = Literal["stretch", "crop", "pad"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
ColorProfile = Literal["ignore", "srgb"]
Pool = Literal["none", "mean", "cls"]
Normalize = Literal["none", "l2"]

UNIT_SCALE = 1 / 255
"""The scale that turns 0..255 into 0..1."""


@dataclass(frozen=True)
class ModelSpec:
    """How uint8 images become a model's input, and how its output becomes embeddings.

    Decoders give uint8 [N, size, size, 3] RGB. The model gets `(pixels * scale - mean) / std`, in
    its own layout, order of channels and dtype; an embedding is what it returns, pooled and
    normalised, as float32 [N, dimension]. The defaults are the TF-Hub image feature vector
    interface: https://www.tensorflow.org/hub/common_signatures/images#image_feature_vector.

    Attributes:
        input_name: the input that takes the images; empty for the only one.
        layout: the order of the input's axes.
        dtype: of the input.
        size: S, width and height of the input in pixels; 0 until the model has told it.
        channels: the order of the colours.
        scale: what pixels, 0 to 255, are multiplied with first.
        mean: what is taken off then, of red, green and blue.
        std: what is divided by then, of red, green and blue.
        resize: how images become square: `stretch` changes the aspect ratio, `crop` resizes the
            short side to `size / crop_ratio` and takes the centre, `pad` resizes the long side and
            adds black bars.
        interpolation: Pillow's filter that resizes.
        antialias: whether that filter widens with the reduction, as Pillow's do.
        crop_ratio: see `resize`, in (0, 1].
        color_profile: whether colours are converted to sRGB where a file says what they are;
            what models are trained with ignores that.
        signature: of a SavedModel; empty for the object itself if it can be called with
            `training=False`, else `serving_default`.
        output_name: the output that holds the features; empty for the only one, or the one
            that is called `feature_vector` or `default`.
        pool: what is done to an output of rank 3 or 4: `mean` over its places (of tokens all),
            or `cls`, the first token.
        normalize: `l2` divides each embedding by its length.
        dimension: D, length of an embedding; 0 until the model has told it.
    """

    input_name: str = ""
    layout: AxisOrder = "NHWC"
    dtype: Dtype = "float32"
    size: int = 0
    channels: Channels = "RGB"
    scale: float = UNIT_SCALE
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resize: Resize = "stretch"
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    crop_ratio: float = 0.875
    color_profile: ColorProfile = "ignore"
    signature: str = ""
    output_name: str = ""
    pool: Pool = "none"
    normalize: Normalize = "none"
    dimension: int = 0

    def describe_input(self) -> str:
        """Describe what the model gets, as `float32 [N, 224, 224, 3] RGB in [0, 1]`.

        >>> ModelSpec(size=224, layout="NCHW", scale=1.0, channels="BGR").describe_input()
        'float32 [N, 3, 224, 224] BGR in [0, 255]'
        """
        size = self.size
        shape = f"{size}, {size}, 3" if self.layout == "NHWC" else f"3, {size}, {size}"
        ranges = {
            (round(-mean / std, 3) + 0.0, round((255 * self.scale - mean) / std, 3))
            for mean, std in zip(self.mean, self.std, strict=True)
        }
        text = f"(pixels * {self.scale:.6g} - {_list(self.mean)}) / {_list(self.std)}"
        if len(ranges) == 1:
            [(low, high)] = ranges
            text = f"[{low:g}, {high:g}]"
        return f"{self.dtype} [N, {shape}] {self.channels} in {text}"

    def describe_output(self) -> str:
        """Describe an embedding and where it is taken from, as `float32 [N, 2048]`."""
        notes = [
            *([f"output {self.output_name}"] if self.output_name else []),
            *([f"signature {self.signature}"] if self.signature else []),
            *([f"{self.pool} pooled"] if self.pool != "none" else []),
            *([f"{self.normalize} normalised"] if self.normalize != "none" else []),
        ]
        return f"float32 [N, {self.dimension}]" + "".join(f", {note}" for note in notes)

    def describe_resize(self) -> str:
        """Describe how images become square, as `stretch, bilinear`."""
        ratio = f" {self.crop_ratio:.4g}" if self.resize == "crop" else ""
        antialias = "" if self.antialias else ", not antialiased"
        profile = "" if self.color_profile == "ignore" else f", {self.color_profile}"
        return f"{self.resize}{ratio}, {self.interpolation}{antialias}{profile}"


def _list(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
