"""Jobs for Dataflow: sent by Beam's own DataflowRunner, to servers on loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

import pytest
from apache_beam.internal.gcp import auth
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow import dataflow_runner
from apache_beam.utils import retry
from conftest import forget_models

import samples
from beamvec.pipeline.commands.main import main
from beamvec.pipeline.run import finish as report
from dataflow_service import JOB_ID, DataflowService, run_here
from object_stores import BUCKET, GcsStore

DEPLOY = Path(__file__).parents[1] / "deploy" / "dataflow"
IMAGE = "registry.invalid/project/beamvec:gpu"
ACCELERATOR = "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"
GPU = [
    *("--dataflow_service_options", ACCELERATOR),
    *("--experiments", "no_use_multiple_sdk_containers"),
    *("--machine_type", "g2-standard-8", "--precision", "float16"),
]


@pytest.fixture(scope="module")
def filled(photos, model_path):
    """A store with the photographs and the model."""
    store = GcsStore()
    for name, folder in (("photos", photos), ("model", Path(model_path))):
        for file in folder.rglob("*"):
            if file.is_file():
                store.upload(f"{name}/{file.relative_to(folder)}", file.read_bytes())
    yield store
    store.stop()


@pytest.fixture
def store(filled, tmp_path, monkeypatch):
    """The store, where Google's own clients find it."""
    for name, value in filled.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(auth._Credentials, "_credentials_init", False)
    forget_models()
    yield filled
    for prefix in ("out", "staging", "temp"):
        for key in filled.download(prefix):
            filled.delete(key)


@pytest.fixture(scope="module")
def server():
    """Dataflow's API."""
    service = DataflowService()
    yield service
    service.stop()


@pytest.fixture
def service(server, monkeypatch):
    """Dataflow's API without a job; Beam looks at the state more often than every 5 s."""
    server.reset()
    clock = SimpleNamespace(sleep=lambda _: time.sleep(0.05), time=time.time)
    monkeypatch.setattr(dataflow_runner, "time", clock)
    monkeypatch.setattr(retry.Clock, "sleep", lambda *_: None)
    return server


def submit(service, *flags: str) -> int:
    """Run `beamvec extract` on Dataflow, with {} in the flags standing for the bucket's URI."""
    words = [
        *("extract", "--input", "{}/photos", "--output", "{}/out", "--model", "{}/model"),
        *("--max-failure-ratio", "1", "--runner", "DataflowRunner", "--region", "us-central1"),
        *("--project", "project", "--dataflow_endpoint", service.url),
        *("--temp_location", "{}/temp", "--staging_location", "{}/staging"),
        *("--sdk_container_image", IMAGE, "--sdk_location", "container"),
        *flags,
    ]
    return main([word.format(f"gs://{BUCKET}") for word in words])


def staged(store) -> dict[str, bytes]:
    """Return what was put into the staging folder, by its last name."""
    return {key.rpartition("/")[2]: content for key, content in store.download("staging").items()}


def read_run(store) -> dict:
    """Return what the dataset's run.json holds."""
    return json.loads(store.download("out/run.json")["out/run.json"])


def work(service, store) -> None:
    """Let the service run what is submitted, and tell how that ended as Dataflow does."""

    def run(_: dict) -> None:
        try:
            run_here(staged(store)["pipeline.pb"])
        except Exception:  # noqa: BLE001 Whatever it is, the job has failed.
            # Its messages end with notes of Dataflow's own.
            text = (
                f"{traceback.format_exc()}\n\npassed through:\n==>\n    workflow/worker/impl.cc:1"
            )
            service.states, service.messages = ["JOB_STATE_FAILED"], [text]

    service.on_submit = run


@pytest.mark.usefixtures("store")
def test_a_job_asks_for_what_the_flags_say(service):
    flags = ["--disk_size_gb", "50", "--number_of_worker_harness_threads", "8"]
    flags += ["--num_workers", "2", "--max_num_workers", "10", "--no_use_public_ips"]
    flags += ["--service_account_email", "worker@project.invalid", "--job_name", "photos"]
    submit(service, *GPU, *flags)
    (job,) = service.jobs
    environment = job["environment"]
    (pool,) = environment["workerPools"]
    (container,) = pool["sdkHarnessContainerImages"]
    assert job["name"] == "photos"
    assert environment["serviceOptions"] == [ACCELERATOR]
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    assert environment["serviceAccountEmail"] == "worker@project.invalid"
    assert environment["version"]["job_type"] == "FNAPI_BATCH"
    assert container["containerImage"] == pool["workerHarnessContainerImage"] == IMAGE
    assert (pool["machineType"], pool["diskSizeGb"]) == ("g2-standard-8", 50)
    assert (pool["numThreadsPerWorker"], pool["numWorkers"]) == (8, 2)
    assert pool["autoscalingSettings"] == {"maxNumWorkers": 10}
    assert "packages" not in pool


def test_only_the_graph_is_sent(store, service, tmp_path):
    """No __main__, image, weight, credential or list of what is installed here."""
    submit(service, "--num_workers", "1")
    files = staged(store)
    (job,) = service.jobs
    assert list(files) == ["pipeline.pb"]
    assert len(files["pipeline.pb"]) < 150_000
    assert len(json.dumps(job)) < 20_000
    key = json.loads((tmp_path / "account.json").read_text())["private_key"].splitlines()[1]
    pipeline = beam_runner_api_pb2.Pipeline.FromString(files["pipeline.pb"])
    for sent in (files["pipeline.pb"], json.dumps(job).encode(), str(pipeline).encode()):
        for unwanted in (key, "PRIVATE KEY", str(tmp_path), str(Path(__file__).parents[1])):
            assert unwanted.encode() not in sent
    assert job["environment"]["sdkPipelineOptions"]["options"]["save_main_session"] is False


def test_an_operator_can_read_the_steps(store, service):
    submit(service)
    pipeline = beam_runner_api_pb2.Pipeline.FromString(staged(store)["pipeline.pb"])
    (root,) = pipeline.root_transform_ids
    transforms = pipeline.components.transforms
    steps = {transforms[step].unique_name for step in transforms[root].subtransforms}
    assert steps == {
        *("MatchImages", "PlanChunks", "SkipFinished", "DecodeImages", "ExtractFeatures"),
        *("WriteChunks", "AllChunks", "MergeShards", "AllAccounts", "CloseAccounts"),
    }


def test_what_is_sent_gives_the_local_dataset(store, service, capsys):
    """The staged graph, run by another runner, writes the same bytes as a local run."""
    work(service, store)
    assert submit(service) == 0
    output = capsys.readouterr()
    assert f"Dataflow job {JOB_ID}: https://" in output.err
    assert f"gcloud dataflow jobs cancel {JOB_ID} --region us-central1" in output.err
    assert re.search(r"embedded +21", output.out)
    flags = ["--input", "{}/photos", "--output", "{}/out-local", "--model", "{}/model"]
    words = ["extract", "--max-failure-ratio", "1", *flags]
    assert main([word.format(f"gs://{BUCKET}") for word in words]) == 0
    for table, files in (("embeddings", 1), ("failures", 1)):
        sent = list(store.download(f"out/{table}/").values())
        assert len(sent) == files
        assert sent == list(store.download(f"out-local/{table}/").values())
    assert submit(service) == 0
    assert "finished already" in capsys.readouterr().out
    assert len(service.jobs) == 1


def test_the_same_command_takes_up_a_failed_job_and_append_adds_to_it(
    store, service, monkeypatch, capsys
):
    def fail(*_):
        raise RuntimeError("the machine is gone")

    work(service, store)
    with monkeypatch.context() as patch:
        patch.setattr(report, "close_accounts", fail)
        assert submit(service) == 3
    assert "the machine is gone" in capsys.readouterr().err
    service.reset()
    work(service, store)
    assert submit(service) == 0
    counts = read_run(store)["counts"]
    assert (counts["embeddings"], counts["taken_over"]) == (21, 23)
    before = store.download("out/embeddings/")
    store.upload("photos/new.jpg", samples.encode(samples.make_image(99), "JPEG"))
    assert submit(service, "--append") == 0
    store.delete("photos/new.jpg")
    assert read_run(store)["counts"]["embeddings"] == 22
    assert before.items() < store.download("out/embeddings/").items()


@pytest.mark.usefixtures("store")
def test_a_job_that_leaves_no_dataset_is_a_failure(service, capsys):
    assert submit(service) == 3
    assert "the pipeline ended, but published no run.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("states", "messages", "expected"),
    [
        (["JOB_STATE_CANCELLED"], [], "State: CANCELLED; finished chunks are kept"),
        (["JOB_STATE_RUNNING", "JOB_STATE_FAILED"], ["No quota for L4."], "No quota for L4."),
    ],
)
def test_a_job_that_fails_or_is_cancelled_ends_with_3(
    store, service, capsys, states, messages, expected
):
    service.states, service.messages = states, messages
    assert submit(service) == 3
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("beamvec: the pipeline failed: ")
    assert expected in last
    assert store.download("out/_LOCK") == {}


def test_workers_without_the_gpu_that_was_asked_for_fail_the_run(store, service, capsys):
    work(service, store)
    assert submit(service, *GPU) == 3
    *_, last = capsys.readouterr().err.splitlines()
    assert "a GPU is required, and TensorFlow sees none on" in last


@pytest.mark.usefixtures("store")
def test_a_refused_job_ends_with_3(service, capsys):
    service.status = 403
    assert submit(service) == 3
    *_, last = capsys.readouterr().err.splitlines()
    assert "lacks dataflow.jobs.create" in last


def test_a_template_is_written_and_nothing_is_waited_for(store, service, capsys):
    assert submit(service, "--template_location", "{}/staging/template.json") == 0
    assert "the job's template is at gs://bucket/staging/template.json" in capsys.readouterr().err
    assert service.requests == []
    template = json.loads(staged(store)["template.json"])
    (pool,) = template["environment"]["workerPools"]
    assert pool["workerHarnessContainerImage"] == IMAGE


def run_command(service, store, tmp_path, command: list[str], **environment: str):
    """Run one of deploy/dataflow's commands as a user does, up to the job's template."""
    known = {**os.environ, **store.environment(tmp_path), **environment}
    known["PATH"] = f"{Path(sys.executable).parent}:{known['PATH']}"
    flags = [f"--dataflow_endpoint={service.url}", f"--model=gs://{BUCKET}/model"]
    flags += [f"--input=gs://{BUCKET}/photos", f"--output=gs://{BUCKET}/out"]
    flags += [f"--template_location=gs://{BUCKET}/staging/template.json"]
    command = [*command, *flags]
    return subprocess.run(command, cwd=DEPLOY, env=known, capture_output=True, text=True)


def test_the_launch_script_asks_for_a_gpu_and_one_process(store, service, tmp_path):
    place = {"PROJECT": "project", "REGION": "us-central1", "BUCKET": BUCKET, "IMAGE": IMAGE}
    place["WORKER_ACCOUNT"] = "worker@project.invalid"
    done = run_command(service, store, tmp_path, ["./launch.sh"], GPU="l4", **place)
    assert done.returncode == 0, done.stderr
    environment = json.loads(staged(store)["template.json"])["environment"]
    (pool,) = environment["workerPools"]
    assert environment["serviceOptions"] == [ACCELERATOR]
    assert environment["serviceAccountEmail"] == "worker@project.invalid"
    assert (pool["machineType"], pool["numThreadsPerWorker"]) == ("g2-standard-8", 8)
    assert "no_use_multiple_sdk_containers" in environment["experiments"]


def test_the_flex_template_describes_a_job(store, service, tmp_path):
    parameters = ["--region=us-central1", "--project=project", f"--sdk_container_image={IMAGE}"]
    parameters += [f"--temp_location=gs://{BUCKET}/temp", "--runner=DataflowRunner"]
    parameters += [f"--staging_location=gs://{BUCKET}/staging", "--machine_type=n2-standard-8"]
    parameters += ["--chunk_size=10", "--overwrite=true", "--append=false", "--job_name=flex"]
    command = [sys.executable, "template.py", *parameters]
    done = run_command(service, store, tmp_path, command)
    assert done.returncode == 0, done.stderr
    template = json.loads(staged(store)["template.json"])
    (pool,) = template["environment"]["workerPools"]
    assert (template["name"], pool["machineType"]) == ("flex", "n2-standard-8")
    assert b"__main__" not in staged(store)["pipeline.pb"]
    done = run_command(service, store, tmp_path, [*command, "--engine=x"])
    assert done.returncode == 2
    assert "--engine: there is no 'x'; choose from tensorflow, openvino" in done.stderr
