"""What is peculiar to this machine and process: cores, limits, importing large packages quickly."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from beamvec.errors import ArgumentError

LEAST_ADDRESS_SPACE = 3_000_000_000
"""Bytes that a run maps with the smallest model on two cores: 3.8e9 unasked, and 2.9e9 suffice.

With less TensorFlow and Beam start threads in vain, and end the process from within.
"""


def count_cpus() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_exit(code: int) -> str:
    """Say how a process has ended, by its exit code, negative for a signal.

    >>> describe_exit(1), describe_exit(-9), describe_exit(-35)
    ('exited with 1', 'was killed by SIGKILL', 'was killed by signal 35')
    """
    if code >= 0:
        return f"exited with {code}"
    names = {int(number): number.name for number in signal.Signals}  # Most of real time have none.
    return f"was killed by {names.get(-code, f'signal {-code}')}"


def read_cpu_flags() -> set[str]:
    """Return the features of this machine's CPUs; none where Linux does not tell them."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return {flag for line in file if line.startswith("flags") for flag in line.split()}
    except OSError:
        return set()


def has_fast_int8() -> bool:
    """Tell whether the processor multiplies int8 in instructions of its own: VNNI or AMX."""
    return bool(read_cpu_flags() & {"avx512_vnni", "avx_vnni", "amx_int8"})


_LOOK_S = 1.0


def end_with(parent: int, leave: Callable[[], object] = lambda: None) -> None:
    """Have this process end soon after its parent, whatever ends that, by a look every second.

    Args:
        parent: the process that started this one.
        leave: is called first.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        leave()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def check_machine() -> None:
    """Check what Beam and TensorFlow need before they can even be imported.

    Raises:
        ArgumentError: if the address space is too small, or no temporary file can be written.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESS_SPACE:
        raise ArgumentError(
            f"this process may map {limit / 1e9:.1f} GB (ulimit -v), and TensorFlow and Beam need "
            f"{LEAST_ADDRESS_SPACE / 1e9:.1f} GB at least, of which they use a part; raise that "
            "limit, and bound memory by a container instead"
        )
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ArgumentError(
            f"no folder takes temporary files ({error.strerror}): set TMPDIR to one that can be "
            "written"
        ) from error


@contextmanager
def large_imports() -> Iterator[None]:
    """Keep the garbage collector off while large packages are imported, and away from them later.

    A quarter of the time that TensorFlow takes goes into looking for garbage among objects that
    are there to stay.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


_EXTRAS = (
    "apache_beam.io.aws.s3filesystem",
    "apache_beam.io.azure.blobstoragefilesystem",
    "apache_beam.io.gcp.bigquery",
    "apache_beam.io.gcp.gcsfilesystem",
    "bson",
    "google.cloud.dataflow",
    "openvino.tools.ovc",
)
"""What Beam and OpenVINO import if it is there: clients of Google, Amazon and MongoDB, a converter
of other frameworks' models."""


@contextmanager
def without_extras() -> Iterator[None]:
    """Let Beam and OpenVINO be imported without what only other runners and connectors need.

    That is two fifths of the time that they take. Stores are read and written by clients of
    beamvec's own. For programs that run nothing else: Beam has no Dataflow, and no filesystem for
    `gs://` and `s3://`, in a process that imported it so, and OpenVINO no `convert_model`.
    """
    with ExitStack() as stack:
        for name in _EXTRAS:
            stack.enter_context(without_module(name))
        yield


@contextmanager
def without_module(name: str) -> Iterator[None]:
    """Let imports do without a module that they can do without, as if it were not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # What stops an import of it.
    try:
        yield
    finally:
        del sys.modules[name]
