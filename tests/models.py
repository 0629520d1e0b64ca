"""Small models in the formats that people bring, each with a direct call in its own framework.

The reference takes pixels uint8 [N, S, S, 3] RGB and returns float32 [N, D]; it never goes through
beamvec.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from beamvec.transforms.inference.model_files import import_tensorflow

SIZE = 32
DIMENSION = 16
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

Reference = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A model as somebody has it.

    Attributes:
        make: writes it into an empty folder; returns what `--model` takes and the reference.
        engines: that run it.
        spec: what has to be said of it on the command line.
    """

    make: Callable[[Path], tuple[Path, Reference]]
    engines: tuple[str, ...]
    spec: Mapping[str, Any] = field(default_factory=dict)


def make_onnx(
    path: Path,
    layout: str = "NCHW",
    dtype: str = "float32",
    output: str = "vector",
    metadata: Mapping[str, str] | None = None,
    opset: int = 17,
    more_inputs: int = 0,
) -> Callable[[np.ndarray], np.ndarray]:
    """Write an ONNX file of a convolution; return a call of it by ONNX Runtime.

    Args:
        path: the file.
        layout: of the input.
        dtype: of the input.
        output: `vector` [N, D], `map` [N, D, h, w], or `tokens` [N, h * w, D].
        metadata: of the file.
        opset: version of the operators.
        more_inputs: inputs beside it, each with an output of its own.
    """
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(3)
    kernel = random.normal(size=(DIMENSION, 3, 5, 5)).astype(np.float32)
    types = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
    type_ = types.get(dtype, TensorProto.UINT8)
    shape = ["n", 3, SIZE, SIZE] if layout == "NCHW" else ["n", SIZE, SIZE, 3]
    side = SIZE // 4
    shapes = {
        "vector": ["n", DIMENSION],
        "map": ["n", DIMENSION, side, side],
        "tokens": ["n", side * side, DIMENSION],
    }
    to_nchw = [0, 1, 2, 3] if layout == "NCHW" else [0, 3, 1, 2]
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["nchw"], perm=to_nchw),
        helper.make_node("Conv", ["nchw", "kernel"], ["conv"], strides=[4, 4], pads=[1, 1, 0, 0]),
        helper.make_node("Relu", ["conv"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["vector"]),
        helper.make_node("Reshape", ["map", "rows"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["tokens"], perm=[0, 2, 1]),
    ]
    rows = numpy_helper.from_array(np.array([0, DIMENSION, side * side]), "rows")
    inputs = [helper.make_tensor_value_info("images", type_, shape)]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, shapes[output])]
    for i in range(more_inputs):
        nodes.append(helper.make_node("Relu", [f"ids{i}"], [f"text{i}"]))
        inputs.append(helper.make_tensor_value_info(f"ids{i}", TensorProto.FLOAT, ["n", 5]))
        outputs.append(helper.make_tensor_value_info(f"text{i}", TensorProto.FLOAT, ["n", 5]))
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(kernel, "kernel"), rows]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    more = {f"ids{i}": np.zeros((1, 5), np.float32) for i in range(more_inputs)}
    numpy_type = np.dtype(dtype)

    def call(images: np.ndarray) -> np.ndarray:
        made = session.run([output], {"images": images.astype(numpy_type), **more})[0]
        return np.asarray(made)

    return call


def to_nchw(images: np.ndarray) -> np.ndarray:
    """Move the colours before the places."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def imagenet(pixels: np.ndarray) -> np.ndarray:
    """Normalise as torchvision does; float32 [N, 3, S, S]."""
    return to_nchw((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD).astype(np.float32)


def _onnx_imagenet(folder: Path) -> tuple[Path, Reference]:
    call = make_onnx(folder / "model.onnx")
    spec = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "model": "model.onnx", "weights": "own"}
    (folder / "beamvec.json").write_text(json.dumps(spec))
    return folder / "model.onnx", lambda pixels: call(imagenet(pixels))


def _onnx_uint8(folder: Path) -> tuple[Path, Reference]:
    return folder / "m.onnx", make_onnx(folder / "m.onnx", "NHWC", "uint8")


def _onnx_metadata(folder: Path) -> tuple[Path, Reference]:
    """BGR, [-1, 1], as ONNX's own metadata says."""
    said = {"Image.NominalPixelRange": "Normalized_1_1", "Image.BitmapPixelFormat": "Bgr8"}
    call = make_onnx(folder / "m.onnx", metadata=said)
    return folder / "m.onnx", lambda pixels: call(
        to_nchw(pixels[..., ::-1] / np.float32(127.5) - np.float32(1))
    )


def _onnx_tokens(folder: Path) -> tuple[Path, Reference]:
    """A repository of Hugging Face's, with a vision transformer's output."""
    (folder / "onnx").mkdir()
    call = make_onnx(folder / "onnx" / "model.onnx", output="tokens", opset=18)
    said = {"image_processor_type": "ViTImageProcessor", "size": {"height": SIZE, "width": SIZE}}
    said |= {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder / "onnx", lambda pixels: call(
        to_nchw((pixels / 255 - 0.5) / 0.5).astype(np.float32)
    )[:, 0]


def _onnx_timm(folder: Path) -> tuple[Path, Reference]:
    """A repository of timm's, its feature map left as it is, in float16."""
    call = make_onnx(folder / "m.onnx", dtype="float16", output="map", opset=18)
    cfg = {"input_size": [3, SIZE, SIZE], "crop_pct": 0.95, "interpolation": "bicubic"}
    cfg |= {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    (folder / "config.json").write_text(json.dumps({"architecture": "x", "pretrained_cfg": cfg}))
    return folder, lambda pixels: call(imagenet(pixels)).mean(axis=(2, 3))


def _onnx_two_towers(folder: Path) -> tuple[Path, Reference]:
    """Images and text side by side, as CLIP's."""
    call = make_onnx(folder / "m.onnx", more_inputs=1)
    return folder / "m.onnx", lambda pixels: np.concatenate(
        [call(to_nchw(pixels[i : i + 1] / np.float32(255))) for i in range(len(pixels))]
    )


def _ir(folder: Path) -> tuple[Path, Reference]:
    """OpenVINO's own format, as Model API describes it."""
    import openvino

    call = make_onnx(folder / "m.onnx")
    model = openvino.convert_model(str(folder / "m.onnx"))
    said = {"model_type": "classification", "reverse_input_channels": "True"}
    said |= {"mean_values": "123.675 116.28 103.53", "scale_values": "58.395 57.12 57.375"}
    for name, value in said.items():
        model.set_rt_info(value, ["model_info", name])
    openvino.save_model(model, str(folder / "m.xml"), compress_to_fp16=False)
    (folder / "m.onnx").unlink()
    mean, std = np.array(IMAGENET_MEAN) * 255, np.array(IMAGENET_STD) * 255
    return folder / "m.xml", lambda pixels: call(to_nchw((pixels - mean) / std).astype(np.float32))


def make_keras(pixels_from: float = 0.0, pixels_to: float = 255.0) -> Any:
    """Return a small Keras model of pixels in a range, which keeps them between -1 and 1 inside."""
    import_tensorflow()
    import keras

    keras.utils.set_random_seed(1)
    half = (pixels_to - pixels_from) / 2
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Rescaling(1 / half, -1 - pixels_from / half),
            keras.layers.Conv2D(DIMENSION, 5, 4, activation="relu", name="features"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def _keras_export(folder: Path) -> tuple[Path, Reference]:
    """What `model.export` of Keras writes, of a model of pixels in 0..255."""
    model = make_keras()
    model.export(folder / "m", verbose=False)
    return folder / "m", lambda pixels: model.predict(pixels.astype(np.float32), verbose=0)


def _signatures(folder: Path) -> tuple[Path, Reference]:
    """A SavedModel with a signature of its own, which returns a map and more."""
    tf = import_tensorflow()
    random = np.random.default_rng(5)
    root = tf.train.Checkpoint(
        kernel=tf.Variable(random.normal(size=(5, 5, 3, DIMENSION)).astype(np.float32))
    )

    def embed(images: Any) -> dict[str, Any]:
        maps = tf.nn.relu(tf.nn.conv2d(images, root.kernel, 4, "SAME"))
        return {"maps": maps, "score": tf.reduce_max(maps, [1, 2, 3])}

    spec = tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="image")
    root.embed = tf.function(embed, input_signature=[spec])
    tf.saved_model.save(root, str(folder / "m"), signatures={"embed": root.embed})
    loaded = tf.saved_model.load(str(folder / "m"))

    def call(pixels: np.ndarray) -> np.ndarray:
        images = tf.constant(pixels / 127.5 - 1, tf.float32)
        maps = loaded.signatures["embed"](image=images)["maps"].numpy().mean(axis=(1, 2))
        return np.asarray(maps / np.linalg.norm(maps, axis=1, keepdims=True))

    return folder / "m", call


CASES = {
    "SavedModel, exported by Keras, pixels 0..255": Case(
        _keras_export, ("tensorflow", "openvino"), {"scale": 1}
    ),
    "SavedModel, another signature, feature map": Case(
        _signatures,
        ("tensorflow",),
        {
            **{"signature": "embed", "output_name": "maps", "pool": "mean", "normalize": "l2"},
            **{"scale": "1/127.5", "mean": "1"},
        },
    ),
    "ONNX, NCHW, beamvec.json": Case(_onnx_imagenet, ("onnxruntime", "openvino")),
    "ONNX, NHWC, uint8": Case(_onnx_uint8, ("onnxruntime", "openvino")),
    "ONNX, BGR, its own metadata": Case(_onnx_metadata, ("onnxruntime", "openvino")),
    "ONNX, tokens, preprocessor_config.json": Case(
        _onnx_tokens, ("onnxruntime", "openvino"), {"pool": "cls"}
    ),
    "ONNX, feature map, float16, timm's config.json": Case(
        _onnx_timm, ("onnxruntime", "openvino"), {"pool": "mean"}
    ),
    "ONNX, two inputs": Case(
        _onnx_two_towers, ("openvino",), {"input_name": "images", "output_name": "vector"}
    ),
    "OpenVINO IR, Model API": Case(_ir, ("openvino",)),
}


def make_twins(folder: Path) -> dict[str, Path]:
    """Write the same weights as an ONNX file (NCHW), OpenVINO's IR and a SavedModel."""
    import onnx
    import openvino
    from onnx import numpy_helper

    tf = import_tensorflow()
    for name in ("onnx", "ir"):
        (folder / name).mkdir()
    make_onnx(folder / "onnx" / "m.onnx")
    [kernel, _] = onnx.load(folder / "onnx" / "m.onnx").graph.initializer
    converted = openvino.convert_model(str(folder / "onnx" / "m.onnx"))
    openvino.save_model(converted, str(folder / "ir" / "m.xml"), compress_to_fp16=False)
    root = tf.train.Checkpoint(
        kernel=tf.Variable(numpy_helper.to_array(kernel).transpose(2, 3, 1, 0))
    )

    def call(images: Any) -> dict[str, Any]:
        padded = tf.pad(images, [[0, 0], [1, 0], [1, 0], [0, 0]])
        maps = tf.nn.relu(tf.nn.conv2d(padded, root.kernel, 4, "VALID"))
        return {"feature_vector": tf.reduce_mean(maps, [1, 2])}

    spec = tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="images")
    root.call = tf.function(call, input_signature=[spec])
    tf.saved_model.save(root, str(folder / "saved"), signatures={"serving_default": root.call})
    return {
        "onnx": folder / "onnx" / "m.onnx",
        "ir": folder / "ir" / "m.xml",
        "saved_model": folder / "saved",
    }
