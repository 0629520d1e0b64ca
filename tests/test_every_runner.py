"""The same dataset on every runner, byte for byte, and what a killed worker costs.

These tests run with `make test-engines`: they need Java and Maven for a Flink cluster on this
machine, and Go for Prism.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import SHARED, hash_files

import samples

ROOT = Path(__file__).parents[1]
PRISM = ROOT / "build" / "bin" / "prism"
LOOPBACK = ROOT / "deploy" / "flink" / "loopback.py"
WORKERS = 2
HANG_S = 300

pytestmark = [
    # The first test on Flink waits until Maven has fetched it, which may take minutes.
    pytest.mark.timeout(900),
    pytest.mark.skipif("BEAMVEC_ENGINES" not in os.environ, reason="runs with make test-engines"),
]

RUNNERS = {
    "threads": [f"--direct_num_workers={WORKERS}"],
    "processes": [f"--direct_num_workers={WORKERS}", "--direct_running_mode=multi_processing"],
    "prism": ["--runner=PrismRunner", f"--prism_location={PRISM}"],
}
# Beam starts a cluster's workers anew for each of a job's six stages, with TensorFlow, unless it is
# told to keep them; but then one that was killed is not replaced in time.
KEEP_WORKERS = "--environment_cache_millis=10000"
CLASSES = {"classloader.resolve-order": "parent-first"}  # Else none are kept.
MODEL_LOADS = {"threads": 1, "processes": WORKERS, "prism": 1, "flink": WORKERS}
"""One for each process that has workers."""


@dataclass(frozen=True)
class Job:
    """An input, the model for it, and what is known of the outcome."""

    images: Path
    model: Path
    count: int
    chunk_size: int
    kind: str = "input"

    @property
    def flags(self) -> list[str]:
        flags = [f"--{self.kind}", str(self.images), "--model", str(self.model)]
        # Of the real model nothing says what it wants to see, and a run would warn of that.
        flags += ["--rows-per-shard=100", "--max-failure-ratio=1", "--spec=scale=1/255"]
        return [*flags, f"--chunk-size={self.chunk_size}"]


@pytest.fixture(scope="session")
def jobs(photos, model_path, tmp_path_factory) -> dict[str, Job]:
    """Inputs by name: some images of many kinds, many larger ones, and real photographs."""
    large = tmp_path_factory.mktemp("large")
    for seed in range(240):
        if seed < 8:
            image = samples.make_image(seed, 1600, 1200)
            (large / f"{seed}.jpg").write_bytes(samples.encode(image, "JPEG"))
        else:
            os.link(large / f"{seed % 8}.jpg", large / f"{seed}.jpg")
    real = SHARED / "models" / "resnet_v2_50_partial"
    packed = tmp_path_factory.mktemp("packed") / "photos.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(large, "large")
    return {
        "many kinds": Job(photos, Path(model_path), 23, 4),
        "large": Job(large, Path(model_path), 240, 4),
        "tar": Job(packed, Path(model_path), 240, 32, "input-tar"),
        "photos": Job(SHARED / "data" / "photos", real, 250, 16),
        "caltech40": Job(SHARED / "data" / "caltech40", Path(model_path), 600, 32),
    }


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Any]:
    """A Flink cluster of two TaskManagers."""
    sys.path.insert(0, str(LOOPBACK.parent))
    from loopback import LoopbackCluster, orderly_exit

    folder = tmp_path_factory.mktemp("flink")
    with orderly_exit(), LoopbackCluster(folder, WORKERS, CLASSES) as cluster:
        yield cluster


def find_flags(runner: str, request: pytest.FixtureRequest) -> list[str]:
    """Return the flags of a runner, for a run whose workers live."""
    if runner != "flink":
        return RUNNERS[runner]
    return [*request.getfixturevalue("cluster").flags, KEEP_WORKERS]


def command(job: Job, output: Path, flags: list[str]) -> list[str]:
    """Return the command line of `beamvec extract`."""
    beamvec = [sys.executable, "-m", "beamvec", "extract", *job.flags]
    return [*beamvec, "--output", str(output), *flags]


def run(job: Job, output: Path, flags: list[str], **options: Any) -> dict[str, Any]:
    """Run to the end, look at what is on the screen, and return `run.json`."""
    words = command(job, output, flags)
    done = subprocess.run(words, capture_output=True, text=True, timeout=HANG_S, **options)
    return check_screen(job, output, done.returncode, done.stdout, done.stderr)


def check_screen(job: Job, output: Path, code: int, text: str, errors: str) -> dict[str, Any]:
    """Check the summary and the progress of a run that went well, and return `run.json`."""
    assert code == 0, errors
    assert f"{job.count} images in " in text
    assert f"beamvec inspect {output}" in text
    # Nothing else comes up there than progress.
    for line in errors.splitlines():
        assert line == "listing images" or re.match(r"[\d,]+ of [\d,]+ images, ", line), errors
    found = json.loads((output / "run.json").read_text())
    assert found["counts"]["inputs"] == job.count
    return found


@pytest.fixture(scope="session")
def expected(jobs, tmp_path_factory):
    """The files that threads in one process write, by job."""
    known: dict[str, dict[str, str]] = {}

    def make(name: str) -> dict[str, str]:
        if name not in known:
            output = tmp_path_factory.mktemp("threads") / "out"
            found = run(jobs[name], output, RUNNERS["threads"])
            assert found["model_loads"] == MODEL_LOADS["threads"]
            known[name] = hash_files(output)
        return known[name]

    return make


@pytest.mark.parametrize("name", ["many kinds", "tar", "photos", "caltech40"])
@pytest.mark.parametrize("runner", ["processes", "prism", "flink"])
def test_every_runner_writes_the_same_bytes(runner, name, jobs, expected, tmp_path, request):
    if not jobs[name].images.exists():
        pytest.skip(f"needs the photographs of {SHARED} (BEAMVEC_SHARED)")
    flags = find_flags(runner, request)
    found = run(jobs[name], tmp_path / "out", flags)
    assert hash_files(tmp_path / "out") == expected(name)
    assert found["model_loads"] == MODEL_LOADS[runner]


@pytest.mark.parametrize("runner", ["processes", "prism", "flink"])
def test_every_runner_works_among_strangers(runner, jobs, expected, tmp_path, request):
    """In a folder, and with a path, full of modules that have the names of beamvec's own."""
    flags = find_flags(runner, request)
    strangers = tmp_path / "strangers"
    strangers.mkdir()
    for name in ("pipeline", "transforms", "embeddings", "run", "config", "commands"):
        (strangers / f"{name}.py").write_text("raise SystemExit('a stranger')")
    env = {**os.environ, "PYTHONPATH": str(strangers)}
    run(jobs["many kinds"], tmp_path / "out", flags, cwd=strangers, env=env)
    assert hash_files(tmp_path / "out") == expected("many kinds")


def test_no_image_leaves_the_process_that_decodes_it(jobs, cluster, tmp_path, record_property):
    # Each chunk costs some 2 kB, however small its images are here.
    job = replace(jobs["large"], chunk_size=8)
    run(job, tmp_path / "out", [*cluster.flags, KEEP_WORKERS])
    newest = max(cluster.ask("/jobs/overview")["jobs"], key=lambda one: one["start-time"])
    vertices = cluster.ask(f"/jobs/{newest['jid']}")["vertices"]
    (heavy,) = [vertex for vertex in vertices if "DecodeImages" in vertex["name"]]
    assert "ExtractFeatures" in heavy["name"]
    assert "WriteChunks" in heavy["name"]
    sent = sum(vertex["metrics"]["write-bytes"] for vertex in vertices)
    record_property("bytes between vertices", sent)
    record_property("bytes behind the model", heavy["metrics"]["write-bytes"])
    pixels = job.count * samples.SIZE**2 * 3
    assert 0 < sent < pixels / 5
    assert 0 < heavy["metrics"]["write-bytes"] < pixels / 20


@contextlib.contextmanager
def started(job: Job, output: Path, flags: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start `beamvec extract`; it is gone at the end of the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command(job, output, flags), stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Any, what: str) -> Any:
    """Return what a condition returns, as soon as it is true."""
    deadline = time.monotonic() + HANG_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"no {what} after {HANG_S} s"
        time.sleep(0.02)
    return found


def list_children(pid: int) -> list[int]:
    """Return the processes that a process has started and that are still there."""
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return []


def list_descendants(pid: int) -> list[int]:
    """Return a process's children, their children, and so on."""
    children = list_children(pid)
    return children + [pid for child in children for pid in list_descendants(child)]


@pytest.mark.parametrize("victim", ["TaskManager", "worker"])
def test_a_kill_on_flink_costs_no_chunk(victim, jobs, expected, cluster, tmp_path, record_property):
    job, output = jobs["large"], tmp_path / "out"
    with started(job, output, cluster.flags) as process:
        chunks = wait_for(
            lambda: (found := list(output.glob("chunks/*.parquet"))) and len(found) > 3 and found,
            "chunk file",
        )
        manager = next(one for one in cluster.task_managers if list_children(one.pid))
        begun = time.monotonic()
        if victim == "TaskManager":
            workers = list_descendants(manager.pid)
            manager.kill()
            wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "end")
            cluster.add_task_manager()
        else:
            for worker in list_children(manager.pid):  # Some may be kept ones of other jobs.
                os.kill(worker, signal.SIGKILL)
        text, errors = process.communicate(timeout=HANG_S)
    record_property("seconds from the kill to the end", round(time.monotonic() - begun, 1))
    record_property("chunks when it was killed", len(chunks))
    found = check_screen(job, output, process.returncode, text, errors)
    assert found["counts"]["embeddings"] == job.count
    assert hash_files(output) == expected("large")


def test_a_dataset_begun_by_threads_is_finished_on_flink(jobs, expected, cluster, tmp_path):
    job, output = jobs["large"], tmp_path / "out"
    with started(job, output, RUNNERS["threads"]) as process:
        wait_for(lambda: len(list(output.glob("chunks/*.parquet"))) > 3, "chunk file")
        process.kill()
        process.wait()
    found = run(job, output, [*cluster.flags, KEEP_WORKERS])
    assert found["counts"]["taken_over"] > 0
    assert hash_files(output) == expected("large")


def test_the_loopback_command_runs_to_the_end_and_leaves_nothing(jobs, expected, tmp_path):
    job, output = jobs["many kinds"], tmp_path / "out"
    shown = [sys.executable, str(LOOPBACK), *job.flags, "--output", str(output)]
    with subprocess.Popen(shown, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        wait_for(lambda: list(output.glob("chunks/*")), "chunk folder")
        family = list_descendants(run.pid)
        text, errors = run.communicate(timeout=HANG_S)
    check_screen(job, output, run.returncode, text, errors)
    assert len(family) >= 4
    assert hash_files(output) == expected("many kinds")
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_loopback_command_leaves_nothing_when_it_is_stopped(number, jobs, tmp_path):
    flags = [*jobs["many kinds"].flags, "--output", str(tmp_path / "out")]
    with subprocess.Popen([sys.executable, str(LOOPBACK), *flags], text=True) as run:
        family = wait_for(lambda: len(found := list_descendants(run.pid)) >= 4 and found, "cluster")
        run.send_signal(number)
        run.wait(timeout=60)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "end")


@pytest.mark.parametrize("runner", ["processes", "prism"])
def test_ctrl_c_ends_the_local_runners_with_all_that_they_started(runner, jobs, tmp_path):
    with started(jobs["large"], tmp_path / "out", RUNNERS[runner]) as process:
        wait_for(lambda: list(tmp_path.glob("out/chunks/*.parquet")), "chunk file")
        family = list_descendants(process.pid)
        assert family
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "stopped; finished chunks are kept" in errors
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "end")


def test_ctrl_c_on_flink_stops_watching_and_the_job_goes_on(jobs, expected, cluster, tmp_path):
    job, output = jobs["large"], tmp_path / "out"
    with started(job, output, cluster.flags) as process:
        wait_for(lambda: list(output.glob("chunks/*.parquet")), "chunk file")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "stopped watching; the job itself goes on" in errors
    wait_for((output / "_SUCCESS").exists, "end of the job")
    assert hash_files(output) == expected("large")


def test_the_tools_are_there():
    for tool in ("java", "mvn"):
        assert shutil.which(tool), f"make test-engines needs {tool}"
    assert PRISM.is_file()


def embed(images: list[str], model: str, output: Path, flags: list[str]) -> list[dict[str, Any]]:
    """Run the example of a pipeline with `EmbedImages`; return the rows of both outputs."""
    script = [sys.executable, str(ROOT / "examples" / "embed_to_parquet.py")]
    done = subprocess.run(
        [*script, model, str(output), *images, *flags],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [row for file in output.iterdir() for row in pq.read_table(file).to_pylist()]
    return sorted(rows, key=lambda row: row["uri"])


@pytest.mark.parametrize("runner", ["prism", "flink"])
def test_embed_images_gives_the_same_rows_on_every_runner(runner, jobs, tmp_path, request):
    job = jobs["many kinds"]
    images = sorted(str(file) for file in job.images.rglob("*.*"))
    flags = find_flags(runner, request)
    expected = embed(images, str(job.model), tmp_path / "local", ["--runner=FnApiRunner"])
    assert len(expected) == len(images)
    assert embed(images, str(job.model), tmp_path / "out", flags) == expected
