"""The recipes of docs/recipes.md for viewers, each run by an environment of its own.

BEAMVEC_VIEWERS names the folder with these, which `make test-viewers` makes.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_recipes import DOCS, RECIPES

import pages
import samples
from beamvec import embeddings

FOLDER = Path(os.environ.get("BEAMVEC_VIEWERS", ""))

pytestmark = [
    pytest.mark.skipif(not FOLDER.name, reason="make test-viewers has the viewers"),
    pytest.mark.timeout(900),
]


@pytest.fixture
def dataset(tmp_path, random):
    """A dataset of 40 images in 4 folders."""
    uris = [str(tmp_path / f"photos/{i % 4}/{i:02d}.jpg") for i in range(40)]
    for i, uri in enumerate(uris):
        Path(uri).parent.mkdir(parents=True, exist_ok=True)
        samples.make_image(i).save(uri)
    vectors = random.normal(size=(40, samples.DIMENSION)).astype(np.float32)
    samples.write_dataset(tmp_path / "dataset", vectors, uris)
    return embeddings.open_dataset(str(tmp_path / "dataset"))


def run(viewer: str, folder: Path, *command: str) -> str:
    """Run a command of a viewer's environment in a folder, where its home is, too."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    environment |= {
        "BROWSER": "true",  # Opens nothing.
        "FIFTYONE_DATABASE_VALIDATION": "false",
        "FIFTYONE_DO_NOT_TRACK": "true",
        "HOME": str(folder),
        "PATH": f"{(FOLDER / viewer / 'bin').resolve()}:{os.environ['PATH']}",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_spotlight_shows_images_and_embeddings(dataset, tmp_path):
    look = """
import json, urllib.request
table = json.load(urllib.request.urlopen(viewer.url + "api/table/"))
viewer.close()
columns = {column["name"]: column for column in table["columns"]}
kinds = [columns[name]["dtype"]["name"] for name in ("image", "embedding")]
print(json.dumps([columns["uri"]["values"], kinds]))
"""
    shown = run(
        "renumics-spotlight", tmp_path, "python", "-c", RECIPES["Renumics Spotlight"] + look
    )
    uris, kinds = json.loads(shown.splitlines()[-1])
    assert uris == dataset.read_uris()
    assert kinds == ["Image", "Embedding"]


def test_embedding_atlas_makes_a_map(dataset, tmp_path):
    (block,) = [block for block in pages.find_blocks(DOCS) if block.needs == "viewers"]
    run("embedding-atlas", tmp_path, "bash", "-ec", block.code)
    table = pq.read_table(tmp_path / "atlas" / "data" / "dataset.parquet")
    assert table["uri"].to_pylist() == dataset.read_uris()
    assert np.isfinite(table["projection_x"].to_numpy()).all()
    assert (tmp_path / "atlas" / "index.html").exists()


def test_fiftyone_has_images_labels_and_a_map(dataset, tmp_path):
    look = """
import json
found = [images.values(name) for name in ("filepath", "label.label", "embedding")]
points = images.load_brain_results("map").points
print(json.dumps([*found, points.shape]))
"""
    shown = run("fiftyone", tmp_path, "python", "-c", RECIPES["FiftyOne"] + look)
    uris, labels, vectors, shape = json.loads(shown.splitlines()[-1])
    assert uris == dataset.read_uris()
    assert labels == [Path(uri).parent.name for uri in uris]
    np.testing.assert_array_equal(np.array(vectors, np.float32), dataset.read_vectors())
    assert shape == [40, 2]
