"""Shared fixtures: a small real SavedModel, photographs made on the spot, running beamvec."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import samples
from beamvec.embeddings import Dataset, open_dataset
from beamvec.pipeline.commands.main import main
from beamvec.pipeline.silence import silence
from beamvec.transforms.inference import model

silence()

for _package in ("apache_beam", "openvino"):
    # All of it: a command that is run in this process would leave out what it does not use.
    if importlib.util.find_spec(_package):
        importlib.import_module(_package)

SHARED = Path(os.environ.get("BEAMVEC_SHARED", Path(__file__).parents[2] / "shared"))
BROWSER = os.environ.get("BEAMVEC_CHROMIUM") or shutil.which("chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync".split()
)


@pytest.fixture(autouse=True)
def warnings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep commands from turning off warnings, which the tests take for errors."""
    monkeypatch.setattr("beamvec.pipeline.commands.main.silence", lambda: None)


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SavedModel: float32 [N, 32, 32, 3] -> [N, 16], callable with `training`."""
    path = tmp_path_factory.mktemp("model") / "tiny"
    samples.save_tiny_model(str(path))
    return str(path)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 23 images in several formats, two of them broken, and files that are none."""
    folder = tmp_path_factory.mktemp("photos")
    samples.make_folder(folder)
    return folder


@pytest.fixture
def extract(model_path: str, tmp_path: Path) -> Callable[..., int]:
    """Run `beamvec extract` into tmp_path / "out" with the tiny model, and return the exit code."""

    def run(*flags: str | Path, output: Path = tmp_path / "out", model: str = model_path) -> int:
        return main(["extract", "--model", model, "--output", str(output), *map(str, flags)])

    return run


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[[], Dataset]:
    """Open the dataset that `extract` wrote."""
    return lambda: open_dataset(str(tmp_path / "out"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and a real model; tests that need it are skipped without."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the photographs and the model of {SHARED} (BEAMVEC_SHARED)")
    return SHARED


@pytest.fixture(scope="module")
def browser():
    """Chromium, started once for a module."""
    if not BROWSER:
        pytest.skip("needs Chromium on the path, or BEAMVEC_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def random() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)


def forget_models() -> None:
    """Let models be loaded anew, as in a new process."""
    model._loaded.clear()


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a dataset's two tables."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for table in ("embeddings", "failures")
        for file in sorted((folder / table).iterdir())
    }
