"""Reading the weights in a checkpoint of PyTorch's old format, without PyTorch and without pickle.

Such a file holds five pickles (a magic number, a protocol version, facts about the machine, the
dictionary, the keys of its storages) and then the storages themselves, each as a count and its
bytes: `_legacy_save` in https://github.com/pytorch/pytorch/blob/main/torch/serialization.py.
A pickle is a program; here only those of its instructions are followed that make tensors.
"""

from __future__ import annotations

import math
import mmap
import pickletools
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from beamvec.errors import ModelError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT = struct.Struct("<q")

_DTYPES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "<i1",
    "torch.ByteStorage": "<u1",
    "torch.BoolStorage": "?",
}

Array: TypeAlias = "npt.NDArray[Any]"


@dataclass(frozen=True)
class _Storage:
    """A run of numbers, which tensors are views of."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides are in numbers, not in bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: str) -> dict[str, Array]:
    """Read the tensors of a checkpoint that `torch.save` wrote in its old format, before zip.

    Args:
        path: the file, a dictionary of tensors.

    Returns:
        The tensors by name, as read-only views of the file, which is mapped and not read; so
        memory grows with what is copied of them only.

    Raises:
        ModelError: if the file cannot be read, is cut short, is of another format, or asks for
            anything but tensors, which is named.
    """
    try:
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _read_tensors(data)
    except ModelError as error:
        raise ModelError(f"cannot take weights from {path}: {error}") from error
    except (OSError, ValueError, LookupError, TypeError, struct.error) as error:
        # ValueError and the others: what damage makes of a pickle.
        raise ModelError(f"cannot take weights from {path}: it is damaged ({error})") from error


def _read_tensors(data: mmap.mmap) -> dict[str, Array]:
    if data[:2] == b"PK":
        raise ModelError("it is in the zip format of PyTorch 1.6 and later; only the old is read")
    magic, protocol, _, named, keys = (_Program(data).run() for _ in range(5))
    if (magic, protocol) != (_MAGIC, _PROTOCOL):
        raise ModelError("it is no checkpoint of PyTorch")
    if not isinstance(named, dict) or not all(isinstance(t, _Tensor) for t in named.values()):
        raise ModelError("it is no dictionary of tensors")
    places = _place_storages(data, [tensor.storage for tensor in named.values()], keys)
    return {name: _view(data, tensor, places[tensor.storage]) for name, tensor in named.items()}


def _place_storages(
    data: mmap.mmap, storages: Sequence[_Storage], keys: Sequence[str]
) -> dict[_Storage, int]:
    """Return where the numbers of each storage begin; they follow the last pickle, as `keys`."""
    declared = {storage.key: storage for storage in storages}
    places, at = {}, data.tell()
    for key in keys:
        storage = declared[key] if isinstance(key, str) else None
        if storage is None:
            raise ValueError("a storage without a name")
        (count,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        places[storage] = at
        at += count * np.dtype(storage.dtype).itemsize
        if count != storage.count or at > len(data):
            raise ValueError(f"storage {key} claims {storage.count} numbers")
    return places


def _view(data: mmap.mmap, tensor: _Tensor, at: int) -> Array:
    """Return a tensor whose storage is at this place; it must not reach beyond it."""
    storage, shape, strides = tensor.storage, tensor.shape, tensor.strides
    size = math.prod(shape)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    # A stride of 0 makes a tensor of any size out of one number.
    if min((tensor.offset, *shape, *strides)) < 0 or (size and last >= storage.count):
        raise ValueError("a tensor reaches beyond its storage")
    if size > storage.count:
        raise ValueError("a tensor is larger than its storage")
    numbers = np.frombuffer(data, storage.dtype, storage.count, at)[tensor.offset :]
    steps = [step * numbers.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(numbers, shape, steps, writeable=False)


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Stand in for `torch._utils._rebuild_tensor_v2`; gradients and hooks are left out."""
    whole = (
        isinstance(storage, _Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)
    )
    if not whole or not all(type(n) is int for n in (offset, *shape, *strides)):
        raise ValueError("a tensor of something else than numbers")
    return _Tensor(storage, offset, shape, strides)


def _make_dictionary(*arguments: Any) -> OrderedDict[str, Any]:
    if arguments:
        raise ValueError("a dictionary of something else than tensors")
    return OrderedDict()


_CALLABLES: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _make_dictionary,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
}


def _find(name: str) -> Any:
    """Return what stands in for a name of Python: nothing of the name's own is ever imported."""
    found = _CALLABLES.get(name) or _DTYPES.get(name)
    if found is None:
        raise ModelError(f"it asks for {name}, which makes no tensor")
    return found


def _make_storage(identity: Any) -> _Storage:
    kind, dtype, key, _, count, view = identity
    if kind != "storage" or dtype not in _DTYPES.values() or view is not None:
        raise ValueError("a storage of an unknown kind")
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise ValueError("a storage of an unknown size")
    return _Storage(dtype, key, count)


class _Program:
    """A pickle, run with a stack and a memo as `pickle` does, as far as tensors need it."""

    def __init__(self, data: mmap.mmap):
        self._data = data
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return what it makes, and leave the file at its end."""
        file = cast("IO[bytes]", self._data)  # It has the methods that are used.
        for instruction, argument, _ in pickletools.genops(file):
            self._follow(instruction.name, argument)
        return self._stack.pop()

    def _follow(self, name: str, argument: Any) -> None:
        if name in _PUSHES:
            self._stack.append(_PUSHES[name](argument))
        elif name in _TUPLES:
            self._stack.append(tuple(self._take(_TUPLES[name])))
        elif name in _OTHERS:
            _OTHERS[name](self, argument)
        elif name not in _IGNORED:
            raise ModelError(f"it has the instruction {name}, which makes no tensor")

    def _take(self, count: int | None = None) -> list[Any]:
        """Take values off the stack, those above the last mark if not told how many."""
        start = self._marks.pop() if count is None else len(self._stack) - count
        if not 0 <= start <= len(self._stack):
            raise ValueError("a stack runs empty")
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def put(self, place: int | None) -> None:
        """Keep the last value, at the next place where MEMOIZE does not tell one."""
        self._memo[len(self._memo) if place is None else place] = self._stack[-1]

    def get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def find(self, name: str | None) -> None:
        """Look up what GLOBAL names with a space, or STACK_GLOBAL with two values."""
        parts = name.split(" ") if name is not None else self._take(2)
        if not all(isinstance(part, str) for part in parts):
            raise ValueError("a name that is no text")
        self._stack.append(_find(".".join(parts)))

    def call(self, _: Any) -> None:
        function, arguments = self._take(2)
        if function not in _CALLABLES.values():
            raise ValueError("a call of what cannot be called")
        self._stack.append(function(*arguments))

    def load_storage(self, _: Any) -> None:
        self._stack.append(_make_storage(self._stack.pop()))

    def set_one(self, _: Any) -> None:
        self._fill(self._take(2))

    def set_many(self, _: Any) -> None:
        self._fill(self._take())

    def _fill(self, pairs: Sequence[Any]) -> None:
        # Only text as a key: to hash a tuple of tuples of tuples can take for ever.
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str) or not isinstance(self._stack[-1], dict):
                raise ValueError("a dictionary of something else than tensors")
            self._stack[-1][key] = value

    def append_one(self, _: Any) -> None:
        self._extend(self._take(1))

    def append_many(self, _: Any) -> None:
        self._extend(self._take())

    def _extend(self, values: Sequence[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise ValueError("a list is missing")
        self._stack[-1].extend(values)

    def drop(self, _: Any) -> None:
        """Leave out what PyTorch attaches to a dictionary: versions of layers."""
        self._stack.pop()


def _itself(argument: Any) -> Any:
    return argument


_PUSHES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE"), _itself),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1"), _itself),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "TUPLE": None}
_IGNORED = ("PROTO", "FRAME", "STOP")
_OTHERS: dict[str, Callable[[_Program, Any], None]] = {
    "MARK": _Program.mark,
    "BINPUT": _Program.put,
    "LONG_BINPUT": _Program.put,
    "MEMOIZE": _Program.put,
    "BINGET": _Program.get,
    "LONG_BINGET": _Program.get,
    "GLOBAL": _Program.find,
    "STACK_GLOBAL": _Program.find,
    "REDUCE": _Program.call,
    "BINPERSID": _Program.load_storage,
    "SETITEM": _Program.set_one,
    "SETITEMS": _Program.set_many,
    "APPEND": _Program.append_one,
    "APPENDS": _Program.append_many,
    "BUILD": _Program.drop,
}
