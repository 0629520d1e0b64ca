"""Worker processes of the local runner whose end is noticed: `WorkerProcess`.

Beam's own wait for ever for one that is killed before it has connected, and of one that is killed
later it only says that a channel was closed.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    BeamFnControlServicer,
    SubprocessSdkWorkerHandler,
    WorkerHandler,
)
from apache_beam.runners.portability.local_job_service import SubprocessSdkWorker
from apache_beam.transforms.environments import Environment, SubprocessSDKEnvironment

from beamvec.transforms.machine import describe_exit

_URN = "beamvec:env:worker_process:v1"
_END_S = 5.0


class WorkerDiedError(RuntimeError):
    """A worker process is gone before the pipeline has ended."""


def describe_end(code: int) -> str:
    """Say how a worker process has ended.

    >>> describe_end(-9)
    'a worker process was killed by SIGKILL, most likely for want of memory'
    >>> describe_end(-11), describe_end(1)
    ('a worker process was killed by SIGSEGV', 'a worker process exited with 1')
    """
    why = ", most likely for want of memory" if code == -signal.SIGKILL else ""
    return f"a worker process {describe_exit(code)}{why}"


@Environment.register_urn(_URN, bytes)
class WorkerProcess(SubprocessSDKEnvironment):
    """A worker process that a command line starts."""

    def to_runner_api_parameter(self, context: Any) -> tuple[str, bytes]:
        """Return what names the handler below, and the command line."""
        return _URN, super().to_runner_api_parameter(context)[1]

    @staticmethod
    def from_runner_api_parameter(payload: bytes, *rest: Any) -> WorkerProcess:
        """Restore what `to_runner_api_parameter` returned; the last argument is the context."""
        return WorkerProcess(payload.decode(), *rest[:-1])


@WorkerHandler.register_environment(_URN, bytes)
class _Handler(SubprocessSdkWorkerHandler):
    """Starts a worker process, and fails who waits for it if it ends."""

    def start_worker(self) -> None:
        self.worker = SubprocessSdkWorker(
            self._worker_command_line, self.control_address, self.provision_info, self.worker_id
        )
        self.worker_thread = threading.Thread(name="run_worker", target=self._run)
        self.control = _Control(self.control_conn)
        self.control_conn = self.control  # type: ignore[assignment]  # All that is used of it.
        self.data_conn = _Data(self.data_conn, self)  # type: ignore[assignment]
        self.worker_thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except RuntimeError as error:  # Its last word is the exit code.
            self.control.fail(WorkerDiedError(describe_end(int(str(error).split()[-1]))))
        except (OSError, MemoryError) as error:
            reason = str(error) or type(error).__name__
            self.control.fail(WorkerDiedError(f"a worker process cannot start: {reason}"))


class _Control:
    """Requests to a worker; whoever waits for an answer hears of its end."""

    def __init__(self, connection: Any):
        self._connection = connection
        self.death: WorkerDiedError | None = None

    def push(self, request: Any) -> Any:
        future = self._connection.push(request)
        if self.death and request is not BeamFnControlServicer._DONE_MARKER:
            future.abort(self.death)  # It may have died before the request was noted.
        return future

    def fail(self, death: WorkerDiedError) -> None:
        self.death = death
        self._connection.abort(death)

    def close(self) -> None:
        # Beam tells only those that have connected; one that is late would wait for ever, and so
        # would whoever waits for its end.
        self._connection.push(BeamFnControlServicer._DONE_MARKER)
        self._connection.close()


class _Data:
    """Data from and to a worker; a channel that closes is told as its end."""

    def __init__(self, channel: Any, handler: _Handler):
        self._channel = channel
        self._handler = handler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def input_elements(
        self,
        instruction_id: str,
        expected_inputs: Any,
        abort_callback: Callable[[], bool] = lambda: False,
    ) -> Iterator[Any]:
        control = self._handler.control

        def is_aborted() -> bool:
            if control.death:
                raise control.death
            return abort_callback()

        try:
            yield from self._channel.input_elements(instruction_id, expected_inputs, is_aborted)
        except Exception:
            # Its end closes the channel, and is known a moment later.
            self._handler.worker_thread.join(_END_S)
            if control.death:
                raise control.death from None
            raise
