"""The recipes of docs/recipes.md, run as they stand: they read what `embeddings` reads.

Recipes whose libraries are missing are skipped; with BEAMVEC_RECIPES=all they fail, but for torch.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import samples
from beamvec import embeddings
from beamvec.pipeline.commands.main import main

DOCS = Path(__file__).parents[1] / "docs" / "recipes.md"
RECIPES = dict(
    re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", DOCS.read_text(), re.M | re.S)
)
IN_ORDER = ["pandas", "polars", "Hugging Face datasets", "tf.data", "PyTorch"]
BY_URI = ["Spark"]
SEARCHES = ["DuckDB", "scikit-learn", "ClickHouse", "faiss", "usearch"]
COPIES = ["BigQuery"]
TRACKERS = ["Weights & Biases", "MLflow"]
VIEWERS = ["Renumics Spotlight", "FiftyOne"]  # They are in test_viewers.py.


@pytest.fixture
def dataset(tmp_path, monkeypatch, random):
    """A dataset of 40 rows in the current folder; its vectors differ in length, too."""
    vectors = random.normal(size=(40, samples.DIMENSION)) * random.uniform(0.1, 9, (40, 1))
    uris = [f"{tmp_path}/photos/{i:02d}/whole.jpg" for i in range(40)]
    uris[7] = f"{tmp_path}/photos/chelsea/whole.jpg"  # As `beamvec extract --input photos` does.
    samples.write_dataset(tmp_path / "dataset", vectors.astype(np.float32), uris)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return embeddings.open_dataset("dataset")


def require(code: str) -> None:
    """Skip if a library that a recipe imports is missing."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    for name in sorted({name.split(".")[0] for name in names} - set(sys.stdlib_module_names)):
        if os.environ.get("BEAMVEC_RECIPES") == "all" and name != "torch":
            importlib.import_module(name)
        pytest.importorskip(name, reason=f"the recipe needs {name}", exc_type=ImportError)
        if name == "pyspark" and not shutil.which("java"):
            pytest.skip("Spark needs java on the PATH")


def run(name: str) -> dict:
    """Run a recipe and return its variables."""
    require(RECIPES[name])
    namespace = {"__name__": name}
    exec(compile(RECIPES[name], f"{DOCS.name}, {name}", "exec"), namespace)
    return namespace


def test_each_recipe_is_tested():
    assert sorted(RECIPES) == sorted(IN_ORDER + BY_URI + SEARCHES + COPIES + TRACKERS + VIEWERS)


@pytest.mark.parametrize("name", IN_ORDER)
def test_a_recipe_reads_all_rows_in_order(name, dataset):
    found = run(name)
    assert found["uris"] == dataset.read_uris()
    vectors = np.asarray(found["vectors"])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, dataset.read_vectors())


@pytest.mark.parametrize("name", BY_URI)
def test_a_recipe_reads_all_rows_by_uri(name, dataset):
    found = run(name)
    assert found["uris"] == sorted(dataset.read_uris())
    np.testing.assert_array_equal(found["vectors"], dataset.lookup(found["uris"]).vectors)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_recipe_finds_the_nearest(name, dataset):
    query = dataset.lookup([os.path.abspath("photos/chelsea/whole.jpg")]).vectors
    rows, cosines = embeddings.search(dataset, query, k=5)
    uris, found = zip(*run(name)["nearest"], strict=True)
    assert list(uris) == dataset.take(rows[0]).metadata["uri"].to_pylist()
    np.testing.assert_allclose(found, cosines[0], atol=1e-5)


@pytest.mark.parametrize("name", COPIES)
def test_a_recipe_copies_all_columns(name, dataset):
    assert run(name)["images"].equals(dataset.read_embeddings())


@pytest.fixture
def report(dataset):
    """What the recipes of trackers log beside run.json."""
    assert main(["report", *dataset.paths, "--html", "report.html"]) == 0
    return Path("report.html").read_bytes()


def test_wandb_keeps_a_run(report, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    run("Weights & Biases")
    (folder,) = Path("wandb").glob("offline-run-*")
    (page,) = folder.glob("files/media/html/report_*.html")
    assert page.read_bytes() == report
    kept = next(folder.glob("run-*.wandb")).read_bytes()
    assert all(name.encode() in kept for name in ("images_per_s", "embeddings", "fingerprint"))


def test_mlflow_keeps_a_run(dataset, report, monkeypatch):
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    names = run("MLflow")
    kept = names["mlflow"].get_run(names["run"].info.run_id)
    assert kept.data.metrics["embeddings"] == len(dataset)
    assert kept.data.params["fingerprint"] == dataset.settings.fingerprint
    (artifact,) = Path("mlruns").glob("*/*/artifacts/report.html")
    assert artifact.read_bytes() == report
