"""Dataflow's API on loopback: it keeps what is submitted, and can run it in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

JOB_ID = "2026-11-21_00_00_00-1"


class DataflowService:
    """Answers for one job, whose states and error messages the test chooses.

    Attributes:
        url: the endpoint; of the name `localhost`, Beam speaks HTTP and JSON, and gRPC otherwise.
        jobs: what was submitted.
        states: those that the job goes through, the last one stays.
        messages: its errors.
        on_submit: called with the job before the first answer.
        status: what a submission is answered with, 200 if it is taken.
    """

    def __init__(self) -> None:
        handler = type("Handler", (_Handler,), {"service": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.reset()

    def reset(self) -> None:
        self.jobs: list[dict] = []
        self.requests: list[str] = []
        self.states = ["JOB_STATE_RUNNING", "JOB_STATE_DONE"]
        self.messages: list[str] = []
        self.on_submit: Callable[[dict], None] = lambda _: None
        self.status = 200

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict]:
        self.requests.append(f"{method} {path}")
        if method == "POST":
            if self.status != 200:
                message = "(5a3) The service account lacks dataflow.jobs.create"
                return self.status, {"error": {"code": self.status, "message": message}}
            self.jobs.append(json.loads(body))
            self.on_submit(self.jobs[-1])
            return 200, self._describe("JOB_STATE_PENDING")
        if path.endswith("/messages"):
            return 200, {"jobMessages": [self._message(text) for text in self.messages]}
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return 200, self._describe(state)

    def _describe(self, state: str) -> dict:
        job = self.jobs[-1]
        return {"id": JOB_ID, "name": job["name"], "currentState": state}

    def _message(self, text: str) -> dict:
        time = "2026-11-21T00:00:00Z"
        importance = "JOB_MESSAGE_ERROR"
        return {"id": "1", "time": time, "messageText": text, "messageImportance": importance}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    service: DataflowService

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, answer = self.service.answer(self.command, urlsplit(self.path).path, body)
        content = json.dumps(answer).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _serve  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def run_here(content: bytes) -> None:
    """Run a submitted pipeline to its end, in this process instead of the workers' containers."""
    pipeline = beam_runner_api_pb2.Pipeline.FromString(content)
    for environment in pipeline.components.environments.values():
        environment.urn = python_urns.EMBEDDED_PYTHON
        environment.payload = b""
        del environment.dependencies[:]
    FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([])).wait_until_finish()
