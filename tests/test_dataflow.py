"""Flags that cannot work on Dataflow: one line that says what to change, before any work starts."""

from __future__ import annotations

import sys

import pytest

from beamvec.pipeline.commands.main import main
from beamvec.pipeline.commands.parser import build_parser
from beamvec.pipeline.run.beam_options import parse_beam_flags
from beamvec.pipeline.run.config import make_config
from beamvec.pipeline.run.dataflow import ACCELERATOR, asks_for_gpu, find_mistakes

T4 = ACCELERATOR.replace("nvidia-l4", "nvidia-tesla-t4")
GOOD = {
    "--runner": "DataflowRunner",
    "--project": "my-project",
    "--region": "us-central1",
    "--temp_location": "gs://bucket/temp",
    "--sdk_container_image": "registry.invalid/beamvec:cpu",
    "--input": "gs://bucket/photos",
    "--output": "gs://bucket/out",
    "--model": "gs://bucket/model",
}
GPU = {
    "--dataflow_service_options": ACCELERATOR,
    "--machine_type": "g2-standard-8",
    "--experiments": "no_use_multiple_sdk_containers",
}


def command(changes: dict[str, str | None]) -> list[str]:
    """Return a command line like `GOOD`, where None leaves a flag out and "" is a flag alone."""
    flags = {**GOOD, **changes}
    words = [
        [flag, value] if value else [flag] for flag, value in flags.items() if value is not None
    ]
    return ["extract", *(word for pair in words for word in pair)]


def gpu(**changes: str | None) -> dict[str, str | None]:
    return {**GPU, **{f"--{name}": value for name, value in changes.items()}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--project": None}, "needs --project"),
        ({"--region": None}, "needs --region"),
        ({"--temp_location": None}, "needs --temp_location"),
        ({"--sdk_container_image": None}, "needs --sdk_container_image"),
        ({"--temp_location": "/tmp/x"}, "--temp_location /tmp/x is out of Dataflow's reach"),
        ({"--staging_location": "s3://b/x"}, "--staging_location s3://b/x is out of"),
        ({"--template_location": "t.json"}, "--template_location t.json is out of"),
        ({"--input": "photos"}, "--input photos is out of Dataflow's reach; it must be on gs://"),
        ({"--input": "s3://b/photos"}, "--input s3://b/photos is out of"),
        ({"--input": None, "--input-list": "a.txt"}, "--input-list a.txt is out of"),
        ({"--input": None, "--manifest": "a.csv"}, "--manifest a.csv is out of"),
        ({"--output": "out"}, "--output out is out of"),
        ({"--model": "resnet"}, "--model resnet is out of Dataflow's reach; copy it to gs://"),
        ({"--model": "/home/me/resnet"}, "below /opt/beamvec/ that the image and this machine"),
        ({"--model": "s3://bucket/resnet"}, "out of Dataflow's reach"),
        ({"--model": "https://me:secret@host/m"}, "--model https://host/m comes with a password"),
        ({"--model": "https://host/m?token=secret"}, "--model https://host/m comes with a pass"),
        ({"--s3_secret_access_key": "secret"}, "--s3_secret_access_key could be read by whoever"),
        ({"--azure_connection_string": "secret"}, "--azure_connection_string could be read by"),
        ({"--save_main_session": ""}, "--save_main_session has no use"),
        ({"--sdk_location": "gs://b/beam.tar"}, "--sdk_location gs://b/beam.tar has no use"),
        ({"--precision": "float16"}, "--precision float16 needs a GPU, and none is asked for"),
        ({"--require-gpu": ""}, "--require-gpu, but no GPU is asked for; add --dataflow_service"),
        ({"--machine_type": "g2-standard-8"}, "g2-standard-8 has a GPU that is not asked for"),
        (gpu(machine_type="n1-standard-8"), "n1-standard-8 does not go with one nvidia-l4; use g2"),
        (gpu(machine_type="g2-standard-24"), "does not go with one nvidia-l4"),
        (gpu(dataflow_service_options=T4), "g2-standard-8 does not go with one nvidia-tesla-t4"),
        (gpu(machine_type=None), "nvidia-l4 needs a --machine_type that can have it, such as g2-"),
        (gpu(experiments=None), "add --experiments no_use_multiple_sdk_containers"),
        (gpu(experiments="use_multiple_sdk_containers"), "add --experiments no_use_multiple"),
        (gpu(dataflow_service_options=f"{ACCELERATOR};use_nvidia_mps"), "use_nvidia_mps is for"),
        (
            gpu(dataflow_service_options="worker_accelerator=type:nvidia-l4;count:1"),
            "leaves the GPU without a driver; add ;install-nvidia-driver",
        ),
        (gpu(dataflow_service_options="worker_accelerator=nvidia-l4"), "names no type or no count"),
        (gpu(dataflow_service_options=ACCELERATOR.replace("1", "2")), "ask for count:1"),
        (gpu(resource_hint="accelerator=type:nvidia-l4;count:1"), "GPUs are asked for twice"),
        (gpu(precision="bfloat16"), "--precision bfloat16 is for CPUs"),
        (gpu(engine="openvino"), "--engine openvino uses no GPU"),
        ({"--num_workers": "9", "--max_num_workers": "3"}, "cannot exceed max_num_workers (3)"),
        ({"--project": "12345"}, "not project number"),
        ({"--job_name": "My_Job"}, "Invalid job_name (My_Job)"),
        ({"--temp_location": "gs://Bucket/temp"}, "Invalid GCS bucket (gs://Bucket/temp)"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(changes, message, capsys, monkeypatch):
    def no_work(*_):
        raise AssertionError("work has started")

    monkeypatch.setattr("beamvec.pipeline.run.request.ModelFiles.fetch", no_work)
    monkeypatch.setattr("beamvec.pipeline.run.launch.ExtractConfig.check", no_work)
    assert main(command(changes)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "secret" not in error.replace("s3_secret_access_key", "")


@pytest.mark.parametrize(
    ("changes", "with_gpu"),
    [
        ({}, False),
        ({"--model": "https://tfhub.dev/google/imagenet/resnet_v2_50/feature_vector/5"}, False),
        ({"--model": "google/resnet-v2/tensorFlow2/50-feature-vector/2"}, False),
        ({"--model": "/opt/beamvec/model", "--sdk_location": "container"}, False),
        ({"--input": "gs://bucket/a?.jpg", "--precision": "bfloat16"}, False),
        (gpu(), True),
        (gpu(precision="float16"), True),
        (gpu(dataflow_service_options=f"{T4}:5xx", machine_type="n1-standard-4"), True),
        (gpu(dataflow_service_options=T4, machine_type="custom-4-16384"), True),
        (gpu(dataflow_service_options=f"{ACCELERATOR};use_nvidia_mps", experiments=None), True),
        (
            gpu(
                dataflow_service_options=None,
                resource_hint="accelerator=type:nvidia-l4;count:1;install-nvidia-driver",
            ),
            True,
        ),
        (
            gpu(
                dataflow_service_options="worker_accelerator=type:nvidia-new;count:1;"
                "install-nvidia-driver",
                machine_type="z9-highgpu-1g",
            ),
            True,
        ),
    ],
)
def test_what_can_work_is_let_through(changes, with_gpu):
    args, flags = build_parser().parse_known_args(command(changes))
    options = parse_beam_flags(flags)
    config = make_config(vars(args))
    assert list(find_mistakes(config.places, config.model, options)) == []
    assert asks_for_gpu(options) == with_gpu


@pytest.mark.parametrize("runner", ["DataflowRunner", "dataflow", "dataflowrunner"])
def test_every_name_of_the_runner_is_checked(runner, capsys):
    assert main(command({"--runner": runner, "--region": None})) == 2
    assert "needs --region" in capsys.readouterr().err


def test_missing_packages_are_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "google.cloud.dataflow", None)
    monkeypatch.delattr("google.cloud.dataflow", raising=False)
    monkeypatch.delitem(sys.modules, "apache_beam.runners.dataflow.internal.apiclient", False)
    assert main(command({})) == 2
    assert capsys.readouterr().err == (
        "beamvec: --runner DataflowRunner needs more packages: pip install 'beamvec[gcp]'\n"
    )


def test_a_gpu_that_is_required_and_missing_ends_with_2_here(extract, photos, tmp_path, capsys):
    assert extract("--input", photos, "--require-gpu") == 2
    error = capsys.readouterr().err
    assert "a GPU is required, and TensorFlow sees none on" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_openvino_has_no_gpu_to_require(extract, photos, capsys):
    assert extract("--input", photos, "--require-gpu", "--engine", "openvino") == 2
    assert "use --engine tensorflow" in capsys.readouterr().err
