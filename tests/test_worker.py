"""Worker processes, started as runners start them."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from apache_beam.portability.api import beam_provision_api_pb2 as provision
from apache_beam.portability.api import beam_provision_api_pb2_grpc as provision_grpc
from apache_beam.runners.worker import sdk_worker_main
from google.protobuf import json_format, text_format

from beamvec.pipeline.run import worker

NAMES = (
    *("WORKER_ID", "PIPELINE_OPTIONS"),
    *("CONTROL_API_SERVICE_DESCRIPTOR", "LOGGING_API_SERVICE_DESCRIPTOR"),
)


class Provision(provision_grpc.ProvisionServiceServicer):
    """A runner that tells a worker where to turn to."""

    def __init__(self):
        self.asked: list[str] = []

    def GetProvisionInfo(self, request, context):  # noqa: N802, ARG002 The names are gRPC's.
        self.asked.append(dict(context.invocation_metadata())["worker_id"])
        info = provision.ProvisionInfo()
        info.control_endpoint.url = "localhost:1"
        info.logging_endpoint.url = "localhost:2"
        json_format.ParseDict({"beam:option:verbose:v1": True}, info.pipeline_options)
        return provision.GetProvisionInfoResponse(info=info)


@pytest.fixture
def runner():
    """The runner, and the address that it listens at."""
    service = Provision()
    server = grpc.server(ThreadPoolExecutor(1))
    provision_grpc.add_ProvisionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield service, f"localhost:{port}"
    server.stop(None)


@pytest.fixture
def started(monkeypatch):
    """What a worker of Beam finds when it starts; it is not started."""
    found: list[dict[str, str | None]] = []
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(worker, "silence", lambda: None)
    monkeypatch.setattr(
        sdk_worker_main, "main", lambda _: found.append({n: os.environ.get(n) for n in NAMES})
    )
    return found


def test_a_worker_asks_the_runner_where_to_turn_to(runner, started, monkeypatch):
    service, address = runner
    arguments = ["--id=7", f"--provision_endpoint={address}", "--semi_persist_dir=/tmp"]
    monkeypatch.setattr(sys, "argv", ["beamvec-worker", *arguments])
    worker.main()
    assert service.asked == ["7"]
    (found,) = started
    assert found["WORKER_ID"] == "7"
    assert "verbose" in found["PIPELINE_OPTIONS"]
    assert (
        text_format.Parse(
            found["CONTROL_API_SERVICE_DESCRIPTOR"],
            type(provision.ProvisionInfo().control_endpoint)(),
        ).url
        == "localhost:1"
    )
    assert "localhost:2" in found["LOGGING_API_SERVICE_DESCRIPTOR"]


def test_a_worker_of_the_local_runner_finds_all_in_its_environment(started, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["beamvec-worker"])
    monkeypatch.setenv("WORKER_ID", "3")
    worker.main()
    (found,) = started
    assert found["WORKER_ID"] == "3"


def test_a_worker_is_a_command():
    command = [sys.executable, "-m", "beamvec.pipeline.run.worker", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--provision_endpoint" in done.stdout
