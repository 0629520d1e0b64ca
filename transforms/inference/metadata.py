"""The metadata inside ONNX and OpenVINO IR files, read without loading them.

The formats: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (`ModelProto.metadata_props`)
and https://docs.openvino.ai (`rt_info` of IR's XML).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO
from xml.etree import ElementTree

from beamvec.errors import ModelError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types of protobuf: https://protobuf.dev/programming-guides/encoding."""

_METADATA_PROPS = 14
_MAX_VARINT_BYTES = 10
_MAX_ENTRY_BYTES = 1 << 20


def read_onnx_metadata(path: str) -> dict[str, str]:
    """Return the keys and values of `metadata_props`.

    Raises:
        ModelError: if the file cannot be read, or is no ONNX file.
    """
    found: dict[str, str] = {}
    try:
        with open(path, "rb") as stream:
            for number, length in _scan(stream, os.path.getsize(path)):
                if number == _METADATA_PROPS and length <= _MAX_ENTRY_BYTES:
                    key, value = _read_entry(stream, length)
                    found[key] = value
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the model {path}: {error}") from error
    return found


def _scan(stream: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Yield the number and the length of each message or text, and go on behind it."""
    while stream.tell() < end:
        number, kind = divmod(_read_varint(stream), 8)
        if kind == _VARINT:
            _read_varint(stream)
            continue
        if kind not in (_FIXED64, _BYTES, _FIXED32):
            raise ValueError("it is damaged, or no ONNX file")
        length = _read_varint(stream) if kind == _BYTES else 4 if kind == _FIXED32 else 8
        after = stream.tell() + length
        if after > end:
            raise ValueError("it is cut off, or no ONNX file")
        if kind == _BYTES:
            yield number, length
        stream.seek(after)


def _read_varint(stream: BinaryIO) -> int:
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        byte = stream.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << 7 * place
        if byte[0] < 0x80:
            return value
    raise ValueError("it is damaged, or no ONNX file")


def _read_entry(stream: BinaryIO, length: int) -> tuple[str, str]:
    """Read a `StringStringEntryProto`."""
    parts = {1: "", 2: ""}
    for number, size in _scan(stream, stream.tell() + length):
        parts[number] = stream.read(size).decode("utf-8", "replace")
        stream.seek(-size, os.SEEK_CUR)
    return parts[1], parts[2]


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
