"""Runners that cannot be used, or reached, are one line; the manifests for Flink agree."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import apache_beam
import pytest

from beamvec.pipeline.run import runners
from beamvec.pipeline.run.beam_options import parse_beam_flags

DEPLOY = Path(__file__).parents[1] / "deploy" / "flink"
EXTERNAL = ["--environment_type=EXTERNAL", "--environment_config=localhost:50000"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--runner=PortableRunner", "--job_endpoint=localhost:1", *EXTERNAL],
            "--job_endpoint localhost:1: no answer within",
        ),
        (
            ["--runner=FlinkRunner", "--flink_master=localhost:1", *EXTERNAL],
            "--flink_master localhost:1: no answer within",
        ),
        (
            ["--runner=FlinkRunner", "--flink_master=http://localhost:x", *EXTERNAL],
            "--flink_master http://localhost:x: no answer within",
        ),
        (
            ["--runner=PortableRunner", "--job_endpoint=localhost:1"],
            "needs to know where its workers are: --environment_type EXTERNAL",
        ),
        (["--runner=PrismRunner", "--prism_location=/no/prism"], "/no/prism: no such file"),
        (["--runner=PrismRunner"], f"prism@v{apache_beam.__version__}` makes it"),
        (["--runner=NoRunner"], "--runner NoRunner: "),
    ],
)
def test_a_runner_that_cannot_be_used_ends_with_2(
    flags, told, extract, photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(runners, "REACH_S", 0.5)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert extract("--input", photos, *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "local", "threads"),
    [
        ([], True, True),
        (["--runner=DirectRunner"], True, True),
        (["--direct_running_mode=multi_processing"], True, False),
        (["--runner=PrismRunner"], True, True),
        (["--runner=PrismRunner", "--environment_type=PROCESS"], True, False),
        (["--runner=PrismRunner", "--job_endpoint=localhost:1"], False, False),
        (["--runner=PortableRunner", "--environment_type=LOOPBACK"], False, True),
        (["--runner=FlinkRunner", *EXTERNAL], False, False),
    ],
)
def test_where_the_workers_are(flags, local, threads):
    options = parse_beam_flags(flags)
    assert runners.is_local_runner(options) is local
    assert runners.has_worker_threads(options) is threads


def test_prism_is_found_on_the_path(tmp_path, monkeypatch):
    program = tmp_path / "prism"
    program.write_text("")
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path))
    options = parse_beam_flags(["--runner=PrismRunner"])
    runners.choose_runner(options)
    assert options.get_all_options()["prism_location"] == str(program)


def read_manifests() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="Beam's yaml extra reads the manifests")
    files = sorted(DEPLOY.glob("*.yaml"))
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


def test_the_manifests_agree_with_each_other():
    manifests = {
        (one["kind"], one["metadata"]["name"]): one["spec"]
        for one in read_manifests()
        if "spec" in one
    }
    ports = {
        f"{name}:{port['port']}"
        for (kind, name), spec in manifests.items()
        if kind == "Service"
        for port in spec["ports"]
    }
    pods = {
        name: spec["template"]["spec"]
        for (kind, name), spec in manifests.items()
        if kind in ("Deployment", "Job")
    }
    arguments = pods["beamvec-extract"]["containers"][0]["args"]
    parse_beam_flags([flag for flag in arguments if "environment" in flag or "endpoint" in flag])
    values = dict(flag.lstrip("-").split("=") for flag in arguments)
    assert {values["job_endpoint"], values["artifact_endpoint"]} <= ports
    (server,) = pods["beamvec-jobserver"]["containers"]
    assert "--flink-master=beamvec-flink:8081" in server["args"]
    assert "beamvec-flink:8081" in ports
    workers = pods["beamvec-taskmanager"]["containers"][1]
    listens = workers["ports"][0]["containerPort"]
    assert values["environment_config"] == f"localhost:{listens}"
    assert workers["image"] == pods["beamvec-extract"]["containers"][0]["image"]
    for kind, name in manifests:
        if kind == "Service":
            labels = manifests["Deployment", manifests[kind, name]["selector"]["app"]]["template"]
            assert labels["metadata"]["labels"] == manifests[kind, name]["selector"]
    assert all(
        mount["mountPath"] == "/data"
        for pod in pods.values()
        for container in pod["containers"]
        for mount in container.get("volumeMounts", ())
    )
