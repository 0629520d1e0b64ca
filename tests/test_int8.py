"""Precision int8: quantised once, compared with float32, kept with the dataset."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import apache_beam as beam
import models
import numpy as np
import pytest
from apache_beam.testing.util import assert_that
from conftest import forget_models, hash_files
from PIL.PngImagePlugin import PngInfo

import beamvec
import samples
from beamvec.embeddings import open_dataset
from beamvec.embeddings.layout import Layout
from beamvec.embeddings.verify import check_dataset
from beamvec.errors import ArgumentError, DatasetError, ModelError
from beamvec.pipeline.commands.main import main
from beamvec.transforms.embedding import int8
from beamvec.transforms.inference import compare_int8, openvino_engine, quantize
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model_files import import_tensorflow
from beamvec.transforms.machine import has_fast_int8

pytestmark = [
    pytest.mark.skipif(not has_fast_int8(), reason="int8 needs a CPU with VNNI or AMX"),
    pytest.mark.skipif(
        not (importlib.util.find_spec("nncf") and importlib.util.find_spec("openvino")),
        reason="int8 needs openvino and nncf",
    ),
]

IMAGES = 80
FLAGS = ("--precision", "int8")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A folder of 80 different images, and a broken one."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(IMAGES):
        (folder / f"{seed:02d}.png").write_bytes(samples.encode(samples.make_image(seed), "PNG"))
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Where the tests of this module keep quantised models: the same is made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _use_cache(cache, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(cache))
    forget_models()


@pytest.fixture
def run(extract, images):
    def embed(*flags: str | Path, **kwargs) -> int:
        given = ["--input", images] if "--input" not in flags else []
        return extract(*given, *FLAGS, "--max-failure-ratio", "1", *flags, **kwargs)

    return embed


@pytest.fixture
def no_quantizing(monkeypatch):
    """Fail where a model is quantised."""

    def refuse(*_):
        raise AssertionError("quantised again")

    monkeypatch.setattr(int8, "quantize", refuse)


def read_run(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_int8_is_near_float32_and_the_figures_are_kept_and_told(run, tmp_path, capsys):
    assert run() == 0
    assert "int8         cosine to float32 0.9" in capsys.readouterr().out
    record = read_run(tmp_path / "out")
    fidelity, sha256 = record["fidelity"], record["settings"]["int8"]
    assert (fidelity["calibrated"], fidelity["compared"]) == (48, 32)
    assert 0.98 < fidelity["least"] <= fidelity["percentile_1"] <= fidelity["mean"] <= 1
    assert record["settings"]["engine"] == "openvino"
    assert [file.name for file in (tmp_path / "out" / "_int8").iterdir()] == [f"{sha256}.zip"]
    dataset = open_dataset(str(tmp_path / "out"))
    assert check_dataset(dataset) == []
    exact = beamvec.load_model(record["model"], engine="openvino").embed(dataset.read_uris())
    vectors = dataset.read_vectors()
    assert not np.array_equal(vectors, exact)
    cosines = (vectors * exact).sum(1) / np.linalg.norm(vectors, axis=1)
    assert (cosines / np.linalg.norm(exact, axis=1)).min() > 0.98
    assert main(["inspect", str(tmp_path / "out"), "--verify"]) == 0
    assert "at the 1st percentile" in capsys.readouterr().out


@pytest.mark.usefixtures("no_quantizing")
@pytest.mark.parametrize(
    "flags",
    [
        ["--chunk-size", "7", "--batch-size", "5"],
        ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"],
    ],
)
def test_batches_chunks_and_processes_change_no_byte(run, tmp_path, flags):
    run()
    assert run(*flags, output=tmp_path / "other") == 0
    assert hash_files(tmp_path / "other") == hash_files(tmp_path / "out")


@pytest.fixture(autouse=True, scope="module")
def _quantised_once(images, cache, model_path, tmp_path_factory):
    """Quantise for all tests of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFHUB_CACHE_DIR", str(cache))
        output = tmp_path_factory.mktemp("first") / "out"
        beamvec.extract(
            images, output=output, model=model_path, precision="int8", max_failure_ratio=1
        )


def test_a_model_is_quantised_the_same_way_again(run, tmp_path, monkeypatch, capfd):
    run()
    assert "calibrating" not in capfd.readouterr().err
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "empty"))
    forget_models()
    assert run(output=tmp_path / "other") == 0
    out, err = capfd.readouterr()
    assert err.count("calibrating int8 on 48 images") == 1
    assert "Statistics" not in out + err  # NNCF says nothing.
    first, second = (read_run(tmp_path / name)["settings"]["int8"] for name in ("out", "other"))
    assert first == second
    assert hash_files(tmp_path / "other") == hash_files(tmp_path / "out")


def test_a_model_that_changes_while_it_is_quantised_is_not_kept(
    images, extract, tmp_path, monkeypatch, capfd
):
    model = str(tmp_path / "model")
    samples.save_tiny_model(model)
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))

    def quantize_late(*args):
        samples.save_tiny_model(model, seed=1)
        return quantize.quantize(*args)

    monkeypatch.setattr(int8, "quantize", quantize_late)
    flags = ("--input", images, *FLAGS, "--max-failure-ratio", "1")
    assert extract(*flags, model=model) == 2
    assert "has changed meanwhile" in capfd.readouterr().err
    assert not list((tmp_path / "cache").glob("*.zip"))


def test_launches_at_the_same_time_quantise_once(images, model_path, monkeypatch, tmp_path):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    made = []

    def count(*args):
        made.append(args)
        return quantize.quantize(*args)

    monkeypatch.setattr(int8, "quantize", count)
    config = ModelConfig(model_path, precision="int8")
    threads = [
        threading.Thread(target=int8.prepare_int8, args=(config, str(images))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


@pytest.mark.usefixtures("no_quantizing")
def test_an_append_has_the_model_that_the_dataset_was_made_with(run, images, tmp_path, monkeypatch):
    folder = tmp_path / "in"
    shutil.copytree(images, folder)
    assert run("--input", images) == 0
    before = read_run(tmp_path / "out")
    for seed in range(200, 220):
        new = samples.encode(samples.make_image(seed), "PNG")
        (images / f"new{seed}.png").write_bytes(new)
    try:
        monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "empty"))
        forget_models()
        assert run("--append") == 0
    finally:
        for new in images.glob("new*"):
            new.unlink()
    after = read_run(tmp_path / "out")
    assert after["appended"][0]["settings"] == before["settings"]
    assert after["appended"][0]["fidelity"] == before["fidelity"]
    assert after["counts"]["embeddings"] == IMAGES + 20
    assert check_dataset(open_dataset(str(tmp_path / "out"))) == []


def test_an_append_without_its_model_is_refused_if_quantising_gives_another(
    run, images, tmp_path, capsys
):
    run()
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted(images.glob("*.png"))[5:75]:
        shutil.copy(file, few)
    (kept,) = (tmp_path / "out" / "_int8").iterdir()
    kept.write_bytes(b"damaged")
    problems = check_dataset(open_dataset(str(tmp_path / "out")))
    assert problems == [f"{kept} is damaged; nothing can be appended"]
    before = hash_files(tmp_path / "out")
    assert run("--input", few, "--append") == 2
    assert f"{kept}, the int8 model that" in capsys.readouterr().err
    assert hash_files(tmp_path / "out") == before
    assert run("--append") == 0  # The same images give the same model.
    assert check_dataset(open_dataset(str(tmp_path / "out"))) == []


def test_other_images_to_calibrate_on_are_refused_in_an_append(run, images, tmp_path, capsys):
    other = tmp_path / "calibration"
    other.mkdir()
    for file in sorted(images.glob("*.png"))[:70]:
        shutil.copy(file, other)
    run()
    assert run("--append", "--calibration-images", other) == 2
    assert f"other images than --calibration-images {other}" in capsys.readouterr().err
    assert run("--append", "--calibration-images", images) == 0


@pytest.mark.usefixtures("no_quantizing")
def test_a_run_that_was_stopped_goes_on_with_its_model(run, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"
    assert run("--chunk-size", "20") == 0
    whole = hash_files(output)
    with monkeypatch.context() as patch:
        patch.setattr("beamvec.pipeline.run.finish.publish", lambda *_: 1 / 0)
        assert run("--chunk-size", "20", "--overwrite") == 3
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "empty"))
    forget_models()
    capsys.readouterr()
    assert run("--chunk-size", "20", "--overwrite") == 0
    assert hash_files(output) == whole


def test_another_precision_is_not_mixed_in_and_its_model_goes_when_it_is_replaced(
    run, extract, images, tmp_path, capsys
):
    run()
    flags = ("--input", images, "--max-failure-ratio", "1", "--engine", "openvino")
    assert extract(*flags, "--append") == 2
    assert "precision is int8, not float32" in capsys.readouterr().err
    assert extract(*flags, "--overwrite") == 0
    assert not (tmp_path / "out" / "_int8").exists()
    assert run("--append") == 2
    assert "precision is float32, not int8" in capsys.readouterr().err
    assert run() == 2


def test_search_embeds_with_the_model_of_the_dataset(run, images, tmp_path, model_path, capsys):
    run()
    query = ["search", str(tmp_path / "out"), "--image", str(images / "07.png")]
    capsys.readouterr()
    assert main([*query, "--model", model_path, "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["queries"][0]["matches"][0]
    assert best["uri"] == str(images / "07.png")
    assert best["cosine"] == pytest.approx(1, abs=1e-6)


def test_too_few_images_are_refused_with_the_remedy(run, photos, images, capsys, tmp_path):
    few = photos / "group0"
    assert run("--input", few) == 2
    message = capsys.readouterr().err
    assert "needs 64 different images at least" in message
    assert f"{few} has 11 that can be decoded" in message
    assert "--calibration-images" in message
    assert not (tmp_path / "out").exists()
    assert run("--calibration-images", few) == 2  # Of two places the one that has too few.
    assert f"{few} has 11 that can be decoded" in capsys.readouterr().err
    assert run("--input", few, "--calibration-images", images) == 0
    assert read_run(tmp_path / "out")["fidelity"]["calibrated"] == 48


def test_images_that_look_alike_count_once(run, capsys, tmp_path):
    folder = tmp_path / "alike"
    folder.mkdir()
    for index in range(IMAGES):
        noted = PngInfo()
        noted.add_text("number", str(index))
        data = samples.encode(samples.make_image(0), "PNG", pnginfo=noted)
        (folder / f"{index:02d}.png").write_bytes(data)
    assert run("--input", folder) == 2
    assert "has 1 that can be decoded" in capsys.readouterr().err


def test_an_input_that_cannot_be_listed_is_told_before_any_work(run, monkeypatch, capsys, tmp_path):
    def fail(_):
        raise OSError("the store is down")

    monkeypatch.setattr("beamvec.transforms.inputs.patterns.Patterns.list_images", fail)
    assert run() == 2
    assert "the store is down" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--precision", "int8", "--engine", "tensorflow"], "--engine tensorflow has no"),
        (["--calibration-images", "x"], "--calibration-images is for --precision int8 only"),
        (
            ["--precision", "int8", "--calibration-images", "nowhere"],
            "--calibration-images nowhere: no such file or folder",
        ),
    ],
)
def test_wrong_flags_are_refused(extract, images, capsys, flags, message):
    assert extract("--input", images, *flags) == 2
    assert message in capsys.readouterr().err


def test_a_machine_without_vnni_or_amx_is_refused(run, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(openvino_engine, "has_fast_int8", lambda: False)
    assert run() == 2
    assert "needs a CPU with AVX512_VNNI, AVX_VNNI or AMX" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_quantizing")
def test_doctor_looks_without_quantising(model_path, images, capsys):
    assert main(["doctor", "--model", model_path, "--input", str(images), *FLAGS]) == 0
    assert "int8" not in capsys.readouterr().err


def test_files_of_others_beside_the_model_are_not_touched(run, tmp_path, capsys):
    run()
    other = tmp_path / "out" / "_int8" / "mine.txt"
    other.write_text("mine")
    assert run("--overwrite") == 2
    assert f"{other} is there, but beamvec did not write it" in capsys.readouterr().err
    assert other.read_text() == "mine"


def test_the_model_is_found_again_without_decoding_until_an_image_changes(
    run, images, tmp_path, monkeypatch
):
    folder = tmp_path / "photos"
    shutil.copytree(images, folder)
    source = ("--input", folder)
    assert run(*source) == 0
    taken = []

    def count(*args):
        taken.append(args)
        return take_sample(*args)

    take_sample = int8.take_sample
    monkeypatch.setattr(int8, "take_sample", count)
    assert run(*source, output=tmp_path / "again") == 0
    assert taken == []
    assert hash_files(tmp_path / "again") == hash_files(tmp_path / "out")
    first, again = read_run(tmp_path / "out"), read_run(tmp_path / "again")
    assert (again["settings"], again["fidelity"]) == (first["settings"], first["fidelity"])
    (folder / "00.png").write_bytes(samples.encode(samples.make_image(99), "PNG"))
    assert run(*source, output=tmp_path / "changed") == 0
    assert len(taken) == 1
    assert read_run(tmp_path / "changed")["settings"]["int8"] != first["settings"]["int8"]


def _cut_off(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _change_method(content: bytes) -> bytes:
    """Change a bit of how an archive's first file is compressed, as its directory has it."""
    at = content.index(b"PK\1\2") + 10
    return content[:at] + b"\x40" + content[at + 1 :]


@pytest.mark.parametrize(
    ("damaged", "damage"),
    [("int8-*.json", _cut_off), ("int8-*.zip", _cut_off), ("int8-*.zip", _change_method)],
)
def test_what_is_damaged_in_the_cache_is_made_anew(run, tmp_path, monkeypatch, damaged, damage):
    own = tmp_path / "own"
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(own))
    assert run() == 0
    [file] = own.glob(damaged)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    forget_models()
    assert run(output=tmp_path / "again") == 0
    assert file.read_bytes() == whole
    assert hash_files(tmp_path / "again") == hash_files(tmp_path / "out")


@pytest.mark.usefixtures("no_quantizing")
def test_a_cache_that_can_only_be_read_is_used(run, tmp_path, cache, monkeypatch):
    own = tmp_path / "own"
    shutil.copytree(cache, own, ignore=shutil.ignore_patterns("*.json", "*.lock"))
    for model in list(own.glob("int8-*.zip")):
        Path(f"{model}.lock").mkdir()
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(own))
    assert run() == 0


def test_a_cache_on_a_store_makes_no_folder_here(run, tmp_path, cache, monkeypatch):
    shutil.copytree(cache, tmp_path / "tfhub_modules")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TFHUB_CACHE_DIR", "gs://bucket/models")
    with monkeypatch.context() as patch:
        patch.setattr(quantize.tempfile, "tempdir", str(tmp_path))
        assert run() == 0
    assert not list((tmp_path / "here").iterdir())


def test_a_cache_that_takes_nothing_is_named(run, tmp_path, monkeypatch, capfd):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert run() == 2
    err = capfd.readouterr().err
    assert f"cannot keep the int8 model in {tmp_path}/file/cache" in err
    assert "TFHUB_CACHE_DIR" in err
    assert not (tmp_path / "out").exists()


def test_a_temporary_folder_that_takes_nothing_is_named(run, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    with monkeypatch.context() as patch:
        patch.setattr(quantize.tempfile, "tempdir", str(tmp_path / "gone"))
        assert run() == 2
    assert "TMPDIR" in capfd.readouterr().err


def test_a_killed_process_is_named(run, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    code = "import os, sys; print('a warning', file=sys.stderr); os.kill(os.getpid(), 9)"
    monkeypatch.setattr(quantize, "_START", code)
    assert run() == 2
    assert "ended by SIGKILL" in capfd.readouterr().err


@pytest.mark.parametrize("later_s", [0.5, 2.0])
def test_kill_9_leaves_neither_a_process_nor_a_folder(images, model_path, tmp_path, later_s):
    """While its process imports NNCF, and when it prints, which nobody reads any more."""
    words = ["extract", "--input", images, "--output", tmp_path / "out", "--model", model_path]
    places = {"TFHUB_CACHE_DIR": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "beamvec", *map(str, words), *FLAGS]
    with subprocess.Popen(command, env={**os.environ, **places}) as launcher:
        while not list(tmp_path.glob("beamvec-int8-*/order.pickle")):
            assert launcher.poll() is None
            time.sleep(0.01)
        time.sleep(later_s)
        launcher.kill()
    while list(tmp_path.glob("beamvec-int8-*")):
        time.sleep(0.1)


def test_nncf_must_be_installed(run, monkeypatch, capsys):
    def lack(name: str) -> str:
        raise quantize.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(quantize.importlib.metadata, "version", lack)
    assert run() == 2
    assert "pip install 'beamvec[int8]'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def fragile_path(tmp_path_factory) -> str:
    """A model that quantises badly: a huge value beside those that tell images apart."""

    def call(images):
        tf = import_tensorflow()
        random = np.random.default_rng(0)
        kernel = random.normal(size=(5, 5, 3, 16)).astype(np.float32)
        kernel -= kernel.mean(axis=(0, 1, 2))
        # What one channel has is a hundred thousand times as large as what the others have, and is
        # weighed so much less then.
        huge = np.array([1e5] + 15 * [1.0], np.float32)
        maps = tf.nn.relu(tf.nn.conv2d(images, kernel * huge, 4, "SAME"))
        weights = random.normal(size=(1, 1, 16, 16)).astype(np.float32)
        mixed = tf.nn.conv2d(maps, weights / huge[:, None], 1, "SAME")
        return {"features": tf.reduce_mean(tf.nn.relu(mixed), [1, 2])}

    path = tmp_path_factory.mktemp("fragile") / "model"
    samples.save_model(str(path), call)
    Path(path, "beamvec.json").write_text("{}")
    return str(path)


def test_a_model_that_quantises_badly_is_refused_unless_told_otherwise(
    run, fragile_path, tmp_path, capsys
):
    assert run(model=fragile_path) == 2
    message = capsys.readouterr().err
    assert "loses too much in int8: cosine to float32 0." in message
    assert "--allow-low-fidelity" in message
    assert not (tmp_path / "out").exists()
    assert run("--allow-low-fidelity", model=fragile_path) == 0
    fidelity = read_run(tmp_path / "out")["fidelity"]
    assert fidelity["mean"] < compare_int8.LEAST_MEAN
    assert run("--append", model=fragile_path) == 0  # It is settled.


@pytest.mark.parametrize(
    "name", ["ONNX, NCHW, beamvec.json", "ONNX, NHWC, uint8", "OpenVINO IR, Model API"]
)
def test_other_formats_are_quantised_too(name, images, tmp_path):
    case = models.CASES[name]
    path, _ = case.make(tmp_path)
    exact, rounded = (
        beamvec.load_model(path, engine="openvino", spec=case.spec, **more).embed(
            [str(images / f"{i:02d}.png") for i in range(20)]
        )
        for more in ({}, {"precision": "int8", "calibration_images": images})
    )
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rounded, axis=1)
    assert ((exact * rounded).sum(axis=1) / lengths).min() > 0.98
    assert not np.array_equal(exact, rounded)


def test_datasets_of_other_int8_models_are_not_read_as_one(run, images, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted(images.glob("*.png"))[5:75]:
        shutil.copy(file, few)
    run()
    run("--input", few, output=tmp_path / "other")
    with pytest.raises(DatasetError, match="their int8 model differ"):
        open_dataset([tmp_path / "out", tmp_path / "other"])


@pytest.mark.usefixtures("no_quantizing")
def test_models_in_python_need_images(model_path, images):
    with pytest.raises(ArgumentError, match="some 350 as `calibration_images`"):
        beamvec.load_model(model_path, precision="int8")
    with pytest.raises(ArgumentError, match="for `precision=int8` only"):
        beamvec.load_model(model_path, calibration_images=images)
    with pytest.raises(ArgumentError, match="some 350 as `calibration_images`"):
        beamvec.EmbedImages(model_path, precision="int8")
    model = beamvec.load_model(model_path, precision="int8", calibration_images=images)
    assert model.embed(str(images / "00.png")).shape == (1, samples.DIMENSION)


@pytest.mark.usefixtures("no_quantizing")
def test_embed_images_gives_what_the_model_gives(model_path, images):
    model = beamvec.load_model(model_path, precision="int8", calibration_images=images)
    uris = [str(images / f"{i:02d}.png") for i in range(5)]
    wanted = model.embed(uris)

    def check(rows):
        for row in rows:
            np.testing.assert_array_equal(row.embedding, wanted[uris.index(row.uri)])
        assert len(rows) == len(uris)

    with beam.Pipeline() as pipeline:
        embed = beamvec.EmbedImages(model_path, precision="int8", calibration_images=str(images))
        result = pipeline | beam.Create(uris) | embed
        assert_that(result["embeddings"], check)
        assert_that(result["failures"], lambda rows: None if not rows else 1 / 0, "NoFailures")


def test_a_worker_without_the_file_says_so(model_path, images):
    config = int8.prepare_int8(ModelConfig(model_path, precision="int8"), str(images))
    path = Path(config.int8.path)
    kept = path.read_bytes()
    path.write_bytes(kept[:-1])
    try:
        with pytest.raises(ModelError, match="its SHA-256 is another"):
            openvino_engine.ENGINE.compile(int8.ModelFiles.fetch(model_path), None, config)
    finally:
        path.write_bytes(kept)


def test_the_layout_names_the_file():
    assert Layout("d").int8_file("ab") == "d/_int8/ab.zip"


def test_nncf_reports_to_nobody():
    code = (
        "import sys\nfrom beamvec.transforms.inference import quantize\n"
        "nncf = quantize._import_nncf()\nfrom nncf.telemetry import telemetry\n"
        "assert not isinstance(telemetry, nncf.telemetry.wrapper.NNCFTelemetry), telemetry\n"
        "assert sys.modules['openvino_telemetry'] is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
