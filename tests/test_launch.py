"""A run from its configuration to its record, called as a function and by the command."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest

import samples
from beamvec.embeddings import open_dataset
from beamvec.embeddings.run_record import RunRecord
from beamvec.errors import ArgumentError, OutputError, PipelineError, TooManyFailuresError
from beamvec.pipeline.run.config import make_config
from beamvec.pipeline.run.launch import Workers, load_to_launch, run_extraction
from beamvec.pipeline.run.observer import Observer
from beamvec.transforms.inference.config import ModelConfig


class Listener(Observer):
    """Keeps what it hears."""

    def __init__(self):
        super().__init__()
        self.heard: list[tuple[str, str]] = []

    def tell(self, text: str) -> None:
        self.heard.append(("tell", text))

    def busy(self, text: str) -> None:
        self.heard.append(("busy", text))

    def conclude(self, text: str) -> None:
        self.heard.append(("conclude", text))


@pytest.fixture
def run(photos, model_path, tmp_path):
    """Run an extraction of 11 photographs; return its record."""

    def call(*flags: str, observer: Observer | None = None, **arguments) -> RunRecord:
        known = {"input": str(photos / "group0"), "output": tmp_path / "out", "model": model_path}
        return run_extraction(make_config({**known, **arguments}), flags, observer)

    return call


def read_run(folder: Path) -> RunRecord:
    return RunRecord.from_json((folder / "run.json").read_bytes(), "run.json")


def test_the_record_is_that_of_the_file(run, tmp_path, model_path, photos):
    record = run(chunk_size=4, batch_size=8)
    assert record == read_run(tmp_path / "out")
    assert (record.state, record.error, record.generation) == ("finished", None, 0)
    assert (record.counts.inputs, record.counts.embeddings, record.counts.chunks) == (11, 11, 3)
    assert (record.model, record.dimension) == (model_path, samples.DIMENSION)
    assert (record.input.source, record.input.names) == ("input", (str(photos / "group0"),))
    assert (record.chunk_size, record.batch_size, record.runner) == (4, 8, "FnApiRunner")
    assert {"python", "apache-beam", "tensorflow", "pyarrow"} < set(record.versions)
    assert "openvino" not in record.versions


def test_versions_are_those_of_what_computed(run):
    record = run(engine="openvino")
    assert "openvino" in record.versions
    assert "tensorflow" not in record.versions


def test_whoever_is_refused_the_output_leaves_no_thread_at_work(run, tmp_path):
    """At Python's end, it would end with a traceback."""
    (tmp_path / "file").write_text("")
    before = set(threading.enumerate())
    with pytest.raises(OutputError, match="cannot write to `output="):
        run(output=tmp_path / "file" / "out")
    at_work = {thread.name for thread in set(threading.enumerate()) - before}
    assert not any("examine" in name for name in at_work)


def test_a_library_call_prints_nothing(run, capfd):
    run()
    run()
    assert capfd.readouterr() == ("", "")


def test_an_observer_hears_what_goes_on(run):
    listener = Listener()
    run(observer=listener)
    assert ("busy", "loading the model") in listener.heard
    listener = Listener()
    run(observer=listener)
    ((kind, text),) = listener.heard
    assert kind == "conclude"
    assert text.endswith("is finished already: same input, same settings; nothing to do")


def test_a_run_that_goes_on_has_the_state_running(run, tmp_path, monkeypatch):
    from beamvec.transforms.output import chunk_files

    write, output, seen = chunk_files.write_chunk, tmp_path / "out", tmp_path / "seen"

    def look(*args):  # Beam sends a copy of it to the workers.
        seen.write_bytes((output / "run.json").read_bytes())
        return write(*args)

    monkeypatch.setattr(chunk_files, "write_chunk", look)
    run()
    assert RunRecord.from_json(seen.read_bytes(), "seen").state == "running"


def test_a_failed_run_leaves_the_state_failed_and_the_reason(run, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("the disk is on fire")

    with monkeypatch.context() as patch:
        patch.setattr("beamvec.transforms.output.merge.merge_shard", fail)
        with pytest.raises(PipelineError, match="the disk is on fire") as caught:
            run()
    assert caught.value.__cause__ is not None
    record = read_run(tmp_path / "out")
    assert record.state == "failed"
    assert "the disk is on fire" in record.error
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    again = run()
    assert (again.state, again.error, again.counts.taken_over) == ("finished", None, 11)


def test_a_failed_append_leaves_the_dataset_as_it_was(run, tmp_path, photos, monkeypatch):
    before = run()

    def fail(*_):
        raise OSError("the disk is on fire")

    with monkeypatch.context() as patch:
        patch.setattr("beamvec.transforms.output.merge.merge_shard", fail)
        with pytest.raises(PipelineError):
            run(input=str(photos / "group1"), append=True)
    assert read_run(tmp_path / "out") == before
    noted = json.loads((tmp_path / "out" / "chunks" / "run.json").read_text())
    assert (noted["state"], noted["generation"]) == ("failed", 1)
    assert len(open_dataset(str(tmp_path / "out"))) == 11


def test_too_many_failures_raise_with_the_record_and_leave_the_dataset(run, tmp_path, photos):
    with pytest.raises(TooManyFailuresError, match="2 of 23 images failed") as caught:
        run(input=str(photos))
    assert f"`beamvec failures {tmp_path / 'out'}` says which" in str(caught.value)
    assert caught.value.run == read_run(tmp_path / "out")
    assert len(open_dataset(str(tmp_path / "out"))) == 21
    with pytest.raises(TooManyFailuresError):
        run(input=str(photos))
    assert run(input=str(photos), max_failure_ratio=0.5).counts.failures == 2


def test_another_input_is_refused_with_the_arguments_of_python(run, photos):
    run()
    with pytest.raises(OutputError, match=r"with `append=True`, .* with `overwrite=True`"):
        run(input=str(photos / "group1"))


@pytest.mark.parametrize(
    ("flags", "told"), [(["--runner=NoRunner"], "NoRunner"), (["--runer=x"], "mean --runner?")]
)
def test_flags_of_beam_are_checked_before_anything_is_written(run, tmp_path, flags, told):
    with pytest.raises(ArgumentError, match=re.escape(told)):
        run(*flags)
    assert not (tmp_path / "out").exists()


def test_workers_know_where_they_are():
    workers = Workers.choose([])
    assert (workers.name, workers.local, workers.threads) == ("FnApiRunner", True, True)
    processes = Workers.choose(["--direct_running_mode=multi_processing"])
    assert (processes.local, processes.threads) == (True, False)


def test_a_launcher_needs_no_gpu_for_workers_elsewhere(model_path):
    spec = ModelConfig(model_path, precision="float16", device="gpu", batch_size=5)
    assert load_to_launch(spec, local=False).config == ModelConfig(
        model_path, "tensorflow", batch_size=5
    )
