"""What a run knows of the output folder that it holds: `Hold`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from beamvec.embeddings.layout import Layout
from beamvec.errors import OutputError, PipelineError
from beamvec.pipeline.run.lock_record import LockRecord


class Hold(ABC):
    """An output folder that this process holds.

    Attributes:
        token: unique to this holding; others can ask with it, see `lock.check_held`.
        previous: what a dead holder left in the lock file, None if there was none.
    """

    def __init__(self, layout: Layout, record: LockRecord, previous: LockRecord | None):
        self.layout = layout
        self.token = record.token
        self.previous = previous
        self.record = record

    @property
    def is_handed_over(self) -> bool:
        """Whether the lock stays when this process ends."""
        return bool(self.record.job)

    @abstractmethod
    def check(self) -> None:
        """Make sure that the folder is still held; on a store, the store is asked.

        Raises:
            LostOutputError: if another has taken it, or may have.
        """

    @abstractmethod
    def write(self, record: LockRecord) -> None:
        """Write the lock file anew, durably.

        Raises:
            LostOutputError: if another has taken the folder.
            OSError: if it cannot be written.
        """

    def mark_done(self) -> None:
        """Note that this run is published, and only clearing is left."""
        self._note(replace(self.record, done=True))

    def hand_over(self, job: str) -> None:
        """Leave the lock in place when this process ends: a job goes on elsewhere.

        Args:
            job: its name, for those who are refused then.
        """
        self._note(replace(self.record, job=job))

    def _note(self, record: LockRecord) -> None:
        try:
            self.write(record)
        except OSError as error:
            raise PipelineError(f"cannot write to {self.layout.lock_file}: {error}") from error


def refuse(layout: Layout, holder: LockRecord, advice: str) -> OutputError:
    """Return the error for a run that comes second."""
    if holder.job:
        return OutputError(
            f"{layout.path} is held for the job {holder.describe_job()}, which goes on elsewhere; "
            f"wait for it, and if it has ended without a word, remove {layout.lock_file}"
        )
    return OutputError(f"{layout.path} is in use by {holder.describe()}; {advice}")


def cannot_write(layout: Layout, error: OSError) -> OutputError:
    """Return the error for a folder that cannot be written."""
    return OutputError(f"cannot write to `output={layout.path}`: {error}")
