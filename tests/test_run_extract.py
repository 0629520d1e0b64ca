"""`beamvec.extract`: runs from Python."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import hash_files

import beamvec
import samples
from beamvec.pipeline.run import launch


def test_it_makes_the_dataset_of_the_command(extract, model_path, photos, tmp_path):
    flags = ["--input", photos, "--max-failure-ratio", "1", "--resize", "crop"]
    extract(*flags, "--rows-per-shard", "8", output=tmp_path / "command")
    run = beamvec.extract(
        photos,
        output=tmp_path / "call",
        model=model_path,
        max_failure_ratio=1,
        resize="crop",
        rows_per_shard=8,
        chunk_size=3,
        beam_options=["--direct_num_workers=2"],
    )
    assert hash_files(tmp_path / "call") == hash_files(tmp_path / "command")
    assert (run.counts.embeddings, run.counts.failures, run.state) == (21, 2, "finished")
    assert run == beamvec.open_dataset(tmp_path / "call").run


def test_it_goes_on_appends_and_overwrites(model_path, photos, tmp_path):
    call = {"output": tmp_path / "out", "model": model_path}
    first = beamvec.extract(photos / "group0", **call)
    assert beamvec.extract(photos / "group0", **call) == first
    with pytest.raises(beamvec.OutputError, match="`append=True`"):
        beamvec.extract(photos / "group1", **call)
    both = [photos / "group0", photos / "group1"]
    run = beamvec.extract(both, append=True, **call)
    assert (run.counts.embeddings, run.latest.counts.embeddings) == (21, 10)
    assert beamvec.extract(photos / "group1", overwrite=True, **call).counts.embeddings == 10


def test_a_model_that_was_written_anew_is_not_taken_for_the_one_before(photos, tmp_path):
    model = tmp_path / "model"
    for seed in range(2):
        samples.save_tiny_model(str(model), seed)
        beamvec.extract(photos / "group0", output=tmp_path / f"{seed}", model=model)
    before, after = (beamvec.open_dataset(tmp_path / name) for name in "01")
    assert before.settings.fingerprint != after.settings.fingerprint
    assert not np.array_equal(before.read_vectors(), after.read_vectors())


def test_a_model_that_changes_while_a_run_starts_is_refused(photos, tmp_path, monkeypatch):
    model = str(tmp_path / "model")
    samples.save_tiny_model(model)
    load = launch.load_to_launch

    def load_late(*args):
        samples.save_tiny_model(model, seed=1)
        return load(*args)

    monkeypatch.setattr(launch, "load_to_launch", load_late)
    with pytest.raises(beamvec.ModelError, match="has changed meanwhile"):
        beamvec.extract(photos, output=tmp_path / "out", model=model)
    assert not (tmp_path / "out").exists()


def test_lists_and_manifests_are_inputs_too(model_path, photos, tmp_path):
    uris = sorted(map(str, (photos / "group0").glob("*.jpg")))
    (tmp_path / "list.txt").write_text("\n".join(uris))
    rows = "".join(f"{uri},{i}\n" for i, uri in enumerate(uris))
    (tmp_path / "table.csv").write_text("path,label\n" + rows)
    beamvec.extract(input_list=tmp_path / "list.txt", output=tmp_path / "a", model=model_path)
    beamvec.extract(
        manifest=tmp_path / "table.csv", uri_column="path", output=tmp_path / "b", model=model_path
    )
    listed, labelled = beamvec.open_dataset(tmp_path / "a"), beamvec.open_dataset(tmp_path / "b")
    np.testing.assert_array_equal(listed.read_vectors(), labelled.read_vectors())
    assert labelled.read_metadata(["label"])["label"].to_pylist() == list(range(len(uris)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, beamvec.InputError, "nothing names the input"),
        ({"input": "/nowhere"}, beamvec.InputError, "`input=/nowhere`: no such file"),
        ({"input": []}, beamvec.InputError, "`input` is empty"),
        ({"input": "a", "input_list": "b"}, beamvec.InputError, "`input` and `input_list`"),
        ({"input": ".", "batch_size": 1}, beamvec.ArgumentError, "`batch_size=1` is out of range"),
        ({"input": ".", "resize": "no"}, beamvec.ArgumentError, "stretch, crop, pad"),
        ({"input": ".", "engine": "no"}, beamvec.ArgumentError, "tensorflow, openvino"),
        ({"input": ".", "append": True, "overwrite": True}, beamvec.ArgumentError, "exclude"),
        ({"input": ".", "beam_options": ["--runer=x"]}, beamvec.ArgumentError, "mean --runner"),
        ({"input": ".", "beam_options": ["--runner=No"]}, beamvec.ArgumentError, "--runner No"),
        ({"manifest": "a.xls"}, beamvec.InputError, "must end in .csv"),
    ],
)
def test_mistakes_are_told_by_argument_before_any_work(
    model_path, tmp_path, arguments, error, message
):
    with pytest.raises(error, match=message):
        beamvec.extract(output=tmp_path / "out", model=model_path, **arguments)
    assert not (tmp_path / "out").exists()


def test_too_many_failures_raise_with_the_record(model_path, photos, tmp_path):
    with pytest.raises(beamvec.TooManyFailuresError, match="2 of 23 images failed") as caught:
        beamvec.extract(photos, output=tmp_path / "out", model=model_path)
    assert caught.value.run == beamvec.open_dataset(tmp_path / "out").run


def test_a_model_that_is_not_there(photos, tmp_path):
    with pytest.raises(beamvec.ModelError, match="no such folder"):
        beamvec.extract(photos, output=tmp_path / "out", model=tmp_path / "none")


def test_progress_is_told_to_a_function(model_path, photos, tmp_path):
    seen: list[beamvec.Progress] = []
    beamvec.extract(
        photos,
        output=tmp_path / "out",
        model=model_path,
        max_failure_ratio=1,
        chunk_size=2,
        progress=seen.append,
    )
    assert seen[-1] == beamvec.Progress(done=23, failed=2, total=23)
    done = [progress.done for progress in seen]
    assert done == sorted(done)


QUIET = """
import logging, signal, sys, warnings

def state():
    signals = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    return signals, logging.root.manager.disable, logging.root.level, logging.root.handlers

logging.basicConfig(level="ERROR")  # What others log is for the program to decide.
warnings.simplefilter("ignore", FutureWarning)  # Packages of Google's, of old versions of Python.
before, filters = state(), list(warnings.filters)
import beamvec
folder, output, model = sys.argv[1:]
run = beamvec.extract(folder, output=output, model=model)
assert run.counts.embeddings == 11
beamvec.load_model(model).embed([folder + "/00.jpg"])
assert state() == before, (state(), before)
# Libraries bring filters for warnings of theirs; those of the program stay to be seen.
added = [each for each in warnings.filters if each not in filters]
assert all(message or module or kind is not Warning for _, message, kind, module, _ in added), added
"""


def test_it_prints_nothing_and_leaves_the_process_alone(model_path, photos, tmp_path):
    command = [sys.executable, "-c", QUIET, photos / "group0", tmp_path / "out", model_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_ctrl_c_ends_the_work_before_it_frees_the_output(model_path, photos, tmp_path):
    """A callback that raises is to a run what Ctrl-C is: it may come at any moment."""
    threads = set(threading.enumerate())

    def interrupt(progress: beamvec.Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    (image, *_) = (photos / "group0").glob("*.jpg")
    uris = [f"{image.parent}/{'./' * i}{image.name}" for i in range(2000)]
    (tmp_path / "list.txt").write_text("\n".join(uris))
    call = {"input_list": tmp_path / "list.txt", "output": tmp_path / "out", "model": model_path}
    call["chunk_size"] = 10
    with pytest.raises(KeyboardInterrupt):
        beamvec.extract(progress=interrupt, **call)
    names = {thread.name for thread in set(threading.enumerate()) - threads}
    assert not any("decode" in name for name in names)
    assert not (tmp_path / "out" / "_LOCK").exists()
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    run = beamvec.extract(**call)
    assert run.counts.embeddings == 2000
    assert 0 < run.counts.taken_over < 2000
