"""Checkpoints of PyTorch's old format: tensors are read, and nothing else."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import made_state_dict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamvec.errors import ModelError
from beamvec.transforms.export.state_dict import read_state_dict


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.pth"


def read(path):
    return read_state_dict(str(path))


@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_are_read_as_they_were_written(path, random, protocol):
    tensors = {
        "a": random.normal(size=(3, 4)).astype(np.float32),
        "transposed": random.normal(size=(5, 2)).astype(np.float32).T,
        "count": np.array(7),
        "empty": np.zeros((0, 3), np.float32),
    }
    made_state_dict.write(path, tensors, protocol)
    found = read(path)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert not found[name].flags.writeable
        np.testing.assert_array_equal(found[name], tensor)


class Asks:
    """Is pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (Asks(os.system, "touch {evil}"), f"{os.system.__module__}.system"),
        (Asks(eval, "open('{evil}', 'w')"), "builtins.eval"),
        (Asks(subprocess.Popen, ["touch", "{evil}"]), "subprocess.Popen"),
        (np.float64, "numpy.float64"),
    ],
)
def test_what_makes_no_tensor_is_refused_by_name(path, tmp_path, protocol, asked, named):
    evil = tmp_path / "evil"
    if isinstance(asked, Asks):
        function, arguments = asked.call
        filled = [str(a).format(evil=evil) if isinstance(a, str) else a for a in arguments]
        asked = Asks(function, *filled)
    made_state_dict.write(path, {"a": asked}, protocol)
    with pytest.raises(ModelError, match=f"{path}: it asks for \\S*{named.split('.')[-1]}, which"):
        read(path)
    assert not evil.exists()


MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
HEAD = MAGIC + b"\x80\x02M\xe9\x03." + b"\x80\x02}."


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (b"cposix\nsystem\nq\x00X\x04\x00\x00\x00true\x85R.", "it asks for posix.system"),
        (b"(X\x04\x00\x00\x00trueiposix\nsystem\n.", "the instruction INST"),
        (b"(cposix\nsystem\nX\x04\x00\x00\x00trueo.", "asks for posix.system"),
        (b"\x82\x01.", "the instruction EXT1"),
        (b"}\x81.", "the instruction NEWOBJ"),
        (
            b"ccollections\nOrderedDict\n)R}q\x00b.",
            "",
        ),  # Sets an attribute.
        (b"ccollections\nOrderedDict\n}\x85R.", "something else than tensors"),
        (b"}q\x00h\x00h\x00\x85R.", "cannot be called"),
        (b"cos.path\n\xff\n.", "damaged"),
        (b"X\xff\xff\xff\xff.", "damaged"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "damaged"),
        (b"r\xff\xff\xff\x7f.", "damaged"),
        (b"h\x05.", "damaged"),
        (b"}X\x01\x00\x00\x00aK\x01s.", "no dictionary of tensors"),
        (b"}))s.", "something else than tensors"),
        (b"K\x01.", "no dictionary of tensors"),
        (b".", "damaged"),
        (b"R.", "damaged"),
        (b")" + b"q\x00h\x00\x86" * 99 + b"h\x00\x93.", "damaged"),  # Its text would be endless.
        (b")" + b"q\x00h\x00\x86" * 99 + b"}h\x00K\x01s.", "than tensors"),  # So would its hash.
        (b"e.", "damaged"),
    ],
)
def test_programs_that_are_none_of_pytorchs_are_refused(path, program, told):
    path.write_bytes(HEAD + b"\x80\x02" + program + b"\x80\x02].")
    if not told:
        assert read(path) == {}
        return
    with pytest.raises(ModelError, match=told):
        read(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (1 << 20, 1 << 20), "strides": (0, 0)},
        {"shape": (1 << 40,), "strides": (1,)},
        {"count": 1 << 40, "shape": (1 << 40,), "strides": (1,)},
        {"count": 1 << 62},
        {"count": -1},
        {"offset": -1},
        {"offset": 3},
        {"offset": "0"},
        {"strides": (-1,)},
        {"strides": (1, 1)},
        {"shape": (1.0,)},
    ],
)
def test_a_tensor_larger_than_its_file_is_refused(path, changes):
    made_state_dict.write(path, {"a": np.arange(4.0, dtype=np.float32)}, **changes)
    with pytest.raises(ModelError, match=f"cannot take weights from {path}"):
        read(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "damaged"),
        (b"PK\x03\x04", "zip format"),
        (b"\x80\x02K\x01." * 5, "no checkpoint of PyTorch"),
        (b"<html>", "damaged"),
    ],
)
def test_other_files_are_refused(path, content, told):
    path.write_bytes(content)
    with pytest.raises(ModelError, match=told):
        read(path)


def test_a_missing_file_is_a_model_error(path):
    with pytest.raises(ModelError, match="No such file"):
        read(path)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_is_a_model_error_or_gives_tensors(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damage") / "m.pth"
    made_state_dict.write(path, {"a": np.ones((2, 3), np.float32), "b": np.array([1, 2])})
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = read(path)
    except ModelError:
        return
    assert all(isinstance(tensor, np.ndarray) for tensor in found.values())


def test_a_large_file_is_not_read_into_memory(path):
    """Claims of 4 GiB of text, and a memo of 2 billion places, in a process of 1 GiB more."""
    path.write_bytes(HEAD + b"\x80\x02}r\xff\xff\xff\x7fX\xf0\xff\xff\xff")
    code = (
        "import resource, sys\n"
        "from beamvec.errors import ModelError\n"
        "from beamvec.transforms.export.state_dict import read_state_dict\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "limit = pages * resource.getpagesize() + (1 << 30)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "try: read_state_dict(sys.argv[1])\n"
        "except ModelError as error: print(error)"
    )
    assert hasattr(resource, "RLIMIT_AS")
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("needs /proc, which tells a process's memory")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert "cannot take weights from" in done.stdout
