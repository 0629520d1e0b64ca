"""`beamvec extract` end to end, through the command line, with a small real SavedModel."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from conftest import hash_files
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

import samples
from embeddings import Dataset, schema
from pipeline.main import main
from transforms import model as model_module
from transforms import plan as plan_module
from transforms.pixels import decode_image
from transforms.saved_model import ModelError, import_tensorflow


def read_run(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def tables(dataset: Dataset) -> list[pa.Table]:
    return [dataset.read_embeddings(), dataset.read_failures()]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--engine", "openvino"], "engine is tensorflow, not openvino"),
        (["--engine", "openvino", "--append"], "engine is tensorflow, not openvino"),
    ],
)
def test_engines_are_not_mixed_in_a_dataset(extract, photos, capsys, flags, message):
    extract("--input", photos, "--max-failure-ratio", "1")
    assert extract("--input", photos, *flags) == 2
    assert message in capsys.readouterr().err


def test_openvino_gives_the_same_dataset_but_for_rounding(extract, photos, dataset):
    flags = ["--input", photos, "--max-failure-ratio", "1"]
    extract(*flags)
    uris, vectors = dataset().read_uris(), dataset().read_vectors()
    failures = dataset().read_failures()
    assert extract(*flags, "--engine", "openvino", "--overwrite") == 0
    assert dataset().run["settings"]["engine"] == "openvino"
    again_uris, again = dataset().read_uris(), dataset().read_vectors()
    assert again_uris == uris
    np.testing.assert_allclose(again, vectors, rtol=1e-5, atol=1e-5)
    assert dataset().read_failures().equals(failures)


def test_every_image_is_a_row_or_a_failure(extract, dataset, photos, tmp_path, capsys):
    assert extract("--input", photos, "--max-failure-ratio", "0.5") == 0
    out = capsys.readouterr().out
    assert "23 images in" in out
    assert "top errors" in out
    made = dataset()
    embeddings, failures = made.read_embeddings(), made.read_failures()
    assert (embeddings.num_rows, failures.num_rows) == (21, 2)
    assert embeddings.schema.names == schema.embeddings_schema().names
    assert embeddings.schema.field("embedding").type == pa.list_(
        pa.field("element", pa.float32(), nullable=False)
    )
    errors = {
        os.path.basename(row["uri"]): (row["stage"], row["error_type"], row["size_bytes"])
        for row in failures.to_pylist()
    }
    assert errors == {
        "broken.jpg": ("decode", "OSError", 700),
        "empty.png": ("decode", "UnidentifiedImageError", 0),
    }
    counts = read_run(tmp_path / "out")["counts"]
    assert counts["inputs"] == counts["embeddings"] + counts["failures"] + counts["duplicates"]
    made = sorted(os.listdir(tmp_path / "out"))
    assert made == ["_SUCCESS", "_inputs", "embeddings", "failures", "run.json"]


def test_embeddings_equal_a_direct_call_of_the_saved_model(extract, dataset, photos, model_path):
    assert extract("--input", photos, "--max-failure-ratio", "1", "--batch-size", "4") == 0
    tf = import_tensorflow()
    loaded = tf.saved_model.load(model_path)
    for row in dataset().read_embeddings().to_pylist():
        data = Path(row["uri"]).read_bytes()
        pixels = decode_image(data, samples.SIZE).pixels
        expected = loaded(pixels[None].astype(np.float32) / 255, training=False).numpy()[0]
        np.testing.assert_allclose(row["embedding"], expected, rtol=1e-4, atol=1e-5)
        assert (row["width"], row["height"], row["size_bytes"]) == (60, 40, len(data))


def test_order_batch_chunk_threads_change_no_byte(extract, photos, tmp_path):
    files = [str(file) for file in photos.rglob("*.*") if file.suffix != ".txt"]
    reference = tmp_path / "reference"
    extract("--input", photos, "--rows-per-shard", "8", output=reference)
    expected = hash_files(reference)
    assert len(expected) == 6

    @settings(max_examples=6, deadline=None, phases=[Phase.generate], database=None)
    @given(st.permutations(files), st.integers(1, 30), st.integers(2, 40), st.integers(1, 4))
    def check(order, chunk_size, batch_size, workers):
        names = tmp_path / "list.txt"
        names.write_text("\n".join(order))
        flags = ["--input-list", names, "--chunk-size", chunk_size, "--batch-size", batch_size]
        flags += ["--rows-per-shard", 8, f"--direct_num_workers={workers}", "--overwrite"]
        assert extract(*map(str, flags)) == 1
        assert hash_files(tmp_path / "out") == expected

    check()


def test_multi_processing_changes_no_byte(model_path, photos, tmp_path, extract):
    extract("--input", photos, output=tmp_path / "reference")
    command = [sys.executable, "-m", "pipeline.main", "extract", "--input", photos]
    command += ["--model", model_path, "--output", tmp_path / "out", "--chunk-size", "4"]
    command += ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    assert subprocess.run(command, check=False).returncode == 1
    assert hash_files(tmp_path / "out") == hash_files(tmp_path / "reference")


def test_rows_are_sorted_and_parts_hold_all_of_them(extract, dataset, photos):
    extract("--input", photos, "--rows-per-shard", "3", "--chunk-size", "2")
    made = dataset()
    assert len(made.embedding_files) == len(made.failure_files) == 8
    total = 0
    for file in made.embedding_files:
        uris = pq.read_table(file.path)["uri"].to_pylist()
        assert uris == sorted(uris)
        total += len(uris)
    assert total == 21


def test_files_carry_the_model_and_the_settings(extract, dataset, photos, model_path):
    extract("--input", photos, "--resize", "crop")
    metadata = pq.read_schema(dataset().embedding_files[0].path).metadata[schema.METADATA_KEY]
    content = json.loads(metadata)
    assert content["model"] == model_path
    assert content["dimension"] == samples.DIMENSION
    assert content["input_size"] == samples.SIZE
    assert content["resize"] == "crop"
    assert content["precision"] == "float32"
    assert len(content["fingerprint"]) == 64


def test_the_same_uri_is_embedded_once_and_counted(extract, dataset, photos, tmp_path):
    image = photos / "group0" / "00.jpg"
    assert extract("--input", image, "--input", photos / "group0", "--input", image) == 0
    counts = read_run(tmp_path / "out")["counts"]
    assert (counts["inputs"], counts["duplicates"], counts["embeddings"]) == (13, 2, 11)
    assert dataset().read_embeddings(["uri"])["uri"].to_pylist().count(str(image)) == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_manifest_columns_ride_along_with_their_types(extract, dataset, photos, tmp_path, kind):
    files = [str(photos / "group0" / f"{i:02d}.jpg") for i in (0, 6, 12)] + ["/nowhere/x.jpg"]
    own = {
        "label": pa.array(["a", 'b,\n"c"', "é", None]),
        "score": pa.array([0.5, -1.25, None, 1e300]),
        "count": pa.array([1, 2**40, None, -3], pa.int64()),
    }
    if kind == "parquet":
        own["at"] = pa.array([1, 2**60 + 1, None, 3], pa.timestamp("ns", "UTC"))
        own["tags"] = pa.array([["x"], [], None, ["y", "z"]])
        own["kind"] = pa.array(["p", "q", "p", None]).dictionary_encode()
        own["small"] = pa.array([1, 2, 3, None], pa.int8())
    manifest = pa.table({"path": files, **own})
    path = tmp_path / f"manifest.{kind}"
    (pa_csv.write_csv if kind == "csv" else pq.write_table)(manifest, str(path))
    flags = ["--manifest", path, "--uri-column", "path", "--max-failure-ratio", "1"]
    assert extract(*flags) == 0
    made = dataset()
    rows = pa.concat_tables([t.select(["uri", *own]) for t in tables(made)]).sort_by("uri")
    in_order = manifest.sort_by("path")
    for name, values in own.items():
        type_ = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
        expected = in_order[name].cast(type_)
        if kind == "csv" and name == "label":
            expected = expected.fill_null("")
        assert rows[name].equals(expected)


def test_uris_of_a_list_stay_as_written(extract, dataset, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    (tmp_path / "list.txt").write_text("group0/00.jpg\r\n\n  group0/06.jpg\n")
    assert extract("--input-list", tmp_path / "list.txt") == 0
    assert dataset().read_embeddings()["uri"].to_pylist() == ["group0/00.jpg", "group0/06.jpg"]


def test_nan_features_are_failures_of_stage_infer(extract, dataset, tmp_path):
    Image.new("RGB", (50, 50), (255, 0, 0)).save(tmp_path / "red.png")
    samples.make_image(1).save(tmp_path / "good.png")
    assert extract("--input", tmp_path / "*.png") == 1
    made = dataset()
    assert [Path(uri).name for uri in made.read_embeddings()["uri"].to_pylist()] == ["good.png"]
    failure = made.read_failures().to_pylist()[0]
    assert (failure["stage"], Path(failure["uri"]).name) == ("infer", "red.png")


def test_all_images_broken_gives_empty_embeddings(extract, dataset, photos):
    assert extract("--input", photos / "empty.png") == 1
    made = dataset()
    uris, vectors = made.read_uris(), made.read_vectors()
    assert (uris, vectors.shape) == ([], (0, samples.DIMENSION))
    assert made.read_failures().num_rows == 1


def test_too_many_failures_end_with_1_and_name_them(extract, photos, capsys):
    assert extract("--input", photos) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "2 of 23 images failed (8.70%)" in error
    assert "--max-failure-ratio 0.01" in error
    assert "failures" in error


def test_a_finished_dataset_ends_at_once(extract, photos, tmp_path, capsys):
    extract("--input", photos / "group0")
    before = hash_files(tmp_path / "out"), (tmp_path / "out/run.json").stat().st_mtime_ns
    capsys.readouterr()
    assert extract("--input", photos / "group0", "--chunk-size", "3") == 0
    assert "finished already" in capsys.readouterr().out
    assert before == (hash_files(tmp_path / "out"), (tmp_path / "out/run.json").stat().st_mtime_ns)


def test_a_finished_dataset_notices_a_changed_input(extract, photos, tmp_path, capsys):
    folder = tmp_path / "in"
    shutil.copytree(photos / "group0", folder)
    extract("--input", folder)
    samples.make_image(50).save(folder / "new.png")
    assert extract("--input", folder) == 2
    assert "11 images then, 12 now" in capsys.readouterr().err
    assert extract("--input", folder, "--overwrite") == 0
    assert read_run(tmp_path / "out")["counts"]["embeddings"] == 12


def test_other_settings_are_refused_by_name(extract, photos, tmp_path, capsys):
    extract("--input", photos / "group0")
    samples.save_tiny_model(str(tmp_path / "other"), seed=1)
    before = hash_files(tmp_path / "out")
    assert extract("--input", photos / "group0", "--resize", "pad") == 2
    assert "resize is stretch, not pad" in capsys.readouterr().err
    assert extract("--input", photos / "group0", model=str(tmp_path / "other")) == 2
    assert "model is " in capsys.readouterr().err
    assert hash_files(tmp_path / "out") == before
    assert extract("--input", photos / "group0", "--resize", "pad", "--overwrite") == 0
    assert hash_files(tmp_path / "out") != before


def test_files_of_others_are_never_overwritten(extract, photos, tmp_path, capsys):
    (tmp_path / "out" / "embeddings").mkdir(parents=True)
    (tmp_path / "out" / "embeddings" / "thesis.txt").write_text("ten years of work")
    assert extract("--input", photos, "--overwrite") == 2
    assert "choose another --output" in capsys.readouterr().err
    assert (tmp_path / "out" / "embeddings" / "thesis.txt").exists()


def test_one_load_serves_many_chunks_on_two_threads(extract, photos, tmp_path, monkeypatch):
    model_module._load_once.cache_clear()
    loads = []
    tf = import_tensorflow()
    load = tf.saved_model.load
    monkeypatch.setattr(tf.saved_model, "load", lambda path: loads.append(path) or load(path))
    extract("--input", photos, "--chunk-size", "2", "--direct_num_workers=2")
    run = read_run(tmp_path / "out")
    assert run["counts"]["chunks"] == 12
    assert run["model_loads"] == len(loads) == 1


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(extract, model_path, photos, tmp_path):
    flags = ["--input", photos, "--chunk-size", "2", "--max-failure-ratio", "1"]
    extract(*flags, output=tmp_path / "reference")
    command = [sys.executable, "-m", "pipeline.main", "extract", *flags, "--model", model_path]
    run = subprocess.Popen([*command, "--output", tmp_path / "out", "--direct_num_workers=1"])
    chunks = tmp_path / "out" / "chunks"
    while run.poll() is None and len(list(chunks.glob("*.parquet"))) < 3:
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert extract(*flags) == 0
    assert hash_files(tmp_path / "out") == hash_files(tmp_path / "reference")
    assert read_run(tmp_path / "out")["counts"]["taken_over"] >= 4


def test_ctrl_c_keeps_the_work_and_says_so(model_path, photos, tmp_path):
    pipe = tmp_path / "list"
    os.mkfifo(pipe)  # The run waits for the list until it is interrupted.
    command = [sys.executable, "-m", "pipeline.main", "extract", "--input-list", pipe]
    run = subprocess.Popen(
        [*command, "--model", model_path, "--output", tmp_path / "out"],
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, a shell may have turned Ctrl-C off.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with pipe.open("w") as end:  # For the check of the first line.
        end.write(f"{photos}/group0/00.jpg\n")
    while run.poll() is None and not (tmp_path / "out/chunks/settings.json").exists():
        time.sleep(0.01)
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the same command goes on" in error
    assert "Traceback" not in error


def test_a_worker_refuses_a_model_that_changed_since_the_launch(model_path):
    from transforms.extract import FeatureModelHandler

    with pytest.raises(ModelError, match="has changed since the launch"):
        FeatureModelHandler(model_path, 32, "0" * 64).load_model()


def test_a_failing_pipeline_ends_with_3_and_no_traceback(extract, photos, tmp_path, capsys):
    flags = ["--input", photos / "group0"]
    blocker = tmp_path / "out" / "embeddings"

    # A file where the merge wants its folder: a fault of the output that shows up late.
    import pipeline.extract as module

    prepare = module.prepare_output

    def prepare_and_block(*args, **kwargs):
        prepare(*args, **kwargs)
        blocker.write_text("in the way")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "prepare_output", prepare_and_block)
        assert extract(*flags) == 3
    error = capsys.readouterr().err
    assert "the pipeline failed" in error
    assert "Traceback" not in error
    assert extract(*flags) == 0
    assert read_run(tmp_path / "out")["counts"]["taken_over"] == 11


def test_special_files_are_failures_and_hang_nothing(extract, dataset, tmp_path, photos):
    folder = tmp_path / "in"
    shutil.copytree(photos / "group0", folder)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (folder / "loop").symlink_to(folder)
    (folder / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket.jpg"))
        names = ['quote".jpg', "space name.jpg", "new\nline.jpg", "é漢.jpg", "a" * 251 + ".jpg"]
        for name in names:
            shutil.copy(photos / "group0" / "00.jpg", folder / name)
        shutil.copy(photos / "group0" / "00.jpg", os.fsencode(folder) + b"/latin-\xe9.jpg")
        assert extract("--input", folder, "--max-failure-ratio", "1") == 0
    failures = {
        os.path.basename(r["uri"]): r["stage"] for r in dataset().read_failures().to_pylist()
    }
    assert failures == dict.fromkeys(
        ("pipe.jpg", "dangling.jpg", "socket.jpg", "latin-\\udce9.jpg"), "read"
    )
    rows = {os.path.basename(uri) for uri in dataset().read_embeddings()["uri"].to_pylist()}
    assert set(names) <= rows


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input", "/nowhere"], "no such file or folder"),
        (["--input", "{photos}/*.nothing"], "no file matches"),
        (["--input", "{tmp}"], "no images in this folder"),
        (["--input-list", "/nowhere.txt"], "cannot read --input-list"),
        (["--input-list", "/dev/null"], "is empty"),
        (["--manifest", "/nowhere.csv"], "cannot read --manifest"),
        (["--manifest", "{photos}/notes.txt"], "must end in .csv"),
        (["--input", "{photos}", "--batch-size", "1"], "--batch-size 1 is out of range"),
        (["--input", "{photos}", "--chunk-size", "0"], "--chunk-size 0 is out of range"),
        (["--input", "{photos}", "--chunk-sise", "4"], "did you mean --chunk-size?"),
        (["--input", "{photos}", "stray"], "unknown argument stray"),
        (["--input", "{photos}", "--runner", "NoSuch"], "--runner NoSuch"),
        (["--input", "{photos}", "--direct_num_workers", "x"], "invalid int value"),
        (["--input", "{photos}", "--manifest", "x.csv"], "not allowed with"),
        (["--input", "ftp://host/x"], "no filesystem for ftp://"),
        (["--input", "{photos}", "--output", "ftp://host/x"], "no filesystem for ftp://"),
        (["--input", "{photos}", "--model", "ftp://host/x"], "no filesystem for ftp://"),
        ([], "one of the arguments --input"),
    ],
)
def test_mistakes_end_with_2_and_one_line(extract, photos, tmp_path, capsys, flags, message):
    empty = tmp_path / "empty"
    empty.mkdir()
    filled = [flag.format(photos=photos, tmp=empty) for flag in flags]
    assert extract(*filled) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("beamvec: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_ends_with_2(extract, photos, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert extract("--input", photos, output=tmp_path / "file" / "out") == 2
    assert "cannot write to --output" in capsys.readouterr().err


def test_the_command_is_there_as_a_module():
    command = [sys.executable, "-m", "pipeline.main", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith(
        "beamvec "
    )
    assert main(["inspect", "/nowhere"]) == 2


def test_verbose_shows_the_whole_error_and_still_ends_with_3(extract, photos, capsys, monkeypatch):
    def fail(*_):
        raise OSError("the disk is on fire")

    monkeypatch.setattr("transforms.write.write_chunk", fail)
    assert extract("--input", photos / "group0", "--verbose") == 3
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.splitlines()[-1].startswith("beamvec: the pipeline failed: ")
    assert "the disk is on fire" in error.splitlines()[-1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_a_failure(extract, dataset, photos, tmp_path):
    shutil.copy(photos / "group0" / "00.jpg", tmp_path / "secret.jpg")
    (tmp_path / "secret.jpg").chmod(0)
    assert extract("--input", tmp_path / "secret.jpg") == 1
    assert dataset().read_failures()["error_type"].to_pylist() == ["PermissionError"]


def test_a_file_that_goes_while_the_run_goes_on_is_a_failure(
    extract, dataset, photos, tmp_path, monkeypatch
):
    folder = tmp_path / "in"
    shutil.copytree(photos / "group0", folder)
    announce = plan_module._announce

    def announce_and_remove(*args):
        (folder / "00.jpg").unlink(missing_ok=True)
        with (folder / "06.jpg").open("ab") as file:
            file.write(b"grown")
        return announce(*args)

    monkeypatch.setattr("transforms.plan._announce", announce_and_remove)
    assert extract("--input", folder, "--max-failure-ratio", "1") == 0
    (failure,) = dataset().read_failures().to_pylist()
    assert (failure["stage"], failure["error_type"]) == ("read", "FileNotFoundError")
    sizes = {Path(r["uri"]).name: r["size_bytes"] for r in dataset().read_embeddings().to_pylist()}
    assert sizes["06.jpg"] == (photos / "group0" / "06.jpg").stat().st_size + 5
