"""What is begun ahead of a run, and what is not imported: a quicker start changes no byte."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest
from conftest import forget_models, hash_files

from beamvec.embeddings import open_dataset
from beamvec.pipeline.commands.main import main
from beamvec.pipeline.run.ahead import Ahead
from beamvec.pipeline.run.config import make_config
from beamvec.pipeline.run.launch import run_extraction
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import _loaded, load_model

HEAVY = ("apache_beam", "numpy", "pyarrow", "tensorflow", "openvino")
CLOUDS = ("boto3", "google.cloud.storage", "pymongo", "tensorflow", "openvino.tools.ovc")

needs_openvino = pytest.mark.skipif(
    not importlib.util.find_spec("openvino"), reason="needs openvino"
)


def list_imported(words: list[str], names: tuple[str, ...]) -> list[str]:
    """Run a command in a process of its own; return which modules it has imported."""
    code = (
        "import json, sys\n"
        "from beamvec.pipeline.commands.main import main\n"
        f"try: assert main({words!r}) == 0\n"
        "except SystemExit as end: assert not end.code\n"
        f"print(json.dumps([name for name in {names!r} if name in sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stderr.splitlines()[-1])
    return found


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["inspect", "--help"]])
def test_what_needs_nothing_imports_nothing_large(words):
    assert list_imported(words, HEAVY) == []


@needs_openvino
def test_a_local_run_imports_no_clients_of_clouds_and_no_converter(model_path, photos, tmp_path):
    words = ["extract", "--model", model_path, "--engine", "openvino", "--input", str(photos)]
    words += ["--output", str(tmp_path / "out"), "--max-failure-ratio", "1"]
    assert list_imported(words, ("apache_beam", *CLOUDS)) == ["apache_beam"]


@pytest.fixture
def config(model_path, photos, tmp_path):
    """The configuration of a run with OpenVINO."""
    return make_config(
        {
            "input": str(photos),
            "output": str(tmp_path / "out"),
            "model": model_path,
            "engine": "openvino",
            "batch_size": 4,
            "max_failure_ratio": 1.0,
        }
    )


@needs_openvino
def test_what_was_begun_ahead_is_used_and_changes_no_byte(config, photos, model_path, tmp_path):
    forget_models()
    ahead = Ahead(config)
    model = load_model(ModelConfig(model_path, "openvino", batch_size=4))
    assert ahead.take_examination(model) is not None
    record = run_extraction(config, ahead=ahead)
    assert record.model_loads == 1
    flags = ["--engine", "openvino", "--batch-size", "4", "--max-failure-ratio", "1", "--verbose"]
    other = ["--model", model_path, "--input", str(photos), "--output", str(tmp_path / "other")]
    assert main(["extract", *other, *flags]) == 0
    assert hash_files(tmp_path / "other") == hash_files(tmp_path / "out")
    assert record.notes == open_dataset(str(tmp_path / "other")).run.notes


@needs_openvino
def test_another_model_is_not_taken_for_the_one_that_was_examined(config, model_path):
    ahead = Ahead(config)
    other = load_model(ModelConfig(model_path, "openvino", batch_size=8))
    assert ahead.take_examination(other) is None


@needs_openvino
@pytest.mark.parametrize("wrong", ["model", "input", "output"])
def test_what_is_wrong_is_told_by_the_run_in_one_line(extract, photos, tmp_path, capfd, wrong):
    (tmp_path / "empty").mkdir()
    model = tmp_path / "bad"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"no model")
    flags = ["--engine", "openvino", "--input", photos]
    if wrong == "model":
        code = extract(*flags, model=str(model))
    elif wrong == "input":
        code = extract("--engine", "openvino", "--input", tmp_path / "empty")
    else:
        code = extract(*flags, output=photos / "broken.jpg")
    err = capfd.readouterr().err
    assert code == 2
    assert "Traceback" not in err
    assert err.count("beamvec: ") == 1


@needs_openvino
def test_nothing_is_begun_where_there_is_a_folder_already(config, tmp_path):
    (tmp_path / "out").mkdir()
    forget_models()
    ahead = Ahead(config)
    assert ahead.take_known() is None
    assert not _loaded
