"""A model is code: what could do more than compute is refused, what only computes is not."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from conftest import SHARED

import samples
from beamvec.errors import ModelError
from beamvec.transforms.inference.model_files import import_tensorflow
from beamvec.transforms.inference.trust import (
    check_trusted,
    find_external_data,
    find_unsafe_operations,
)

tf = import_tensorflow()
INPUT = tf.TensorSpec((None, 8, 8, 3), tf.float32)


def write_file(images):
    tf.io.write_file("/tmp/x", "text")
    return images


def read_file(images):
    return images + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32)


def match_files(images):
    return images + tf.cast(tf.size(tf.io.matching_files("/home/*")), tf.float32)


def py_function(images):
    return tf.py_function(lambda x: x, [images], tf.float32)


def numpy_function(images):
    return tf.numpy_function(lambda x: x, [images], tf.float32)


def stateless_numpy_function(images):
    return tf.numpy_function(lambda x: x, [images], tf.float32, stateful=False)


def print_to_a_file(images):
    tf.print("text", output_stream="file:///tmp/x")
    return images


def read_records(images):
    for record in tf.data.TFRecordDataset("/tmp/x"):
        images += tf.cast(tf.strings.length(record), tf.float32)
    return images


def restore(images):
    return images + tf.raw_ops.RestoreV2(
        prefix="/tmp/x", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
    )


def save(images):
    tf.raw_ops.SaveV2(prefix="/tmp/x", tensor_names=["a"], shape_and_slices=[""], tensors=[images])
    return images


UNSAFE = {
    write_file: ["WriteFile"],
    read_file: ["ReadFile"],
    match_files: ["MatchingFiles"],
    py_function: ["EagerPyFunc"],
    numpy_function: ["PyFunc"],
    stateless_numpy_function: ["PyFuncStateless"],
    print_to_a_file: ["PrintV2"],
    read_records: ["TFRecordDataset"],
    restore: ["RestoreV2"],
    save: ["SaveV2"],
}


def in_a_call(call, path):
    root = tf.train.Checkpoint(weight=tf.Variable(1.0))
    root.__call__ = tf.function(call, input_signature=[INPUT])
    tf.saved_model.save(root, path)


def in_a_signature(call, path):
    samples.save_model(path, lambda images: {"default": call(images)}, (None, 8, 8, 3))


def in_a_nested_function(call, path):
    inner = tf.function(lambda images: tf.reduce_sum(call(images)))
    branch = tf.function(
        lambda x: tf.cond(x > 5, lambda: inner(tf.fill((1, 8, 8, 3), x)), lambda: x)
    )
    in_a_call(
        lambda images: tf.while_loop(lambda _: True, lambda x: [branch(x)], [images[0, 0, 0, 0]]),
        path,
    )


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clean")
    samples.save_tiny_model(str(path))
    return path


@pytest.mark.parametrize("call", UNSAFE, ids=lambda call: call.__name__)
@pytest.mark.parametrize("place", [in_a_call, in_a_signature, in_a_nested_function])
def test_what_reaches_out_is_found_wherever_it_stands(place, call, tmp_path):
    place(call, str(tmp_path))
    assert set(UNSAFE[call]) <= set(find_unsafe_operations(str(tmp_path)))


def test_a_table_from_a_file_is_found(tmp_path):
    (tmp_path / "words.txt").write_text("a\nb\n")
    whole_line, line_number = (
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(tmp_path / "words.txt"), tf.string, whole_line, tf.int64, line_number
        ),
        -1,
    )
    root = tf.train.Checkpoint(table=table)
    root.__call__ = tf.function(
        lambda images: images + tf.cast(table.lookup(tf.constant(["a"])), tf.float32), [INPUT]
    )
    tf.saved_model.save(root, str(tmp_path / "m"))
    assert find_unsafe_operations(str(tmp_path / "m")) == ["InitializeTableFromTextFileV2"]


def test_honest_models_are_let_through(clean, tmp_path):
    import keras

    layers = [
        keras.layers.Conv2D(2, 3),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
    ]
    keras.Sequential([keras.Input((8, 8, 3)), *layers]).export(str(tmp_path), verbose=False)
    shared = [path for path in (SHARED / "models").glob("*") if path.is_dir()]
    for path in (clean, tmp_path, *shared):
        check_trusted("m", str(path))


def test_the_refusal_says_what_it_could_do_and_what_to_do(tmp_path):
    in_a_call(lambda images: py_function(write_file(images)), str(tmp_path))
    with pytest.raises(ModelError) as caught:
        check_trusted("hub/m", str(tmp_path))
    message = str(caught.value)
    assert message.startswith("the model hub/m could read or write files, or run Python: ")
    assert "EagerPyFunc, WriteFile" in message
    assert "`trust_model=True`" in message


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_model_is_named(kept, clean, tmp_path):
    content = (clean / "saved_model.pb").read_bytes()
    (tmp_path / "saved_model.pb").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ModelError, match=r"saved_model\.pb is damaged: .*byte"):
        check_trusted("m", str(tmp_path))


def test_a_model_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"cannot read the model .*No such file"):
        check_trusted("m", str(tmp_path))


def test_damage_never_ends_in_another_error(clean, tmp_path):
    content = (clean / "saved_model.pb").read_bytes()
    source = random.Random(0)
    damaged = 0
    for _ in range(100):
        changed = bytearray(content)
        for _ in range(3):
            changed[source.randrange(len(changed))] = source.randrange(256)
        (tmp_path / "saved_model.pb").write_bytes(changed)
        try:
            find_unsafe_operations(str(tmp_path))
        except ModelError:
            damaged += 1
    assert damaged > 10


def registered():
    """Return all operations that TensorFlow registers."""
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    content = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    return op_def_pb2.OpList.FromString(content).op


def save_operations(operations, path: Path) -> str:
    """Write a graph with a node of each operation."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    nodes = saved.meta_graphs.add().graph_def.node
    for operation in operations:
        nodes.add(name=operation, op=operation)
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())
    return str(path)


OUTSIDE = re.compile(
    r"file|path|_dir$|^directory|prefix|address|ur[il]s?$|vocab|region|server|network|token$|stream"
    r"|pattern|descriptor|mlir|graph_def"
)
COMPUTING = {"RegexFullMatch", "RegexReplace", "StaticRegexFullMatch", "StaticRegexReplace"}
"""Operations that have such an argument, and only compute with it."""

HARMLESS = re.compile(
    # Variables, tables, queues and other state that lives in the process.
    r"Variable|VarHandle|VarIs|Resource|Assign|Table|Queue|Stack|TensorArray|Barrier|Accumul"
    r"|[Ss]tage|Map|Session|MemoryCache|Mutex|ScopedAllocator|Arg$|Retval$|Empty|DeepCopy|Cache|Pool"
    # Random numbers.
    r"|Random|Uniform|Normal|Multinomial|Sampl|Seed|Rng|NonDeterministic"
    # Control flow, checks, and what a graph says of itself.
    r"|If$|While$|Case$|PartitionedCall|Assert|CheckNumerics|^Print$|Sleep|Timestamp|Index|Device"
    r"|GuaranteeConst|IsTensorFloat32|GlobalIterId|DisableCopyOnRead|Stats|IterationCounter"
    # Accelerators, and the machines of a cluster, which no model sets up.
    r"|TPU|Xla|Nccl|Collective|Send$|Recv$|Infeed|Outfeed|CrossReplica|AllToAll|Minibatch|Dedup"
    r"|Cudnn|UpdateTaskId|ConvertToCoo|ParallelConcat"
    # Training, and TensorFlow's own tests.
    r"|BoostedTrees|NegTrain|TestAttr|DtypeWithDefault|GraphVersion|GraphDefVersion"
)
"""Names of stateful operations that were looked at, and reach nothing outside the process."""


def test_whatever_takes_a_place_outside_is_refused(tmp_path):
    """Hold the rule, which goes by names, against the arguments of all operations."""
    strings = {"string", "list(string)"}
    reaching = {
        operation.name
        for operation in registered()
        if any(
            arg.type == tf.string.as_datatype_enum and OUTSIDE.search(arg.name)
            for arg in operation.input_arg
        )
        or any(attr.type in strings and OUTSIDE.search(attr.name) for attr in operation.attr)
    }
    assert len(reaching) > 70
    refused = set(find_unsafe_operations(save_operations(reaching, tmp_path)))
    assert reaching - refused - COMPUTING == set()


def test_no_stateful_operation_is_unknown(tmp_path):
    """Fail when TensorFlow gets a new one, so that someone looks at it."""
    stateful = {operation.name for operation in registered() if operation.is_stateful}
    refused = set(find_unsafe_operations(save_operations(stateful, tmp_path)))
    assert {name for name in stateful - refused if not HARMLESS.search(name)} == set()
    assert {"Conv2D", "MatMul"} & refused == set()


def field(number: int, *contents: bytes | str) -> bytes:
    """Return length-delimited fields; none here is longer than a byte tells."""
    encoded = (c.encode() if isinstance(c, str) else c for c in contents)
    tag = number << 3 | 2
    start = bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])
    return b"".join(start + bytes([len(c)]) + c for c in encoded)


def tensor_at(location: str) -> bytes:
    entries = (("location", location), ("offset", "0"))
    return field(13, *(field(1, key) + field(2, value) for key, value in entries))


PLACES = {
    # Of ModelProto: graph 7, training_info 20, functions 25.
    "initializer": lambda tensor: field(7, field(5, tensor)),
    "sparse initializer": lambda tensor: field(7, field(15, field(2, tensor))),
    "attribute": lambda tensor: field(7, field(1, field(5, field(5, tensor)))),
    "attributes": lambda tensor: field(7, field(1, field(5, field(10, tensor)))),
    "subgraph": lambda tensor: field(7, field(1, field(5, field(6, field(5, tensor))))),
    "function": lambda tensor: field(25, field(7, field(5, field(5, tensor)))),
    "training": lambda tensor: field(20, field(1, field(5, tensor))),
}


@pytest.mark.parametrize("place", PLACES)
def test_weights_of_an_onnx_file_from_outside_its_folder_are_refused(place, tmp_path):
    model = tmp_path / "folder" / "m.onnx"
    model.parent.mkdir()
    (model.parent / "link").symlink_to(tmp_path / "x")
    for location in ("../x", "/etc/passwd", "sub/../../x", "link", ".."):
        model.write_bytes(PLACES[place](tensor_at(location)))
        assert find_external_data(str(model)) == [location]
        with pytest.raises(ModelError, match=f"outside its folder: {location}; "):
            check_trusted("m", str(model))
    for location in ("x", "sub/x", "a/../x"):
        model.write_bytes(PLACES[place](tensor_at(location)))
        assert find_external_data(str(model)) == [location]
        check_trusted("m", str(model))


def test_weights_of_an_onnx_file_in_a_cache_of_links_are_let_through(tmp_path):
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / "1").write_bytes(PLACES["initializer"](tensor_at("m.data")))
    (blobs / "2").write_bytes(b"")
    snapshot = tmp_path / "snapshots"
    snapshot.mkdir()
    (snapshot / "m.onnx").symlink_to(blobs / "1")
    (snapshot / "m.data").symlink_to(blobs / "2")
    check_trusted("m", str(snapshot / "m.onnx"))


def test_a_damaged_onnx_file_is_named(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x3a\x05\x0b")
    with pytest.raises(ModelError, match=r"m\.onnx is damaged"):
        check_trusted("m", str(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match="cannot read the model"):
        check_trusted("m", str(tmp_path / "gone.onnx"))
