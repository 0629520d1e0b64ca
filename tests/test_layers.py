"""The structure that the layout promises: what imports what, and what loads nothing heavy."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("embeddings", "transforms", "pipeline")


def imported(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer):
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    for file in (ROOT / layer).rglob("*.py"):
        assert not imported(file) & above, file


def test_embeddings_needs_numpy_and_pyarrow_only():
    allowed = {"numpy", "pyarrow", "embeddings", *sys.stdlib_module_names}
    for file in (ROOT / "embeddings").rglob("*.py"):
        assert imported(file) <= allowed, file


def test_tensorflow_and_keras_are_imported_in_two_modules_only():
    heavy = {"tensorflow", "tensorflow_hub", "keras"}
    files = [file for layer in LAYERS for file in (ROOT / layer).rglob("*.py")]
    found = {file.stem for file in files if imported(file) & heavy}
    assert found <= {"saved_model", "export"}


@pytest.mark.parametrize("command", [["--help"], ["extract", "--help"], ["inspect", "{dir}"]])
def test_light_commands_load_neither_beam_nor_tensorflow(command, extract, photos, tmp_path):
    extract("--input", photos / "group0")
    command = [word.format(dir=tmp_path / "out") for word in command]
    code = (
        "import sys, json\nfrom pipeline.main import main\n"
        f"try: code = main({command!r})\nexcept SystemExit as end: code = end.code\n"
        "print(json.dumps([code, [m for m in ('apache_beam', 'tensorflow') if m in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]


def test_tensorflow_is_imported_without_keras_which_stays_usable():
    code = (
        "import sys\nfrom transforms.saved_model import import_tensorflow\n"
        "tf = import_tensorflow()\nassert not {'keras', 'sklearn'} & sys.modules.keys()\n"
        "import keras\nassert tf.keras.layers.Dense is keras.layers.Dense"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_modules_stay_readable():
    for layer in LAYERS:
        for file in (ROOT / layer).rglob("*.py"):
            assert len(file.read_text().splitlines()) <= 350, file
