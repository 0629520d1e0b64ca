"""A decoder process as its pool sees it: started, asked, timed and stopped."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from beamvec.transforms.decoding.limits import Limits
from beamvec.transforms.decoding.messages import (
    Answer,
    Message,
    Request,
    Signal,
    receive,
    send,
)
from beamvec.transforms.decoding.outcome import Outcome
from beamvec.transforms.decoding.shared import (
    Mark,
    PixelMemory,
    copy_for_child,
    create_shared_file,
)
from beamvec.transforms.machine import describe_exit

CRASHED = "DecoderCrashed"
TIMED_OUT = "DecoderTimeout"

LOOKS = 16
"""A time limit is over when so many looks have found no change, spread over it evenly."""

_EXIT_S = 1.0
_START = (
    "import sys; sys.path = [path for path in sys.path if path]; "
    "from beamvec.transforms.decoding.process import main; main()"
)


class DecoderDiedError(Exception):
    """A decoder process is gone before it has answered.

    Attributes:
        error_type: `DecoderCrashed` or `DecoderTimeout`.
        was_killed: whether by SIGKILL from outside, as the system does where memory is short.
        index: the file of the request that it was at.
    """

    def __init__(self, error_type: str, message: str, was_killed: bool = False, index: int = 0):
        super().__init__(message)
        self.error_type = error_type
        self.was_killed = was_killed
        self.index = index


class Decoder:
    """A process that decodes, and the connection to it; not for several threads at a time.

    Args:
        decoder: what it calls, `module:function`.
        timeout_s: how long it may take for a file.
        limits: what it does not read or decode.

    Raises:
        OSError: if the system has no process, memory or file descriptor left for it.
        MemoryError: likewise.
    """

    def __init__(self, decoder: str, timeout_s: float, limits: Limits):
        ours, theirs = _connect()
        with theirs, contextlib.ExitStack() as on_failure:
            on_failure.enter_context(ours)
            self._shared = shared = create_shared_file()
            on_failure.callback(os.close, shared)
            self._mark = Mark(shared)
            numbers = map(str, (theirs.fileno(), shared, os.getpid(), *limits))
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, decoder, *numbers],
                stdin=subprocess.PIPE,  # Its other end tells the process that this one is gone.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), shared],
                # Not our process group: Ctrl-C is for the parent, whose end they notice.
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            on_failure.pop_all()
        self._pixels = PixelMemory(shared)
        ours.settimeout(timeout_s)
        self._connection = ours
        self._answers = ours.makefile("rb")
        self._readable = select.poll()
        self._readable.register(ours, select.POLLIN)
        self._timeout_s = timeout_s
        self._is_ready = False
        self._is_stopped = False
        self._was_killed_here = False

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Tell whether it can be asked: it was not stopped, and has not ended by itself."""
        return not self._is_stopped and self._process.poll() is None

    def wait_ready(self) -> None:
        """Wait until it can be asked, for the first time.

        Raises:
            OSError: if it ends before, or takes longer than for an answer; it is stopped then.
        """
        if self._is_ready:
            return
        try:
            self._is_ready = receive(self._answers) == Signal("ready")
        except (EOFError, OSError) as error:
            self.stop()
            how = "was not ready in time" if isinstance(error, TimeoutError) else self._how_ended()
            raise OSError(f"a new decoder {how}") from error

    def ask(self, request: Request, take_turn: Callable[[int], None]) -> list[Outcome]:
        """Have a parcel decoded.

        Args:
            request: the parcel.
            take_turn: waits until there is room for an image that takes so many bytes of memory.
                The process is not timed meanwhile.

        Returns:
            An outcome for each file. Their pixels are where the decoder put them: they hold until
            it is asked again.

        Raises:
            DecoderDiedError: if the process ends, or is stopped here as it takes too long.
            OSError: if there is no memory for the pixels.
        """
        pixels = self._pixels.view(len(request.files), request.resizing.size)
        self._mark.set(0)
        try:
            send(self._connection, request)
            while not isinstance(message := self._wait_for_message(len(request.files)), Answer):
                assert isinstance(message, Signal)
                take_turn(message.size_bytes)
                send(self._connection, message)
            return _add_pixels(message.outcomes, pixels)
        except TimeoutError:
            self.stop()
            how = f"the decoder took more than {self._timeout_s:g} s for this file"
            raise DecoderDiedError(TIMED_OUT, how, index=self._mark.get()) from None
        except (EOFError, OSError):
            self.stop()
            by_kill = self._process.returncode == -signal.SIGKILL
            was_killed = by_kill and not self._was_killed_here
            how = f"the decoder {self._how_ended()} on this file"
            raise DecoderDiedError(CRASHED, how, was_killed, self._mark.get()) from None
        except BaseException:
            self.stop()  # Its answer would be taken for that to the next request.
            raise

    def _wait_for_message(self, files: int) -> Message:
        """Wait as long as no file takes too long, and all of them together neither.

        What is counted are looks at the process, not seconds: these pass too while this process or
        both are stopped, as by Ctrl-Z, a scheduler that suspends jobs, or a container's freezer.
        """
        at, looks = self._mark.get(), 0
        for _ in range((LOOKS + 1) * max(1, files)):
            # Not the connection's own timeout, after which nothing can be read from it any more;
            # and not `select`, which knows no descriptors from 1024 on.
            if self._readable.poll(math.ceil(self._timeout_s * 1000 / LOOKS)):
                return receive(self._answers)
            before, at = at, self._mark.get()
            looks = looks + 1 if at == before else 0
            if looks == LOOKS:
                break
        raise TimeoutError

    def _how_ended(self) -> str:
        code = self._process.returncode
        return "closed its connection" if code is None else describe_exit(code)

    def kill(self) -> None:
        """End the process at once; a thread that waits in `ask` hears of it as of a crash.

        Any thread may call it. It leaves the connection alone: to close that while another thread
        reads from it would wait for that thread.
        """
        self._was_killed_here = True
        self._process.kill()

    def stop(self) -> None:
        """Close the connection, upon which the process ends, and wait for that."""
        self._is_stopped = True
        self._answers.close()
        self._connection.close()
        self._pixels.close()
        # A process that crashed is to be found with its own exit status.
        if not self._has_ended():
            self.kill()
            self._has_ended()  # One that reads from a dead network drive cannot even be killed.
        assert self._process.stdin
        self._process.stdin.close()

    def _has_ended(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_EXIT_S)
        return self._process.returncode is not None


def _connect() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection, of which a child can take the second along."""
    ours, theirs = socket.socketpair()
    with theirs, contextlib.ExitStack() as on_failure:
        on_failure.enter_context(ours)
        copy = socket.socket(fileno=copy_for_child(theirs.fileno()))
        on_failure.pop_all()
        return ours, copy


def _add_pixels(outcomes: Sequence[Outcome], pixels: npt.NDArray[np.uint8]) -> list[Outcome]:
    return [
        outcome._replace(image=outcome.image._replace(pixels=its)) if outcome.image else outcome
        for outcome, its in zip(outcomes, pixels, strict=True)
    ]
