"""A decoder process as its pool sees it: started, asked, timed and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from beamvec.transforms.decoding.messages import Answer, Request, Turn, receive, send

CRASHED = "DecoderCrashed"
TIMED_OUT = "DecoderTimeout"

_EXIT_S = 1.0
_START = (
    "import sys; sys.path = [path for path in sys.path if path]; "
    "from beamvec.transforms.decoding.process import main; main()"
)


class DecoderDiedError(Exception):
    """A decoder process is gone before it has answered.

    Attributes:
        error_type: `DecoderCrashed` or `DecoderTimeout`.
    """

    def __init__(self, error_type: str, message: str):
        super().__init__(message)
        self.error_type = error_type


class Decoder:
    """A process that decodes, and the connection to it; not for several threads at a time.

    Args:
        decoder: what it calls, `module:function`.
        timeout_s: how long it may take for an answer.
    """

    def __init__(self, decoder: str, timeout_s: float):
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno()), decoder],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Not our process group: Ctrl-C is for the parent, whose end they notice.
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        ours.settimeout(timeout_s)
        self._connection = ours
        self._answers = ours.makefile("rb")
        self._timeout_s = timeout_s

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Tell whether it has not been stopped; one that died by itself fails the next request."""
        return self._process.returncode is None

    def ask(self, request: Request) -> Answer:
        """Have a parcel decoded.

        Raises:
            DecoderDiedError: if the process ends, or is stopped here as it takes too long.
        """
        try:
            send(self._connection, request)
            return self._receive()
        except TimeoutError:
            self.stop()
            message = f"the decoder took more than {self._timeout_s:g} s for this file"
            raise DecoderDiedError(TIMED_OUT, message) from None
        except (EOFError, OSError):
            self.stop()
            raise DecoderDiedError(CRASHED, self._explain_end()) from None

    def _receive(self) -> Answer:
        while True:
            message = receive(self._answers)
            if isinstance(message, Answer):
                return message
            assert isinstance(message, Turn)
            # Whoever holds the lock for large images is timed itself, so this wait ends.
            self._connection.settimeout(None if message.state == "waiting" else self._timeout_s)

    def _explain_end(self) -> str:
        code = self._process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        return f"the decoder {how} on this file"

    def kill(self) -> None:
        """End the process at once; a thread that waits in `ask` hears of it as of a crash.

        Any thread may call it. It leaves the connection alone: to close that while another thread
        reads from it would wait for that thread.
        """
        self._process.kill()

    def stop(self) -> None:
        """Close the connection, upon which the process ends, and wait for that."""
        self._answers.close()
        self._connection.close()
        try:  # A process that crashed is to be found with its own exit status.
            self._process.wait(timeout=_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
