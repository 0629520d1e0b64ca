"""What leads to what in a SavedModel: the saver is let through, and nothing that uses it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import samples
from beamvec.transforms.inference.model_files import import_tensorflow
from beamvec.transforms.inference.trust import find_unsafe_operations

tf = import_tensorflow()


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clean")
    samples.save_tiny_model(str(path))
    return path


def edit(source: Path, target: Path, change) -> str:
    """Copy a SavedModel, with its meta graph changed."""
    from tensorflow.core.protobuf import saved_model_pb2

    shutil.copytree(source, target)
    file = target / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(saved.meta_graphs[0])
    file.write_bytes(saved.SerializeToString())
    return str(target)


def function_with(meta_graph, operation: str):
    """Return the one function that has an operation."""
    functions = meta_graph.graph_def.library.function
    (found,) = (f for f in functions if operation in {node.op for node in f.node_def})
    return found


def add_call(nodes, name: str) -> None:
    nodes.add(name="extra", op="StatefulPartitionedCall").attr["f"].func.name = name


def save_version_1(path: str, initialise) -> None:
    """Save a model as TensorFlow 1 did, with a saver of operations and an initialiser."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, (None, 8, 8, 3))
        weight = v1.get_variable("weight", (), use_resource=True)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(
            session,
            path,
            {"images": images},
            {"default": images * weight},
            legacy_init_op=initialise(),
        )


def test_models_of_tensorflow_1_are_judged_by_the_same_rule(tmp_path):
    save_version_1(str(tmp_path / "clean"), tf.no_op)
    assert find_unsafe_operations(str(tmp_path / "clean")) == []
    save_version_1(str(tmp_path / "writes"), lambda: tf.io.write_file("/tmp/x", "text"))
    assert find_unsafe_operations(str(tmp_path / "writes")) == ["WriteFile"]

    def use_saver(meta_graph):
        (restored,) = (n.name for n in meta_graph.graph_def.node if n.op == "RestoreV2")
        meta_graph.signature_def["serving_default"].outputs["default"].name = f"{restored}:0"

    def save_when_restoring(meta_graph):
        nodes = {node.name: node for node in meta_graph.graph_def.node}
        saver = meta_graph.saver_def
        nodes[saver.restore_op_name].input.append(f"^{saver.save_tensor_name.split(':')[0]}")

    clean = tmp_path / "clean"
    assert find_unsafe_operations(edit(clean, tmp_path / "a", use_saver)) == ["RestoreV2"]
    saving = find_unsafe_operations(edit(clean, tmp_path / "b", save_when_restoring))
    assert "SaveV2" in saving


def write_when_saving(meta_graph):
    function_with(meta_graph, "SaveV2").node_def.add(name="extra", op="WriteFile")


def restore_when_called(meta_graph):
    called = next(iter(meta_graph.object_graph_def.concrete_functions))
    (function,) = (f for f in meta_graph.graph_def.library.function if f.signature.name == called)
    add_call(function.node_def, function_with(meta_graph, "RestoreV2").signature.name)


def restore_as_if_an_operation(meta_graph):
    name = function_with(meta_graph, "RestoreV2").signature.name
    meta_graph.graph_def.node.add(name="extra", op=name)


def restore_as_an_object(meta_graph):
    name = function_with(meta_graph, "RestoreV2").signature.name
    meta_graph.object_graph_def.concrete_functions[name].SetInParent()


def restore_as_a_gradient(meta_graph):
    name = function_with(meta_graph, "RestoreV2").signature.name
    meta_graph.graph_def.library.gradient.add(function_name="f", gradient_func=name)


def restore_as_another_implementation(meta_graph):
    function_with(meta_graph, "RestoreV2").attr["api_implements"].s = b"f"


def restore_in_an_argument(meta_graph):
    name = function_with(meta_graph, "RestoreV2").signature.name
    outer = meta_graph.graph_def.node.add(name="extra", op="If").attr["f"].list.func.add(name="f")
    outer.attr["g"].func.name = name


def restore_when_initialised(meta_graph):
    name = meta_graph.saver_def.restore_op_name
    meta_graph.collection_def["saved_model_main_op"].node_list.value.append(name)


def save_when_restoring(meta_graph):
    name = function_with(meta_graph, "SaveV2").signature.name
    add_call(function_with(meta_graph, "RestoreV2").node_def, name)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (write_when_saving, {"WriteFile"}),
        (restore_when_called, {"RestoreV2"}),
        (restore_as_if_an_operation, {"RestoreV2"}),
        (restore_as_an_object, {"RestoreV2"}),
        (restore_as_a_gradient, {"RestoreV2"}),
        (restore_as_another_implementation, {"RestoreV2"}),
        (restore_in_an_argument, {"RestoreV2"}),
        (restore_when_initialised, {"RestoreV2"}),
        (save_when_restoring, {"MergeV2Checkpoints", "SaveV2"}),
        (lambda meta_graph: meta_graph.ClearField("saver_def"), {"RestoreV2", "SaveV2"}),
    ],
)
def test_the_saver_is_let_through_only_where_nothing_else_leads_to_it(
    change, found, clean, tmp_path
):
    assert found <= set(find_unsafe_operations(edit(clean, tmp_path / "m", change)))


def test_tensors_of_composite_outputs_lead_to_the_saver_too(clean, tmp_path):
    def change(meta_graph):
        output = meta_graph.signature_def["serving_default"].outputs["more"]
        name = f"{meta_graph.saver_def.restore_op_name}:0"
        output.composite_tensor.components.add().coo_sparse.values_tensor_name = name

    assert find_unsafe_operations(edit(clean, tmp_path / "m", change)) == ["RestoreV2"]
