"""Real photographs, a real ResNet-v2-50 and a trained EfficientNet-Lite0, where they are there."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from beamvec.embeddings import Dataset, open_dataset
from beamvec.pipeline.commands.main import main
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.resize import Resizing, choose_resizer
from beamvec.transforms.inference.model_files import import_tensorflow
from beamvec.transforms.inputs.patterns import IMAGE_EXTENSIONS

RESIZING = Resizing(224, resizer=choose_resizer())


@pytest.fixture(scope="module")
def embed(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Dataset]:
    """Embed a folder of the shared data with one of the models."""

    def run(name: str, model: str, *flags: str) -> Dataset:
        output = str(tmp_path_factory.mktemp(name) / "out")
        command = ["extract", "--input", str(shared / "data" / name)]
        command += ["--model", str(shared / "models" / model)]
        assert main([*command, "--output", output, *flags]) == 0
        return open_dataset(output)

    return run


def normalize(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_photos_equal_a_direct_call(shared, embed):
    dataset = embed("photos", "resnet_v2_50_partial")
    uris, vectors = dataset.read_uris(), dataset.read_vectors()
    assert (len(uris), dataset.read_failures().num_rows) == (250, 0)
    path = str(shared / "models" / "resnet_v2_50_partial")
    signature = import_tensorflow().saved_model.load(path).signatures["serving_default"]
    for start in range(0, 250, 25):
        files = uris[start : start + 25]
        pixels = [decode_image(Path(uri).read_bytes(), RESIZING).pixels for uri in files]
        images = np.stack(pixels).astype(np.float32) / 255
        expected = signature(inputs=images)["feature_vector"].numpy()
        cosines = (normalize(expected) * normalize(vectors[start : start + 25])).sum(axis=1)
        assert cosines.min() >= 0.99999


def test_nearest_neighbours_find_the_class(embed):
    dataset = embed("caltech40", "efficientnet_lite0")
    uris, vectors = dataset.read_uris(), dataset.read_vectors()
    classes = np.array([Path(uri).parent.name for uri in uris])
    cosines = normalize(vectors) @ normalize(vectors).T
    np.fill_diagonal(cosines, -1)
    assert len(uris) == 600
    assert (classes[cosines.argmax(axis=1)] == classes).mean() >= 0.9


_READ_BY_NOW = ("V3_", "rgb16-", "rgb32", "rgba16-", "rgba32")
"""BMPs with masks: Pillow, whose verdicts are expected, reads them only in some orders."""


def test_hard_images_are_rows_or_failures_as_expected(shared, embed):
    folder = shared / "data" / "hard"
    dataset = embed("hard", "resnet_v2_50_partial", "--max-failure-ratio", "1")
    uris, vectors = dataset.read_uris(), dataset.read_vectors()
    failures = {row["uri"]: row for row in dataset.read_failures().to_pylist()}
    files = {str(f) for f in folder.rglob("*") if f.suffix.lower() in IMAGE_EXTENSIONS}
    assert set(uris) | set(failures) == files
    assert len(uris) + len(failures) == len(files) == 337
    with (folder / "expected.tsv").open() as table:
        for row in csv.DictReader(table, delimiter="\t"):
            path = os.path.abspath(folder / row["path"])
            if path.endswith("pal4rlecut.bmp"):  # Pillow takes what it misreads for the rest.
                assert failures[path]["stage"] == "decode"
            elif row["verdict"] == "ok":
                assert path in uris
            elif not Path(path).name.startswith(_READ_BY_NOW):
                assert failures[path]["stage"] == "decode"
                assert failures[path]["message"]
    for kind in ("Landscape", "Portrait"):
        rows = [i for i, uri in enumerate(uris) if Path(uri).name.startswith(f"{kind}_")]
        assert len(rows) == 9
        same = normalize(vectors[rows])
        assert min(a @ b for a, b in itertools.combinations(same, 2)) >= 0.98
