"""What is in deploy/dataflow: linted, of the locked versions, and of one mind with the flags."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from google.cloud import dataflow
from google.protobuf import json_format

import dockerfile
from beamvec.pipeline.commands.parser import build_parser
from beamvec.pipeline.run.beam_options import parse_beam_flags
from beamvec.pipeline.run.config import make_config
from beamvec.pipeline.run.dataflow import find_mistakes

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy" / "dataflow"
BIN = Path(sys.executable).parent
PLACE = {"PROJECT": "my-project", "REGION": "us-central1", "BUCKET": "bucket", "IMAGE": "image"}


@pytest.mark.parametrize(
    "command",
    [["hadolint", "Dockerfile"], ["hadolint", "Dockerfile.template"], ["shellcheck", "launch.sh"]],
)
def test_linters_find_nothing(command):
    program, file = command
    if not (BIN / program).exists():
        pytest.skip(f"there is no {program} for this machine")
    done = subprocess.run([BIN / program, DEPLOY / file], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_has_the_locked_beam_and_its_boot_program():
    instructions = dockerfile.parse((DEPLOY / "Dockerfile").read_text())
    arguments = dockerfile.defaults(instructions)
    lock = (ROOT / "requirements.lock").read_text()
    assert f"\napache-beam=={arguments['BEAM']}\n" in lock
    assert ("FROM", "apache/beam_python${PYTHON}_sdk:${BEAM} AS beam") in instructions
    assert ("FROM", "python:${PYTHON}-slim") in instructions
    assert instructions[-2:] == [
        ("COPY", "--from=beam /opt/apache/beam /opt/apache/beam"),
        ("ENTRYPOINT", '["/opt/apache/beam/boot"]'),
    ]


def test_the_gpu_image_has_the_same_versions_and_cuda():
    def pins(name: str) -> set[str]:
        lines = (ROOT / name).read_text().splitlines()
        return {line for line in lines if line and not line.startswith((" ", "#"))}

    added = pins("requirements-gpu.lock") - pins("requirements.lock")
    assert any(line.startswith("nvidia-cudnn") for line in added)
    assert all(line.startswith("nvidia-") for line in added)


def launch(tmp_path, *flags: str, **environment: str) -> list[str]:
    """Return the command line that the launch script ends in."""
    (tmp_path / "beamvec").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "beamvec").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [DEPLOY / "launch.sh", *flags]
    done = subprocess.run(
        command, env={**path, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["--machine_type", "n2-standard-8"]),
        ({"GPU": "l4"}, ["--machine_type", "g2-standard-8"]),
        ({"GPU": "t4"}, ["--machine_type", "n1-standard-8"]),
        ({"GPU": "l4", "MACHINE": "g2-standard-4"}, ["--number_of_worker_harness_threads", "4"]),
        ({"SUBNETWORK": "regions/r/subnetworks/s"}, ["--no_use_public_ips"]),
        ({"MAX_WORKERS": "100", "DISK_GB": "80"}, ["--max_num_workers", "100"]),
    ],
)
def test_the_launch_script_makes_no_mistakes(tmp_path, environment, expected):
    flags = ["--input", "gs://b/in", "--output", "gs://b/out", "--precision", "float32"]
    words = launch(tmp_path, *flags, **PLACE, **environment)
    assert " ".join(expected) in " ".join(words)
    args, rest = build_parser().parse_known_args(words)
    config = make_config(vars(args))
    assert list(find_mistakes(config.places, config.model, parse_beam_flags(rest))) == []


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "PROJECT: the id of your Google Cloud project"),
        ({**PLACE, "MACHINE": "custom-4-16384"}, "set THREADS to the number of vCPUs of custom-4"),
        ({**PLACE, "GPU": "h100"}, "GPU is none, l4 or t4, not h100"),
    ],
)
def test_the_launch_script_says_what_is_missing(tmp_path, environment, message):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        launch(tmp_path, **environment)
    assert message in caught.value.stderr


@pytest.fixture
def parameters() -> dict[str, dataflow.ParameterMetadata]:
    """The template's parameters, read as Dataflow's API reads them."""
    content = json.loads((DEPLOY / "template.json").read_text())
    spec = dataflow.ContainerSpec()
    json_format.ParseDict(content, dataflow.ContainerSpec.pb(spec))
    assert spec.sdk_info.language == dataflow.SDKInfo.Language.PYTHON
    return {parameter.name: parameter for parameter in spec.metadata.parameters}


def test_every_parameter_of_the_template_is_a_flag(parameters):
    own = runpy.run_path(str(DEPLOY / "template.py"))
    names = {*own["OWN"], *own["SWITCHES"]}
    args, _ = build_parser().parse_known_args(["extract", "--input", "a", "--output", "b"])
    # What a model wants to see stands beside it there: a parameter has one value. Nobody looks at
    # what the launcher prints.
    for_people = {"verbose", "quiet", "log_format", "dry_run"}
    assert names == set(vars(args)) - {"command", "parser", "spec"} - for_people
    beams = set(parse_beam_flags([]).get_all_options())
    assert names <= set(parameters) <= names | beams
    assert {name for name in parameters if not parameters[name].is_optional} == {
        *("output", "sdk_container_image")
    }


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("input", "gs://bucket/photos/*.jpg", "photos"),
        ("input_list", "gs://bucket/list.txt", "s3://bucket/list.txt"),
        ("manifest", "gs://bucket/a.parquet", "gs://bucket/a.txt"),
        ("output", "gs://bucket/out", "gs://bucket"),
        ("model", "https://tfhub.dev/google/imagenet/resnet_v2_50/feature_vector/5", "resnet"),
        ("model", "/opt/beamvec/model", "https://me:secret@host/model"),
        ("precision", "float16", "float8"),
        ("batch_size", "32", "0"),
        ("max_failure_ratio", "0.05", "2"),
        ("append", "true", "yes"),
        ("dataflow_service_options", "worker_accelerator=type:nvidia-l4;count:1", "$(id)"),
        ("sdk_container_image", "region-docker.invalid/p/r/beamvec:gpu", "image name"),
    ],
)
def test_the_template_validates_its_parameters(parameters, name, good, bad):
    (pattern,) = parameters[name].regexes
    assert re.fullmatch(pattern, good)
    assert not re.fullmatch(pattern, bad)
