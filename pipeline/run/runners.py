"""Runners: which one runs the pipeline, where its workers are, and whether it can be reached."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
from urllib.parse import urlsplit

import apache_beam
import grpc
from apache_beam.options.pipeline_options import (
    DirectOptions,
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineRunner, create_runner

from beamvec.errors import ArgumentError
from beamvec.pipeline.run.worker_processes import WorkerProcess

REACH_S = 10.0
"""How long a job server or a cluster may take to answer before it counts as not there."""

_LOCAL_RUNNERS = {None, "DirectRunner", "SwitchingDirectRunner", "FnApiRunner"}
# Not `-m`, which would put the working folder first on the path: what lies there may have the names
# of packages that Beam or TensorFlow import.
_WORKER = (
    "import sys; sys.path = [path for path in sys.path if path]; "
    "from beamvec.pipeline.run.worker import main; main()"
)
_PRISM = "github.com/apache/beam/sdks/v2/go/cmd/prism"


def is_local_runner(options: PipelineOptions) -> bool:
    """Tell whether the pipeline runs on this machine, and ends with this process."""
    name = options.view_as(StandardOptions).runner
    if name == "PrismRunner":
        return not options.view_as(PortableOptions).job_endpoint
    return name in _LOCAL_RUNNERS


def has_worker_threads(options: PipelineOptions) -> bool:
    """Tell whether the workers are threads of this process, which share its model and decoders."""
    if options.view_as(StandardOptions).runner in _LOCAL_RUNNERS:
        return options.view_as(DirectOptions).direct_running_mode != "multi_processing"
    environment = options.view_as(PortableOptions).environment_type
    return environment == "LOOPBACK" or (is_local_runner(options) and not environment)


def choose_runner(options: PipelineOptions, verbose: bool = False) -> PipelineRunner:
    """Return the runner: Beam's FnApiRunner unless another is named.

    `DirectRunner` means the FnApiRunner too: Beam's own class of that name first tries to download
    Prism.

    Args:
        options: Beam's options; those that say how to get Prism or workers are filled in.
        verbose: whether worker processes may write logs.

    Raises:
        ArgumentError: if there is no runner of that name, or what it needs is missing.
    """
    name = options.view_as(StandardOptions).runner
    if name in _LOCAL_RUNNERS:
        return _choose_local(options.view_as(DirectOptions), verbose)
    try:
        runner = create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise ArgumentError(f"--runner {name}: {error}") from error
    if name == "PrismRunner" and is_local_runner(options):
        _find_prism(options.view_as(PrismRunnerOptions))
    elif isinstance(runner, PortableRunner):
        _check_environment(name, options)
    return runner


def _choose_local(options: DirectOptions, verbose: bool) -> FnApiRunner:
    if options.direct_running_mode != "multi_processing" or verbose:
        return FnApiRunner()
    # The same workers as that mode starts, but for their logs, which would go to the screen.
    options.direct_running_mode = "in_memory"
    # Without `exec` the shell stays, and tells of it in its own words when the worker is killed.
    command = f"exec {shlex.join([sys.executable, '-c', _WORKER])}"
    return FnApiRunner(WorkerProcess.from_command_string(command))


def _find_prism(options: PrismRunnerOptions) -> None:
    path = options.prism_location or shutil.which("prism")
    if path is None or not ("://" in path or os.path.isfile(path)):
        given = f" {options.prism_location}: no such file" if options.prism_location else ""
        raise ArgumentError(
            f"--prism_location{given}: give Prism's path, or have it on the PATH; "
            f"`go install {_PRISM}@v{apache_beam.__version__}` makes it"
        )
    options.prism_location = path


def _check_environment(name: str, options: PipelineOptions) -> None:
    portable = options.view_as(PortableOptions)
    own_cluster = name == "FlinkRunner" and _flink_master(options) is None
    image = options.view_as(WorkerOptions).sdk_container_image
    if not (portable.environment_type or portable.environment_config or image or own_cluster):
        raise ArgumentError(
            f"--runner {name} needs to know where its workers are: --environment_type EXTERNAL "
            "with --environment_config HOST:PORT of worker pools, or PROCESS, or DOCKER with an "
            "image that holds beamvec; see deploy/flink/README.md"
        )


def _flink_master(options: PipelineOptions) -> str | None:
    """Return the address of the Flink cluster, None for one that Beam starts itself."""
    master = str(options.view_as(FlinkRunnerOptions).flink_master)
    return None if master.startswith("[") else master


def check_reachable(options: PipelineOptions) -> None:
    """Connect to the job server or the cluster that the options name, if they name one.

    Raises:
        ArgumentError: if nobody answers there within `REACH_S`.
    """
    name = options.view_as(StandardOptions).runner
    endpoint = options.view_as(PortableOptions).job_endpoint
    if name in _LOCAL_RUNNERS:
        return
    if endpoint and endpoint != "embed":
        channel = grpc.insecure_channel(endpoint)
        try:
            grpc.channel_ready_future(channel).result(timeout=REACH_S)
        except grpc.FutureTimeoutError:
            raise _not_there("--job_endpoint", endpoint, "start the job server") from None
        finally:
            channel.close()
    elif name == "FlinkRunner" and (master := _flink_master(options)):
        url = urlsplit(master if "://" in master else f"http://{master}")
        try:
            address = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
            socket.create_connection(address, REACH_S).close()
        except (OSError, ValueError):
            raise _not_there("--flink_master", master, "start the cluster") from None


def _not_there(flag: str, address: str, advice: str) -> ArgumentError:
    return ArgumentError(
        f"{flag} {address}: no answer within {REACH_S:.0f} s; {advice}, or correct the address"
    )
