"""The workers' image: its Dockerfile is carried out here, and a worker of it embeds images.

TensorFlow is installed anew and Beam's boot program built with Go, so these tests run only with
BEAMVEC_ENGINES=all, as in `make test-engines`, or =gpu, as in `make test-images`, which installs
CUDA's libraries as well.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import hash_files
from hub import Hub, pack

import dockerfile

ROOT = Path(__file__).parents[1]
FILE = ROOT / "deploy" / "dataflow" / "Dockerfile"
BOOT = "github.com/apache/beam/sdks/v2/python/container"

ENGINES = os.environ.get("BEAMVEC_ENGINES")
pytestmark = [
    pytest.mark.timeout(1800),  # Builds and clusters take minutes.
    pytest.mark.skipif(not ENGINES, reason="runs with make test-engines"),
]


@pytest.fixture(scope="module")
def boot(tmp_path_factory) -> Path:
    """The folder /opt/apache/beam of Beam's own image: the program that starts workers."""
    go = shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin")
    assert go, "Beam's boot program is built with Go; put go on the PATH"
    folder = tmp_path_factory.mktemp("beam")
    version = dockerfile.defaults(dockerfile.parse(FILE.read_text()))["BEAM"]
    environment = {**os.environ, "GOBIN": str(folder)}
    subprocess.run([go, "install", f"{BOOT}@v{version}"], env=environment, check=True)
    (folder / "container").rename(folder / "boot")
    return folder


@pytest.fixture(scope="module")
def model(model_path):
    """A model's URL, whose server goes away once the image is built."""
    with Hub(body=pack(model_path)) as hub:
        yield hub


@pytest.fixture(scope="module")
def image(boot, model, tmp_path_factory):
    """The built image; its 3 GB are removed at the end."""
    root = tmp_path_factory.mktemp("image")
    yield dockerfile.build(FILE, root, {"MODEL": model.url}, {"/opt/apache/beam": boot})
    shutil.rmtree(root)


@pytest.fixture
def pool(image):
    """The image as a pool of workers; returns its address. `boot --worker_pool` runs the same."""
    assert json.loads(image.entrypoint) == ["/opt/apache/beam/boot"]
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    boot_program = f"--container_executable={image.root}/opt/apache/beam/boot"
    module = "apache_beam.runners.worker.worker_pool_main"
    command = [f"{image.root}/venv/bin/python", "-m", module, f"--service_port={port}"]
    log = image.root / "pool.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, boot_program],
            cwd=image.folder,
            env=image.environment,
            stderr=output,
            stdout=output,
        )
    address = f"localhost:{port}"
    deadline = time.monotonic() + 60
    while "Started worker pool" not in log.read_text() and time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    yield address
    process.terminate()
    process.wait(60)


def extract(image, output: Path, *flags: str) -> subprocess.CompletedProcess:
    """Run `beamvec extract` of this environment, with the image's cache of models."""
    command = [
        sys.executable,
        "-m",
        "beamvec.pipeline.commands.main",
        "extract",
        "--output",
        str(output),
    ]
    cache = {"TFHUB_CACHE_DIR": image.environment["TFHUB_CACHE_DIR"]}
    return subprocess.run(
        [*command, "--max-failure-ratio", "1", *flags],
        env={**os.environ, **cache},
        capture_output=True,
        text=True,
        timeout=300,
    )


def remote(address: str) -> list[str]:
    return [
        *("--runner", "PortableRunner", "--job_endpoint", "embed"),
        *("--environment_type", "EXTERNAL", "--environment_config", address),
    ]


def test_the_image_has_the_versions_of_the_lock_file(image):
    pip = [f"{image.root}/venv/bin/pip", "freeze", "--disable-pip-version-check"]
    done = subprocess.run(pip, capture_output=True, text=True, check=True)
    locked = (ROOT / "requirements-dev.lock").read_text().lower().replace("_", "-")
    installed = done.stdout.lower().replace("_", "-").splitlines()
    others = [line for line in installed if line.split(" ;")[0] not in locked]
    assert [line.split(" @")[0] for line in others] == ["beamvec"]
    assert not any(line.startswith(("pytest", "mypy", "playwright")) for line in installed)


def test_a_worker_of_the_image_gives_the_local_dataset(image, pool, model, photos, tmp_path):
    flags = ["--input", str(photos), "--model", model.url, "--chunk-size", "10"]
    asked = len(model.requests)
    done = extract(image, tmp_path / "remote", *flags, *remote(pool))
    assert done.returncode == 0, done.stderr
    done = extract(image, tmp_path / "local", *flags)
    assert done.returncode == 0, done.stderr
    assert len(model.requests) == asked == 1  # The model is in the image.
    assert hash_files(tmp_path / "remote") == hash_files(tmp_path / "local")
    run = json.loads((tmp_path / "remote" / "run.json").read_text())
    assert run["counts"]["embeddings"] == 21
    assert run["runner"] == "PortableRunner"
    assert "Provision info" in (image.root / "pool.log").read_text()  # Of the boot program.


def test_a_worker_without_the_gpu_that_is_required_fails_the_run(
    image, pool, model, photos, tmp_path
):
    flags = ["--input", str(photos), "--model", model.url, "--require-gpu"]
    done = extract(image, tmp_path / "out", *flags, *remote(pool))
    assert done.returncode == 3
    assert "a GPU is required, and TensorFlow sees none on" in done.stderr.splitlines()[-1]


CUDA = ("cudart.so.12", "cublas.so.12", "cudnn.so.9", "cufft.so.11", "cusolver.so.11")


@pytest.mark.skipif(ENGINES != "gpu", reason="7 GB; runs with make test-images")
def test_the_gpu_image_has_the_libraries_that_tensorflow_opens(boot, tmp_path):
    """All but those of the driver, which Dataflow mounts; 7 GB, removed at once."""
    arguments = {"EXTRA": "gpu", "MODEL": ""}
    image = dockerfile.build(FILE, tmp_path, arguments, {"/opt/apache/beam": boot})
    assert image.environment["LD_LIBRARY_PATH"] == "/usr/local/nvidia/lib64"
    code = (
        "import ctypes, importlib.util, pathlib\n"
        "(found,) = importlib.util.find_spec('nvidia').submodule_search_locations\n"
        f"for name in {CUDA}:\n"
        "    (path,) = pathlib.Path(found).glob(f'*/lib/lib{name}')\n"
        "    ctypes.CDLL(path)\n"
        "import tensorflow\n"
        "print(tensorflow.sysconfig.get_build_info()['cuda_version'])\n"
    )
    command = [f"{tmp_path}/venv/bin/python", "-c", code]
    done = subprocess.run(command, env=image.environment, capture_output=True, text=True)
    assert done.stdout.startswith("12."), done.stderr
    shutil.rmtree(tmp_path)
