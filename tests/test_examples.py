"""The programs of examples/, run as they stand."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import samples

ROOT = Path(__file__).parents[1]


@pytest.fixture
def here(tmp_path, photos, model_path, monkeypatch):
    """A folder with the photographs and the model that the examples speak of."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model_path, "resnet_v2_50")
    shutil.copytree(photos / "group0", "photos")
    Path("photos/broken.jpg").write_bytes(b"no image")
    for name, seed in [("cat", 1), ("dog", 2)]:
        samples.make_image(seed).save(f"photos/{name}.jpg")
    return tmp_path


OUTPUTS = ("embeddings", "failures")


def run(*command: str | Path) -> str:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pipeline_of_fifteen_lines(here):
    images = ["photos/cat.jpg", "photos/dog.jpg", "photos/broken.jpg"]
    script = ROOT / "examples" / "embed_to_parquet.py"
    code = [line for line in script.read_text().splitlines() if line.strip()]
    assert len(code) <= 18  # With the docstring and how to call it.
    run(script, "resnet_v2_50", "out", *images, "--runner=FnApiRunner")
    rows = {name: pq.read_table(next(here.glob(f"out/{name}*"))) for name in OUTPUTS}
    assert sorted(rows["embeddings"]["uri"].to_pylist()) == images[:2]
    assert rows["failures"]["uri"].to_pylist() == images[2:]


@pytest.mark.usefixtures("here")
def test_a_notebook_twice():
    script = ROOT / "examples" / "notebook.py"
    first, second = (run(script, "photos", "resnet_v2_50", "dataset") for _ in range(2))
    assert first.startswith("13 of 14 images")
    assert "broken.jpg" in first
    assert second.splitlines()[1:] == first.splitlines()[1:]


YAML_PACKAGES = ("docstring_parser", "jsonschema", "pandas")


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, YAML_PACKAGES)),
    reason="Beam's YAML needs more packages: make test-recipes installs them",
)
def test_a_yaml_pipeline(here):
    uris = ["photos/cat.jpg", "photos/dog.jpg", "photos/broken.jpg"]
    pq.write_table(pa.table({"uri": uris, "label": ["c", "d", "b"]}), "images.parquet")
    command = ["-m", "apache_beam.yaml.main", "--runner=FnApiRunner"]
    command += [f"--yaml_pipeline_file={ROOT / 'examples' / 'embed.yaml'}"]
    variables = '{"images": "images.parquet", "model": "resnet_v2_50", "output": "out"}'
    run(*command, f"--jinja_variables={variables}")
    rows = {name: pq.read_table(next(here.glob(f"out/{name}*"))) for name in OUTPUTS}
    assert sorted(rows["embeddings"]["label"].to_pylist()) == ["c", "d"]
    assert rows["failures"]["label"].to_pylist() == ["b"]


def test_the_tests_that_the_docs_name_are_there():
    found = {file.name: file.read_text() for file in (ROOT / "tests").glob("test_*.py")}
    for page in (*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"):
        for file, name in re.findall(r"\b(test_\w+\.py)(?:::(\w+))?", page.read_text()):
            assert f"def {name}" in found[file] if name else file in found, f"{page}: {file} {name}"


def test_examples_name_no_machine():
    for file in (ROOT / "examples").iterdir():
        if file.suffix in (".py", ".yaml"):
            assert os.path.expanduser("~") not in file.read_text()
