"""The metadata inside ONNX and OpenVINO IR files, read without loading them.

The formats: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (`ModelProto.metadata_props`)
and https://docs.openvino.ai (`rt_info` of IR's XML).
"""

from __future__ import annotations

from xml.etree import ElementTree

from beamvec.errors import ModelError
from beamvec.transforms.files.wire_format import DamagedError, open_message

_METADATA_PROPS, _KEY, _VALUE = 14, 1, 2


def read_onnx_metadata(path: str) -> dict[str, str]:
    """Return the keys and values of `metadata_props`.

    Raises:
        ModelError: if the file cannot be read, or is no ONNX file.
    """
    try:
        with open_message(path) as model:
            return {each.read(_KEY): each.read(_VALUE) for each in model.find(_METADATA_PROPS)}
    except (OSError, DamagedError) as error:
        raise ModelError(
            f"cannot read the model {path}, it is damaged or no ONNX file: {error}"
        ) from error


def read_ir_metadata(path: str) -> dict[str, str]:
    """Return what stands in `rt_info`; keys of Model API without their `model_info`.

    Raises:
        ModelError: if the file cannot be read, or is no XML.
    """
    found: dict[str, str] = {}
    try:
        for _, element in ElementTree.iterparse(path):
            if element.tag == "rt_info":
                for child in element.iter():
                    if "value" in child.attrib:
                        name = child.attrib.get("name", child.tag)
                        found[name] = child.attrib["value"]
            if element.tag == "layer":
                element.clear()
    except (OSError, ElementTree.ParseError) as error:
        raise ModelError(f"cannot read the model {path}: {error}") from error
    return found
