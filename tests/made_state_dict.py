"""Checkpoints of PyTorch's old format, made without PyTorch."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

_STORAGES = {"float32": "FloatStorage", "int64": "LongStorage"}


def _stub(module: str, **names: type) -> types.ModuleType:
    made = types.ModuleType(module)
    for name, value in names.items():
        value.__module__, value.__qualname__, value.__name__ = module, name, name
        setattr(made, name, value)
    return made


class _Rebuild:
    """Is pickled as a call of PyTorch's own function."""

    def __init__(self, *arguments: Any):
        self.arguments = arguments

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class _Storage:
    def __init__(self, kind: type, key: str, count: int):
        self.identity = ("storage", kind, key, "cpu", count, None)


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.identity if isinstance(value, _Storage) else None


def write(path: Path, tensors: dict[str, Any], protocol: int = 2, **changes: Any) -> None:
    """Write a checkpoint as `torch.save` did; what is no array is pickled as it is.

    Args:
        path: the file.
        tensors: its dictionary.
        protocol: of pickle; PyTorch's own is 2.
        changes: `shape`, `strides`, `offset` or `count` that the tensors claim falsely.
    """
    kinds = {name: type(name, (), {}) for name in _STORAGES.values()}
    stubs = {
        "torch": _stub("torch", **kinds),
        "torch._utils": _stub("torch._utils", _rebuild_tensor_v2=type("x", (), {})),
    }
    arrays: dict[str, np.ndarray] = {}
    named: OrderedDict[str, Any] = OrderedDict()
    for name, value in tensors.items():
        if isinstance(value, np.ndarray):
            key = str(len(arrays))
            arrays[key] = value
            storage = _Storage(
                kinds[_STORAGES[value.dtype.name]], key, changes.get("count", value.size)
            )
            strides = tuple(step // value.itemsize for step in value.strides)
            value = _Rebuild(
                storage,
                changes.get("offset", 0),
                changes.get("shape", value.shape),
                changes.get("strides", strides),
                False,
                OrderedDict(),
            )
        named[name] = value
    buffer = io.BytesIO()
    before = {name: sys.modules.get(name) for name in stubs}
    sys.modules.update(stubs)
    try:
        for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, named, sorted(arrays)):
            _Pickler(buffer, protocol).dump(value)
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    for key in sorted(arrays):
        buffer.write(struct.pack("<q", changes.get("count", arrays[key].size)))
        buffer.write(arrays[key].tobytes("A"))
    path.write_bytes(buffer.getvalue())
