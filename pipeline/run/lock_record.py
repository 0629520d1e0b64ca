"""What stands in the lock file of an output folder: `LockRecord`."""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
import uuid
from dataclasses import asdict, dataclass, fields
from typing import Any

MAX_BYTES = 4096
"""A longer file is none of beamvec's."""

_SIZE_BYTES = 1024
_SHOWN = 100


@dataclass(frozen=True)
class LockRecord:
    """Who holds an output folder; empty where that cannot be told.

    Attributes:
        token: unique to this holding.
        host: the holder's machine.
        pid: its process there.
        user: whose process.
        since: when it took the folder, for people to read.
        job: what goes on elsewhere after the process, empty if nothing does.
        done: whether all is published, and only clearing is left.
        renewals: how often the file was written, so that each time it is another one.
    """

    token: str = ""
    host: str = ""
    pid: int = 0
    user: str = ""
    since: str = ""
    job: str = ""
    done: bool = False
    renewals: int = 0

    @classmethod
    def of_this_process(cls) -> LockRecord:
        """Return the record of a new holding."""
        return cls(
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            user=_user(),
            since=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        )

    @classmethod
    def parse(cls, content: bytes) -> LockRecord:
        """Parse what another run wrote, or anybody: what makes no sense is an empty record.

        >>> LockRecord.parse(b'{"token": "a", "pid": 7}').pid, LockRecord.parse(b'{"pid": "7"}').pid
        (7, 0)
        """
        try:
            found = json.loads(content) if len(content) <= MAX_BYTES else None
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(found, dict):
            return cls()
        known: dict[str, Any] = {
            field.name: found[field.name] for field in fields(cls) if field.name in found
        }
        empty = asdict(cls())
        if all(type(value) is type(empty[name]) for name, value in known.items()):
            return cls(**known)
        return cls()

    def to_json(self) -> bytes:
        """Return what stands in the file, of one size: written over, none of the old is left."""
        return json.dumps(asdict(self)).encode().ljust(_SIZE_BYTES)

    def describe(self) -> str:
        """Tell who it is, in printable text."""
        if not self.host:
            return "another run, of which its lock file tells nothing"
        parts = f"process {self.pid} of {self.user} on {self.host}, since {self.since}"
        return f"another run: {_printable(parts)}"

    def describe_job(self) -> str:
        """Tell which job it is, in printable text."""
        return _printable(self.job)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container's user need not have a name.
        return str(os.getuid())


def _printable(text: str) -> str:
    kept = "".join(letter for letter in text if letter.isprintable())
    return kept if len(kept) <= 2 * _SHOWN else f"{kept[:_SHOWN]}...{kept[-_SHOWN:]}"
