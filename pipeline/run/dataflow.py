"""What a run on Google Cloud Dataflow needs, checked on the command line before any work starts.

Names of GPUs and machine types are those of Compute Engine:
https://cloud.google.com/compute/docs/gpus.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from apache_beam.options.pipeline_options import (
    AzureOptions,
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    S3Options,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

from beamvec.errors import ArgumentError
from beamvec.redact import redact
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.hub import is_on_hub
from beamvec.transforms.inference.registry import ENGINES

IMAGE_FOLDER = "/opt/beamvec/"
"""Where our images keep models: of local paths, only those below it can be on workers."""

ONE_PROCESS = "no_use_multiple_sdk_containers"
"""The experiment that makes a worker one process; else Dataflow starts one for each vCPU."""

ACCELERATOR = "worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"
"""A service option that asks for a GPU."""

_RUNNERS = {"dataflow", "dataflowrunner"}
_SECRETS = (
    (S3Options, ("s3_access_key_id", "s3_secret_access_key", "s3_session_token")),
    (AzureOptions, ("azure_connection_string",)),
)


Places = Sequence[tuple[str, str]]
"""Where a run reads and writes: names of arguments, and URIs."""


class _Machines(NamedTuple):
    """Machine types that hold one GPU of a type."""

    pattern: str
    example: str


_N1 = _Machines(r"(n1|custom)-.+", "n1-standard-8")
_MACHINES = {
    "nvidia-l4": _Machines(r"g2-(standard-(4|8|12|16|32)|custom-.+)", "g2-standard-8"),
    "nvidia-tesla-t4": _N1,
    "nvidia-tesla-p4": _N1,
    "nvidia-tesla-p100": _N1,
    "nvidia-tesla-v100": _N1,
    "nvidia-tesla-a100": _Machines("a2-highgpu-1g", "a2-highgpu-1g"),
    "nvidia-a100-80gb": _Machines("a2-ultragpu-1g", "a2-ultragpu-1g"),
    "nvidia-h100-80gb": _Machines("a3-highgpu-1g", "a3-highgpu-1g"),
}
_WITH_GPU = ("g2-", "a2-", "a3-")


def is_dataflow(options: PipelineOptions) -> bool:
    """Tell whether the pipeline is to run on Dataflow."""
    name = options.view_as(StandardOptions).runner or ""
    return name.rpartition(".")[2].lower() in _RUNNERS


def asks_for_gpu(options: PipelineOptions) -> bool:
    """Tell whether workers with a GPU are asked for."""
    return is_dataflow(options) and bool(_accelerators(options))


def prepare_dataflow(places: Places, model: ModelConfig, options: PipelineOptions) -> None:
    """Check a run on Dataflow, and keep what is nobody's business from being sent.

    Args:
        places: where the run reads and writes.
        model: what it computes with.
        options: those of Beam; what would send `__main__` and a list of packages is turned off.

    Raises:
        ArgumentError: naming the first thing that cannot work, and what to change.
    """
    try:
        importlib.import_module("apache_beam.runners.dataflow.internal.apiclient")
    except ImportError:
        advice = "pip install 'beamvec[gcp]'"
        raise ArgumentError(f"--runner DataflowRunner needs more packages: {advice}") from None
    for complaint in find_mistakes(places, model, options):
        raise ArgumentError(complaint)
    options.view_as(SetupOptions).save_main_session = False
    # A list of all that is installed here, with the addresses that it came from.
    options.view_as(DebugOptions).add_experiment("disable_logging_submission_environment")


def describe_job(result: Any, options: PipelineOptions) -> str:
    """Tell where a job that was just submitted is seen, or where the template of one was put.

    Args:
        result: what Dataflow's runner returned.
        options: those that it ran with.
    """
    cloud = options.view_as(GoogleCloudOptions)
    if cloud.template_location:
        return f"the job's template is at {cloud.template_location}"
    job = result.job_id()
    return (
        f"Dataflow job {job}: https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{job}"
        f"?project={cloud.project}\n"
        f"to stop it: gcloud dataflow jobs cancel {job} --region {cloud.region} "
        f"--project {cloud.project}"
    )


def makes_template(options: PipelineOptions) -> bool:
    """Tell whether the job is only described, for someone else to start it."""
    return is_dataflow(options) and bool(options.view_as(GoogleCloudOptions).template_location)


def find_mistakes(places: Places, model: ModelConfig, options: PipelineOptions) -> Iterator[str]:
    """Yield what cannot work on Dataflow, and what to change; nothing is looked up anywhere."""
    yield from _find_missing(options)
    yield from _find_secrets(options)
    yield from _find_unreachable(places, model, options)
    yield from _find_malformed(options)
    setup = options.view_as(SetupOptions)
    if setup.save_main_session:
        yield "--save_main_session has no use: beamvec is in the image; leave it out"
    if setup.sdk_location not in ("default", "container"):
        yield f"--sdk_location {setup.sdk_location} has no use: Beam is in the image; use container"
    accelerators = _accelerators(options)
    if len(accelerators) > 1:
        yield f"GPUs are asked for twice, by {' and '.join(accelerators)}; keep one of them"
    elif accelerators:
        yield from _find_gpu_mistakes(model, options, accelerators[0])
    else:
        yield from _find_missing_gpu(model, options)


def _find_missing(options: PipelineOptions) -> Iterator[str]:
    cloud = options.view_as(GoogleCloudOptions)
    if not cloud.project:
        yield "--runner DataflowRunner needs --project, the id of your Google Cloud project"
    if not cloud.region:
        yield "--runner DataflowRunner needs --region, such as us-central1"
    if not cloud.temp_location:
        yield "--runner DataflowRunner needs --temp_location, a folder such as gs://BUCKET/temp"
    if not options.view_as(WorkerOptions).sdk_container_image:
        yield (
            "--runner DataflowRunner needs --sdk_container_image, an image with beamvec in it; "
            "deploy/dataflow/README.md tells how to build one"
        )


def _find_secrets(options: PipelineOptions) -> Iterator[str]:
    for view, names in _SECRETS:
        for name in names:
            if getattr(options.view_as(view), name):
                yield (
                    f"--{name} could be read by whoever may see the job; leave it out: images are "
                    "read from gs://, with the rights of the workers' service account"
                )


def _find_unreachable(
    places: Places, model: ModelConfig, options: PipelineOptions
) -> Iterator[str]:
    cloud = options.view_as(GoogleCloudOptions)
    names = ("temp_location", "staging_location", "template_location")
    beams = [(f"--{name} {uri}", uri) for name in names if (uri := getattr(cloud, name))]
    for what, uri in [*((f"`{name}={uri}`", uri) for name, uri in places), *beams]:
        if not uri.startswith("gs://"):
            yield f"{redact(what)} is out of Dataflow's reach; it must be on gs://"
    handle = model.handle
    if redact(handle) != handle:
        yield (
            f"`model={redact(handle)}` comes with a password or a query, which could be read by "
            "whoever may see the job; copy the model to gs://"
        )
    elif not (is_on_hub(handle) or handle.startswith(("gs://", IMAGE_FOLDER))):
        yield (
            f"`model={handle}` is out of Dataflow's reach; copy it to gs://, give a TF-Hub or "
            f"Kaggle URL, or a folder below {IMAGE_FOLDER} that the image and this machine have"
        )


def _find_malformed(options: PipelineOptions) -> Iterator[str]:
    """Yield what Beam's own validator finds without asking the network, as the whole of it does."""
    validator = PipelineOptionsValidator(options, None)
    cloud, worker = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)
    errors = [
        *validator.validate_cloud_options(cloud),
        *validator.validate_gcs_path(cloud, "temp_location"),
        *validator.validate_num_workers(worker),
        *validator.validate_worker_region_zone(worker),
    ]
    # Beam lets a server on localhost pass, by asking for none of this.
    unwanted = validator.ERR_INVALID_ENDPOINT % cloud.dataflow_endpoint
    yield from (" ".join(error.split()) for error in errors if error != unwanted)


def _accelerators(options: PipelineOptions) -> list[str]:
    """Return what asks for GPUs: service options, experiments and resource hints."""
    services = options.view_as(GoogleCloudOptions).dataflow_service_options or []
    hints = options.view_as(StandardOptions).resource_hints or []
    asked = (*services, *_experiments(options), *hints)
    return [option for option in asked if re.match("(worker_)?accelerator=", option)]


def _experiments(options: PipelineOptions) -> list[str]:
    return options.view_as(DebugOptions).experiments or []


def _find_missing_gpu(model: ModelConfig, options: PipelineOptions) -> Iterator[str]:
    machine = options.view_as(WorkerOptions).machine_type or ""
    advice = f"add --dataflow_service_options '{ACCELERATOR}'"
    if model.device == "gpu":
        yield f"`require_gpu=True`, but no GPU is asked for; {advice}"
    if model.precision == "float16":
        yield f"`precision=float16` needs a GPU, and none is asked for; {advice}, or use float32"
    if machine.startswith(_WITH_GPU):
        yield f"--machine_type {machine} has a GPU that is not asked for; {advice}"


def _find_gpu_mistakes(
    model: ModelConfig, options: PipelineOptions, accelerator: str
) -> Iterator[str]:
    words = accelerator.partition("=")[2].split(";")
    gpu = {name: value for name, _, value in (word.strip().partition(":") for word in words)}
    kind, count = gpu.get("type"), gpu.get("count")
    if not kind or not count:
        yield f"{accelerator} names no type or no count; write it as {ACCELERATOR}"
        return
    if count != "1":
        yield f"{accelerator}: a worker uses one GPU; ask for count:1 and for more workers"
    if "install-nvidia-driver" not in gpu:
        yield f"{accelerator} leaves the GPU without a driver; add ;install-nvidia-driver"
    yield from _find_wrong_machine(kind, options.view_as(WorkerOptions).machine_type)
    yield from _find_wrong_sharing(_experiments(options), "use_nvidia_mps" in gpu)
    if model.engine and "gpu" not in ENGINES[model.engine].devices:
        yield f"`engine={model.engine}` uses no GPU; use `engine=tensorflow`, or ask for none"
    if model.precision in ("bfloat16", "int8"):
        yield f"`precision={model.precision}` is for CPUs; use float16 or float32 on GPUs"


def _find_wrong_machine(kind: str, machine: str | None) -> Iterator[str]:
    fitting = _MACHINES.get(kind)
    if not machine:
        example = f", such as {fitting.example}" if fitting else ""
        yield f"{kind} needs a --machine_type that can have it{example}"
    elif fitting and not re.fullmatch(fitting.pattern, machine):
        yield f"--machine_type {machine} does not go with one {kind}; use {fitting.example}"


def _find_wrong_sharing(experiments: list[str], mps: bool) -> Iterator[str]:
    """Several processes on a GPU, each with its own model, run out of its memory."""
    one = ONE_PROCESS in experiments
    if one and mps:
        yield f"use_nvidia_mps is for several processes a GPU; leave it out, or {ONE_PROCESS}"
    if not one and not mps:
        yield (
            "each vCPU would get a process with a model of its own on the one GPU; "
            f"add --experiments {ONE_PROCESS}"
        )
