"""Models on a hub: several addresses, Kaggle's handles, no pkg_resources."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import types

import pytest
from conftest import forget_models
from hub import Hub, pack

from beamvec.errors import ModelError
from beamvec.pipeline.commands.main import main
from beamvec.transforms.inference import hub
from beamvec.transforms.inference.config import DEFAULT_MODEL
from beamvec.transforms.inference.model_files import ModelFiles

HANDLE = "google/resnet-v2/tensorFlow2/50-feature-vector/2"
ON_TFHUB = "google/imagenet/resnet_v2_50/feature_vector/5"
ADDRESSES = [
    f"https://tfhub.dev/{ON_TFHUB}",
    f"https://storage.googleapis.com/tfhub-modules/{ON_TFHUB}.tar.gz",
    f"https://www.kaggle.com/models/{HANDLE}",
    f"https://www.kaggle.com/api/v1/models/{HANDLE}/download",
]
OLD_PAGE = (
    "https://www.kaggle.com/models/google/resnet-v2/frameworks/TensorFlow2/variations/"
    "50-feature-vector/versions/2"
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "DOWNLOAD_TIMEOUT_S", 1.0)
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    forget_models()


@pytest.fixture
def move(monkeypatch):
    """Let the hubs be at another address."""

    def move(server: Hub) -> str:
        root = server.url.removesuffix("google/imagenet/resnet/1")
        monkeypatch.setattr(hub, "TFHUB", f"{root}tfhub/")
        monkeypatch.setattr(hub, "TFHUB_ARCHIVES", f"{root}archives/")
        monkeypatch.setattr(hub, "KAGGLE", f"{root}kaggle/")
        return f"{root}tfhub/google/imagenet/resnet_v2_50/feature_vector/5"

    return move


def test_the_default_model_has_four_addresses():
    assert hub.list_addresses(DEFAULT_MODEL) == ADDRESSES


@pytest.mark.parametrize(
    ("handle", "addresses"),
    [
        (HANDLE, ADDRESSES[2:]),
        (HANDLE.replace("tensorFlow2", "TensorFlow2"), ADDRESSES[2:]),
        (ADDRESSES[2], ADDRESSES[2:]),
        (OLD_PAGE, ADDRESSES[2:]),
        (
            "https://tfhub.dev/google/bit/m-r50x1/1",
            ["https://storage.googleapis.com/tfhub-modules/google/bit/m-r50x1/1.tar.gz"],
        ),
        ("https://example.com/m?token=1", []),
        ("https://www.kaggle.com/models/google/resnet-v2", []),
    ],
)
def test_addresses(handle, addresses):
    assert hub.is_on_hub(handle)
    named = [handle] if "://" in handle and handle not in addresses else []
    assert hub.list_addresses(handle) == named + addresses


@pytest.mark.parametrize("only", ["archives/", "kaggle/models/", "kaggle/api/v1/models/"])
def test_where_the_first_address_is_forbidden_another_serves(model_path, move, only):
    with Hub(body=pack(model_path)) as server:
        handle = move(server)
        paths = [f"/{address.split('/', 3)[3]}" for address in hub.list_addresses(handle)]
        server.only = next(path for path in paths if path.startswith(f"/{only}"))
        fetched = ModelFiles.fetch(handle)
        assert fetched.fingerprint() == ModelFiles.fetch(model_path).fingerprint()
        asked = [path.split("?")[0] for path in server.requests]
        assert asked == paths[: paths.index(server.only) + 1]
        assert ModelFiles.fetch(handle).path == fetched.path
        assert len(server.requests) == len(asked)  # None is asked again.


def test_what_each_address_answered_is_told(move, capsys):
    with Hub(status=404) as server:
        assert main(["model", "check", move(server)]) == 2
    error = capsys.readouterr().err
    assert error.count("127.0.0.1: the server answered 404") == 4
    assert "beamvec model export efficientnet-lite0 DIR" in error
    assert "random" not in error
    assert error.count("\n") == 1


def test_kaggles_handles_are_understood(model_path, move, extract, photos):
    with Hub(body=pack(model_path)) as server:
        move(server)
        assert extract("--input", photos / "group0", model=HANDLE) == 0
        assert server.requests == [f"/kaggle/models/{HANDLE}?tf-hub-format=compressed"]


def test_a_model_of_kaggle_without_a_version_is_refused(capsys):
    assert main(["model", "check", HANDLE.removesuffix("/2")]) == 2
    assert f"add one, as in {HANDLE.removesuffix('2')}1" in capsys.readouterr().err


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch, model_path):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model_path, tmp_path / HANDLE)
    assert ModelFiles.fetch(HANDLE).path == HANDLE


def install_kagglehub(monkeypatch, answer):
    package = types.ModuleType("kagglehub")
    package.__spec__ = types.SimpleNamespace()
    package.model_download = answer
    monkeypatch.setitem(sys.modules, "kagglehub", package)


def test_kagglehub_fetches_where_it_is_installed(model_path, monkeypatch):
    asked = []
    install_kagglehub(monkeypatch, lambda name: asked.append(name) or model_path)
    assert ModelFiles.fetch(f"https://www.kaggle.com/models/{HANDLE}").path == model_path
    assert asked == [HANDLE]


def test_what_kagglehub_raises_is_told(monkeypatch):
    def fail(_):
        raise RuntimeError("403 Client Error.\n\nYou don't have permission")

    install_kagglehub(monkeypatch, fail)
    with pytest.raises(ModelError, match=f"{HANDLE} with kagglehub: 403 Client Error.; give the"):
        ModelFiles.fetch(HANDLE)


@pytest.mark.parametrize(
    "answer", [b"no http\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
def test_an_answer_that_is_no_http_is_told(answer, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        assert main(["model", "check", f"http://127.0.0.1:{server.getsockname()[1]}/m"]) == 2
    assert "cannot fetch the model" in capsys.readouterr().err


def test_a_url_that_is_none_is_told(capsys):
    assert main(["model", "check", "http://exa mple/m"]) == 2
    assert "cannot fetch the model" in capsys.readouterr().err


def test_setuptools_without_pkg_resources_will_do(model_path):
    code = (
        "import sys\nsys.modules['pkg_resources'] = None\n"  # As if it were not installed.
        "from beamvec.transforms.inference.model_files import ModelFiles\n"
        "print(ModelFiles.fetch(sys.argv[1]).fingerprint())\n"
        "assert 'tensorflow_hub' in sys.modules and 'pkg_resources' not in sys.modules"
    )
    with Hub(body=pack(model_path)) as server:
        done = subprocess.run(
            [sys.executable, "-c", code, server.url], capture_output=True, text=True, check=True
        )
    assert done.stdout.strip() == ModelFiles.fetch(model_path).fingerprint()
