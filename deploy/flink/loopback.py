#!/usr/bin/env python3
"""Run `beamvec extract` on a Flink cluster of its own on this machine, to see that all works.

    python deploy/flink/loopback.py --input photos --model resnet_v2_50 --output dataset

One JobManager, two TaskManagers and Beam's job server are started, as processes that listen on
localhost only, and stopped at the end, however it comes. Needs Java and Maven, which downloads the
jars once. `--task-managers` says how many; other flags are those of `beamvec extract`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "build" / "flink"
START_S = 120.0
"""How long the cluster may take to be ready."""

_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_JOB_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
_PACKAGES = (
    "lang lang.invoke lang.reflect io net nio text time util util.concurrent "
    "util.concurrent.atomic util.concurrent.locks"
)
# Flink looks into classes of Java's own, which Java allows by name only.
_OPENS = [f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _PACKAGES.split()]
_OPENS += ["--add-opens=java.base/sun.nio.ch=ALL-UNNAMED"]
_LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.name = console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %-5p %c - %m%n
"""
_PR_SET_PDEATHSIG = 1


class LoopbackError(RuntimeError):
    """The cluster cannot be had; the message says why and what to do."""


def fetch_jars() -> Path:
    """Return a folder with all jars, downloading them with Maven where they are not there yet.

    Raises:
        LoopbackError: if Java or Maven is missing, or the download fails.
    """
    for tool in ("java", "mvn"):
        if not shutil.which(tool):
            raise LoopbackError(f"{tool} is not on the PATH: install Java 11 or 17, and Maven")
    pom = HERE / "pom.xml"
    jars = CACHE / hashlib.sha256(pom.read_bytes()).hexdigest()[:16]
    if jars.is_dir():
        return jars
    print("downloading Flink and Beam's job server, once", file=sys.stderr, flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}/jars"]
        command = ["mvn", "-B", "-q", "-f", str(pom), *goal]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stdout.splitlines() if "ERROR" in line] or ["no message"]
            raise LoopbackError(f"Maven cannot get the jars of {pom}: {lines[0]}")
        os.rename(f"{folder}/jars", jars)
    return jars


class LoopbackCluster:
    """A Flink cluster on this machine; use it as a context manager.

    Args:
        work: a folder for configuration, logs and temporary files.
        task_managers: how many, each with as many slots, so that one can do the work of all.
        settings: more of Flink's configuration.

    Attributes:
        task_managers: their processes.
        logs: the folder with a log of each process.
    """

    def __init__(self, work: Path, task_managers: int = 2, settings: dict[str, str] | None = None):
        self.task_managers: list[subprocess.Popen[bytes]] = []
        self.logs = work / "logs"
        self._work = work
        self._count = task_managers
        self._processes: list[subprocess.Popen[bytes]] = []
        self._rpc, self._rest, self._job, self._artifacts, self._expansion = _free_ports(5)
        self._settings = settings or {}

    def __enter__(self) -> LoopbackCluster:
        """Start everything and wait until it is ready."""
        self._jars = fetch_jars()
        self.logs.mkdir(parents=True)
        self._write_configuration()
        try:
            conf = ["--configDir", str(self._work)]
            self._start_java("jobmanager", _JOB_MANAGER, conf)
            for _ in range(self._count):
                self.add_task_manager()
            self._start_java("jobserver", _JOB_SERVER, self._job_server_arguments())
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self.close()

    def add_task_manager(self) -> None:
        """Start one more TaskManager."""
        name = f"taskmanager{len(self.task_managers)}"
        conf = ["--configDir", str(self._work)]
        self.task_managers.append(self._start_java(name, _TASK_MANAGER, conf))

    @property
    def flags(self) -> list[str]:
        """The flags of `beamvec extract` that run it here."""
        worker = Path(sys.executable).parent / "beamvec-worker"
        if not worker.is_file():
            raise LoopbackError(f"no {worker}: install beamvec into this environment, `make setup`")
        return [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{self._job}",
            "--environment_type=PROCESS",
            f"--environment_config={json.dumps({'command': str(worker)})}",
            f"--parallelism={self._count}",
        ]

    def ask(self, path: str) -> Any:
        """Return what Flink's REST interface answers, such as to `/jobs/overview`."""
        with urllib.request.urlopen(f"http://localhost:{self._rest}{path}", timeout=10) as answer:
            return json.load(answer)

    def close(self) -> None:
        """Stop all processes; the workers of a TaskManager end with it."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def _write_configuration(self) -> None:
        settings = {
            "jobmanager.rpc.address": "localhost",
            "jobmanager.rpc.port": self._rpc,
            "jobmanager.bind-host": "localhost",
            "jobmanager.memory.process.size": "1g",
            "rest.port": self._rest,
            "rest.bind-address": "localhost",
            "taskmanager.host": "localhost",
            "taskmanager.bind-host": "localhost",
            "taskmanager.numberOfTaskSlots": self._count,
            "taskmanager.load-balance.mode": "SLOTS",
            # All of these, as Flink's shell scripts would work them out.
            "taskmanager.cpu.cores": self._count,
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.framework.off-heap.size": "128m",
            "taskmanager.memory.task.heap.size": "256m",
            "taskmanager.memory.task.off-heap.size": "0m",
            "taskmanager.memory.managed.size": "128m",
            "taskmanager.memory.network.min": "128m",
            "taskmanager.memory.network.max": "128m",
            "taskmanager.memory.jvm-metaspace.size": "256m",
            "taskmanager.memory.jvm-overhead.min": "192m",
            "taskmanager.memory.jvm-overhead.max": "192m",
            "io.tmp.dirs": self._work / "tmp",
            # A TaskManager or a worker that dies is no reason to give up.
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 3,
            "restart-strategy.fixed-delay.delay": "1 s",
            "heartbeat.interval": 1000,
            "heartbeat.timeout": 10000,
            **self._settings,
        }
        (self._work / "tmp").mkdir()
        text = "".join(f"{name}: {value}\n" for name, value in settings.items())
        (self._work / "flink-conf.yaml").write_text(text)
        (self._work / "log4j.properties").write_text(_LOG4J)

    def _job_server_arguments(self) -> list[str]:
        return [
            f"--flink-master=localhost:{self._rest}",
            f"--artifacts-dir={self._work / 'artifacts'}",
            f"--job-port={self._job}",
            f"--artifact-port={self._artifacts}",
            f"--expansion-port={self._expansion}",
        ]

    def _start_java(
        self, name: str, main: str, arguments: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        memory = ["-Xmx384m", "-XX:MaxDirectMemorySize=320m", "-XX:+UseSerialGC"]
        log4j = f"-Dlog4j.configurationFile={self._work / 'log4j.properties'}"
        temporary = f"-Djava.io.tmpdir={self._work / 'tmp'}"
        options = [*memory, *_OPENS, log4j, temporary, "-cp", f"{self._jars}/*"]
        with (self.logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                ["java", *options, main, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for beamvec.
                preexec_fn=functools.partial(_die_with_parent, os.getpid()),
                # Beam makes folders for artifacts, TensorFlow would tell the log all it knows.
                env={**os.environ, "TMPDIR": str(self._work / "tmp"), "TF_CPP_MIN_LOG_LEVEL": "3"},
            )
        self._processes.append(process)
        return process

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            for process in self._processes:
                if process.poll() is not None:
                    raise LoopbackError(f"a process of the cluster ended; see {self.logs}")
            with contextlib.suppress(OSError):
                ready = self.ask("/overview")["taskmanagers"] == self._count
                socket.create_connection(("localhost", self._job), 1).close()
                if ready:
                    return
            time.sleep(0.25)
        raise LoopbackError(f"no cluster after {START_S:.0f} s; see {self.logs}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _die_with_parent(parent: int) -> None:
    """Ask Linux to end a process with its parent, even if that is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # It was gone already, and what was asked for never comes.
            os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def orderly_exit() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that what it has started is stopped."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> int:
    """Run the command line and return the exit code of beamvec."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task-managers", type=int, default=2, metavar="N", help="how many (2)")
    args, flags = parser.parse_known_args()
    command = [sys.executable, "-m", "beamvec", "extract", *flags]
    with orderly_exit(), tempfile.TemporaryDirectory(prefix="beamvec-flink-") as work:
        try:
            with LoopbackCluster(Path(work), args.task_managers) as cluster:
                return subprocess.run([*command, *cluster.flags], check=False).returncode
        except LoopbackError as error:
            print(f"loopback.py: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main())
