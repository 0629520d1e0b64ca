"""Models: fetching, loading, refusing, exporting."""

from __future__ import annotations

import io
import shutil
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import samples
from embeddings import open_dataset
from pipeline.main import main
from transforms import model as model_module
from transforms import saved_model
from transforms.model import FeatureModel, load_model
from transforms.saved_model import ModelError, fingerprint_model, import_tensorflow
from transforms.settings import ENGINES


def pack(folder: str | Path) -> bytes:
    """Pack a SavedModel as a hub does."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder, arcname=".")
    return buffer.getvalue()


class Hub(ThreadingHTTPServer):
    """A server that answers as TF-Hub does, or as a broken one."""

    daemon_threads = True

    def __init__(self, status: int = 200, body: bytes = b"", silent: bool = False):
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.status, self.body, self.silent = status, body, silent
        self.requests: list[str] = []
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/google/imagenet/resnet/1"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self.shutdown()
        super().__exit__(*error)


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if self.server.silent:
            self.server.closing.wait(60)
            return
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Give each test a cache of downloaded models and of loaded ones."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(saved_model, "DOWNLOAD_TIMEOUT_S", 1.0)
    model_module._load_once.cache_clear()


def test_a_hub_is_asked_once_then_the_cache_serves(extract, photos, model_path, tmp_path):
    with Hub(body=pack(model_path)) as hub:
        assert extract("--input", photos / "group0", model=hub.url) == 0
        assert hub.requests == ["/google/imagenet/resnet/1?tf-hub-format=compressed"]
        model_module._load_once.cache_clear()
        assert extract("--input", photos / "group1", model=hub.url, output=tmp_path / "b") == 0
        assert len(hub.requests) == 1
    model_module._load_once.cache_clear()
    assert extract("--input", photos / "group1", model=hub.url, output=tmp_path / "c") == 0


@pytest.mark.parametrize(
    ("hub", "message"),
    [
        ({"status": 404}, "the server answered 404"),
        ({"status": 500}, "the server answered 500"),
        ({"body": b"<html>sign in</html>"}, "cannot fetch the model"),
        ({"body": b""}, "cannot fetch the model"),
        ({"silent": True}, "timed out"),
    ],
)
def test_a_broken_hub_ends_with_2_and_says_what_to_do(extract, photos, capsys, hub, message):
    with Hub(**hub) as server:
        started = time.monotonic()
        assert extract("--input", photos, model=server.url) == 2
        assert time.monotonic() - started < 30  # A hang would last for ever.
    error = capsys.readouterr().err
    assert message in error
    assert "beamvec model export" in error
    assert "--model" in error
    assert error.count("\n") == 1


def test_half_an_archive_is_refused_and_not_cached(extract, photos, model_path, capsys):
    whole = pack(model_path)
    with Hub(body=whole[: len(whole) // 2]) as hub:
        assert extract("--input", photos, model=hub.url) == 2
        assert "cannot fetch the model" in capsys.readouterr().err
        hub.body = whole
        assert extract("--input", photos / "group0", model=hub.url) == 0


@pytest.mark.parametrize("name", ["../outside/evil", "/tmp/beamvec-evil"])
def test_an_archive_cannot_write_outside_of_its_folder(
    extract, photos, model_path, tmp_path, capsys, name
):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(model_path, arcname=".")
        archive.addfile(tarfile.TarInfo(name))
    with Hub(body=buffer.getvalue()) as hub:
        code = extract("--input", photos / "group0", model=hub.url)
    if ".." in name:
        assert code == 2
        assert "cannot fetch the model" in capsys.readouterr().err
    assert not list(tmp_path.rglob("evil"))
    assert not Path("/tmp/beamvec-evil").exists()


def test_nothing_listening_ends_with_2(extract, photos, capsys):
    assert extract("--input", photos, model="http://127.0.0.1:9/model") == 2
    assert "beamvec model export" in capsys.readouterr().err


def test_secrets_in_a_url_are_shown_nowhere(extract, photos, model_path, tmp_path, capsys):
    secret = "http://user:hunter2@127.0.0.1:{}/model?token=hunter2"
    assert extract("--input", photos, model=secret.format(9)) == 2
    samples.save_model(str(tmp_path / "no_model"), identity)
    with Hub(body=pack(tmp_path / "no_model")) as hub:
        assert extract("--input", photos, model=f"{hub.url}?token=hunter2") == 2
    with Hub(body=pack(model_path)) as hub:
        url = f"{hub.url}?token=hunter2"
        assert extract("--input", photos / "group0", model=url) == 0
        assert main(["model", "check", url]) == 0
        (tmp_path / "list").write_text(f"{hub.url}/a.jpg?token=hunter2")
        assert extract("--input-list", tmp_path / "list", model=url, output=tmp_path / "b") == 1
    assert main(["inspect", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "hunter2" not in shown.out + shown.err
    for output in ("out", "b"):
        assert "hunter2" not in (tmp_path / output / "run.json").read_text()
    failures = open_dataset(str(tmp_path / "b")).read_failures()
    assert "hunter2" not in failures["message"][0].as_py()


def test_loaded_once_whatever_the_number_of_threads(model_path, monkeypatch):
    tf = import_tensorflow()
    load, loads = tf.saved_model.load, []
    monkeypatch.setattr(tf.saved_model, "load", lambda path: loads.append(path) or load(path))
    with ThreadPoolExecutor(8) as threads:
        models = list(threads.map(lambda _: load_model(model_path, 8), range(16)))
    assert len(loads) == 1
    assert len({model.load_id for model in models}) == 1


def test_training_is_off(model_path):
    loaded = load_model(model_path, 2)
    assert loaded.entry == "__call__(training=False)"
    assert not loaded.embed(np.zeros((1, 32, 32, 3), np.uint8)).any()  # 1.0 with training.


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_with_only_a_signature_is_called_by_it(tmp_path, engine):
    def call(images):
        tf = import_tensorflow()
        return {"anything": tf.reduce_mean(images, [1, 2])}

    samples.save_model(str(tmp_path / "m"), call)
    loaded = load_model(str(tmp_path / "m"), 4, engine=engine)
    assert (loaded.entry, loaded.input_size, loaded.dimension) == ("serving_default", 32, 3)
    pixels = np.full((1, 32, 32, 3), [255, 51, 0], np.uint8)
    np.testing.assert_allclose(loaded.embed(pixels), [[1, 0.2, 0]], atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_free_input_size_means_224(tmp_path, engine):
    def call(images):
        return {"f": import_tensorflow().reduce_mean(images, [1, 2])}

    samples.save_model(str(tmp_path / "m"), call, (None, None, None, 3))
    assert load_model(str(tmp_path / "m"), 2, engine=engine).input_size == 224


def identity(images):
    return {"features": images}


def two_outputs(images):
    means = import_tensorflow().reduce_mean(images, [1, 2])
    return {"a": means, "b": means}


def half_the_rows(images):
    return {"features": import_tensorflow().reduce_mean(images, [1, 2])[::2]}


def half_precision(images):
    tf = import_tensorflow()
    return {"features": tf.cast(tf.reduce_mean(images, [1, 2]), tf.float16)}


@pytest.mark.parametrize(
    ("call", "shape", "message"),
    [
        (identity, (None, 32, 32, 3), r"returns float32 \[32, 32, 32, 3\], expected float32 \[N"),
        (half_precision, (None, 32, 32, 3), "returns float16"),
        (two_outputs, (None, 32, 32, 3), r"several outputs \(a, b\)"),
        (half_the_rows, (None, 32, 32, 3), r"shape \[16, 3\] for 32 images"),
        (identity, (None, 32, 32, 1), r"its input is float32 \[None, 32, 32, 1\]"),
        (identity, (None, 32, 48, 3), "no image feature vector"),
        (identity, (None, 32), "no image feature vector"),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_no_feature_vector_is_refused(tmp_path, capsys, engine, call, shape, message):
    samples.save_model(str(tmp_path / "m"), call, shape)
    with pytest.raises(ModelError, match=message):
        load_model(str(tmp_path / "m"), 32, engine=engine).embed(np.zeros((1, 32, 32, 3), np.uint8))
    assert main(["model", "check", str(tmp_path / "m")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_short_answer_is_an_error_never_a_lost_row():
    short = FeatureModel("m", "", 4, 3, 2, "", None, "", lambda _: np.zeros((1, 3), np.float32))
    with pytest.raises(ModelError, match=r"shape \[1, 3\] for 2 images"):
        short.embed(np.zeros((5, 4, 4, 3), np.uint8))


def test_what_is_no_saved_model_is_refused(tmp_path, model_path, capsys):
    (tmp_path / "empty").mkdir()
    damaged = tmp_path / "damaged"
    shutil.copytree(model_path, damaged)
    (damaged / "saved_model.pb").write_bytes(b"garbage")
    without = tmp_path / "without"
    shutil.copytree(model_path, without)
    shutil.rmtree(without / "variables")
    for path in (tmp_path / "nowhere", tmp_path / "empty", damaged, without):
        assert main(["model", "check", str(path)]) == 2
        error = capsys.readouterr().err
        assert str(path) in error
        assert error.count("\n") == 1


def test_the_fingerprint_is_of_the_content(tmp_path, model_path):
    copy = tmp_path / "copy"
    shutil.copytree(model_path, copy, copy_function=shutil.copy)
    assert fingerprint_model(str(copy)) == fingerprint_model(model_path)
    (copy / "README").write_text("changes nothing")
    assert fingerprint_model(str(copy)) == fingerprint_model(model_path)
    for file in sorted(copy.glob("variables/*")):
        content = file.read_bytes()
        file.write_bytes(content + b"x")
        assert fingerprint_model(str(copy)) != fingerprint_model(model_path)
        file.write_bytes(content)


def test_model_check_tells_what_it_is(model_path, capsys):
    assert main(["model", "check", model_path]) == 0
    out = capsys.readouterr().out
    assert "[N, 32, 32, 3]" in out
    assert "[N, 16]" in out
    assert fingerprint_model(model_path) in out


@pytest.mark.parametrize("name", ["ResNet50V2", "ResNet50"])
def test_exported_models_equal_keras(tmp_path, name, capsys):
    path = str(tmp_path / "m")
    assert (
        main(["model", "export", f"keras:{name}", path, "--weights", "random", "--seed", "3"]) == 0
    )
    assert "RANDOM WEIGHTS" in capsys.readouterr().out
    import_tensorflow()
    import keras
    import tensorflow_hub as hub

    from transforms.settings import KERAS_MODULES

    keras.utils.set_random_seed(3)
    module = getattr(keras.applications, KERAS_MODULES[name])
    reference = getattr(module, name)(include_top=False, pooling="avg", weights=None)
    pixels = np.stack([np.asarray(samples.make_image(i, 224, 224)) for i in range(2)])
    expected = reference.predict(module.preprocess_input(pixels.astype(np.float32)), verbose=0)
    np.testing.assert_allclose(load_model(path, 2).embed(pixels), expected, rtol=1e-3, atol=1e-4)
    loaded = hub.load(path)
    images = pixels.astype(np.float32) / 255
    np.testing.assert_allclose(loaded(images).numpy(), expected, rtol=1e-3, atol=1e-4)
    signature = loaded.signatures["serving_default"](inputs=images)["feature_vector"]
    np.testing.assert_allclose(signature.numpy(), expected, rtol=1e-3, atol=1e-4)
    assert np.abs(loaded(images, training=True).numpy() - expected).max() > 1e-2
    assert len(loaded.variables) == len(reference.variables)
    assert len(loaded.trainable_variables) == len(reference.trainable_variables)
    assert list(loaded.regularization_losses) == []


def test_export_takes_a_weights_file(tmp_path):
    import_tensorflow()
    import keras

    keras.utils.set_random_seed(5)
    reference = keras.applications.ResNet50V2(include_top=False, pooling="avg", weights=None)
    reference.save_weights(tmp_path / "w.weights.h5")
    command = ["model", "export", "keras:ResNet50V2", str(tmp_path / "m")]
    assert main([*command, "--weights", str(tmp_path / "w.weights.h5")]) == 0
    model = load_model(str(tmp_path / "m"), 2)
    assert model.weights == "file"
    pixels = np.asarray(samples.make_image(1, 224, 224))[None]
    expected = reference.predict(pixels / np.float32(127.5) - 1, verbose=0)
    np.testing.assert_allclose(model.embed(pixels), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["keras:VGG16", "{new}"], "choose one of keras:ResNet50V2"),
        (["ResNet50V2", "{new}"], "write keras:ResNet50V2"),
        (["keras:ResNet50V2", "{old}"], "exists"),
        (["keras:ResNet50V2", "{new}", "--weights", "/nowhere.h5"], "no such file"),
        (["keras:ResNet50V2", "{new}", "--weights", __file__], "cannot load weights"),
    ],
)
def test_export_mistakes_end_with_2(tmp_path, capsys, flags, message):
    filled = [flag.format(new=tmp_path / "new", old=tmp_path) for flag in flags]
    assert main(["model", "export", *filled]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_random_weights_are_named_in_the_summary_and_in_run_json(
    extract, photos, model_path, tmp_path, capsys
):
    copy = tmp_path / "m"
    shutil.copytree(model_path, copy)
    saved_model.write_weights_note(str(copy), "random")
    assert extract("--input", photos / "group0", model=str(copy)) == 0
    assert "RANDOM WEIGHTS" in capsys.readouterr().out
    assert '"weights": "random"' in (tmp_path / "out" / "run.json").read_text()
    assert main(["inspect", str(tmp_path / "out")]) == 0
    assert "RANDOM WEIGHTS" in capsys.readouterr().out
