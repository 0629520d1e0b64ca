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
ROOMS = {
    # Each room of the library, and the rooms that it may know of.
    "files": {"records"},
    "records": set(),
    "inputs": {"files", "records"},
    "planning": {"files", "records"},
    "decoding": {"files", "records"},
    "inference": {"files", "records"},
    "export": {"decoding", "files", "inference", "inputs"},
    "output": {"files", "records"},
    "embedding": {"decoding", "inference", "inputs", "files", "records"},
}


def imported(file: Path) -> set[str]:
    """Return the modules that a file imports, those of beamvec as `layer.room.module`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            own = module.split(".")[0] == "beamvec"
            names |= {f"{module}.{alias.name}" for alias in node.names} if own else {module}
    return {name.removeprefix("beamvec.") for name in names}


def tops(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(file)}


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer):
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    for file in (ROOT / layer).rglob("*.py"):
        assert not tops(file) & above, file


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_know_only_the_rooms_that_they_stand_on(room):
    for file in (ROOT / "transforms" / room).rglob("*.py"):
        found = {name.split(".")[1] for name in imported(file) if name.startswith("transforms.")}
        assert found & ROOMS.keys() <= ROOMS[room] | {room}, file


def test_the_library_has_no_other_rooms():
    folders = {folder.name for folder in (ROOT / "transforms").iterdir() if folder.is_dir()}
    assert folders - {"__pycache__"} == ROOMS.keys()


def test_embeddings_needs_numpy_and_pyarrow_only():
    allowed = {"numpy", "pyarrow", "embeddings", "errors", "model_spec", *sys.stdlib_module_names}
    for file in (ROOT / "embeddings").rglob("*.py"):
        assert tops(file) <= allowed, file


def test_tensorflow_and_keras_are_imported_in_few_modules_only():
    heavy = {"tensorflow", "tensorflow_hub", "keras"}
    files = [file for layer in LAYERS for file in (ROOT / layer).rglob("*.py")]
    found = {file.stem for file in files if tops(file) & heavy}
    assert found <= {"model_files", "hub", "saved_model"}


@pytest.mark.parametrize("command", [["--help"], ["extract", "--help"], ["inspect", "{dir}"]])
def test_light_commands_load_neither_beam_nor_tensorflow(command, extract, photos, tmp_path):
    extract("--input", photos / "group0")
    command = [word.format(dir=tmp_path / "out") for word in command]
    code = (
        "import sys, json\nfrom beamvec.pipeline.commands.main import main\n"
        f"try: code = main({command!r})\nexcept SystemExit as end: code = end.code\n"
        "print(json.dumps([code, [m for m in ('apache_beam', 'tensorflow') if m in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]


def test_tensorflow_is_imported_without_keras_which_stays_usable():
    code = (
        "import sys\nfrom beamvec.transforms.inference.model_files import import_tensorflow\n"
        "tf = import_tensorflow()\nassert not {'keras', 'sklearn'} & sys.modules.keys()\n"
        "import keras\nassert tf.keras.layers.Dense is keras.layers.Dense"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_modules_stay_readable():
    for layer in LAYERS:
        for file in (ROOT / layer).rglob("*.py"):
            assert len(file.read_text().splitlines()) <= 350, file
