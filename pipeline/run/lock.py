"""One run at a time for each output folder.

On a local filesystem the kernel keeps the lock (`flock`) and drops it when its owner dies, however
it dies. On a store the lock is a lease: a small file that its owner renews, and that another may
take once it has not been renewed for a while. The store decides who is first: the file is created
only if it is not there, and renewed or taken over only in the version that was seen. How old it is
the store's own clock tells; the clocks of the machines are never compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from beamvec.embeddings.layout import Layout
from beamvec.errors import LostOutputError, OutputError
from beamvec.pipeline.run import lease, local_lock
from beamvec.pipeline.run.hold import Hold
from beamvec.pipeline.run.lock_record import MAX_BYTES, LockRecord
from beamvec.transforms.files import storage

Tell = Callable[[str], None]


def _tell_nobody(_: str) -> None:
    pass


@contextmanager
def hold_output(layout: Layout, tell: Tell = _tell_nobody) -> Iterator[Hold]:
    """Hold the output folder while the block runs, or refuse.

    Args:
        layout: the dataset's folder; it is made if it is missing.
        tell: hears what whoever starts the run should know.

    Yields:
        What the block can ask and note about its holding.

    Raises:
        OutputError: if another run holds it, saying which, or if the folder cannot be written.
    """
    kind = local_lock if storage.is_local(layout.path) else lease
    with kind.hold(layout, tell) as hold:
        yield hold


def check_held(layout: Layout, token: str) -> None:
    """Make sure, from anywhere, that the folder is still held as it was.

    Args:
        layout: the dataset's folder.
        token: of the `Hold`.

    Raises:
        LostOutputError: if it is not, or nobody can tell.
    """
    try:
        found = _read(layout)
    except OSError as error:
        raise LostOutputError(f"cannot tell who holds {layout.path}: {error}") from error
    if found is None or found[0].token != token:
        holder = found[0].describe() if found else "nobody"
        raise LostOutputError(f"{layout.path} is no longer held by this run, but by {holder}")


def release(layout: Layout, token: str) -> None:
    """Free a folder whose lock was handed over to a job; done by the job's last step.

    A lock with another token stays, and so does one that was not handed over.

    Raises:
        OutputError: if the lock file cannot be read or deleted.
    """
    try:
        found = _read(layout)
        if found and found[0].token == token and found[0].job:
            storage.delete_if(layout.lock_file, found[1])
    except OSError as error:
        raise OutputError(f"cannot remove {layout.lock_file}: {error}") from error


def _read(layout: Layout) -> tuple[LockRecord, str] | None:
    found = storage.read_versioned(layout.lock_file, MAX_BYTES + 1)
    return found and (LockRecord.parse(found[0]), found[1])
