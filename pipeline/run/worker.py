"""A worker process of Beam that keeps quiet: `beamvec-worker`.

The local runner starts it for `--direct_running_mode multi_processing`, other runners for
`--environment_type PROCESS`. To these it speaks what Beam calls the container contract, as the boot
program of Beam's images does, but it takes the Python environment that it runs in as it is.
"""

from __future__ import annotations

import argparse
import os
import sys

from beamvec.pipeline.silence import silence

_TIMEOUT_S = 60.0


def main() -> None:
    """Serve a runner until it closes the connection."""
    silence()  # Before Beam is imported, which logs.
    from apache_beam.runners.worker import sdk_worker_main

    parser = argparse.ArgumentParser(description="A worker of Beam, which a runner starts.")
    parser.add_argument("--id", default="", help="the worker's name")
    parser.add_argument("--provision_endpoint", help="where the runner tells more")
    args, _ = parser.parse_known_args()
    if args.provision_endpoint:
        _ask_runner(args.id, args.provision_endpoint)
    sdk_worker_main.main([sys.argv[0]])


def _ask_runner(worker_id: str, endpoint: str) -> None:
    """Put into the environment what a worker finds there when the local runner starts it."""
    import grpc
    from apache_beam.portability.api import beam_provision_api_pb2 as provision
    from apache_beam.portability.api import beam_provision_api_pb2_grpc as provision_grpc
    from google.protobuf import json_format, text_format

    with grpc.insecure_channel(endpoint) as channel:
        info = (
            provision_grpc.ProvisionServiceStub(channel)
            .GetProvisionInfo(
                provision.GetProvisionInfoRequest(),
                metadata=[("worker_id", worker_id)],
                timeout=_TIMEOUT_S,
                wait_for_ready=True,
            )
            .info
        )
    os.environ.update(
        WORKER_ID=worker_id,
        PIPELINE_OPTIONS=json_format.MessageToJson(info.pipeline_options),
        CONTROL_API_SERVICE_DESCRIPTOR=text_format.MessageToString(info.control_endpoint),
        LOGGING_API_SERVICE_DESCRIPTOR=text_format.MessageToString(info.logging_endpoint),
    )


if __name__ == "__main__":
    main()
