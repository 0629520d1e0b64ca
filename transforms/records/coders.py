"""Coders of records: small where a runner holds them, free where none does."""

from __future__ import annotations

import pickle
import zlib
from typing import Any

from apache_beam.coders import Coder


class CompressedCoder(Coder):
    """A coder for records of which many cross a shuffle, such as those of many `ImageRef`s.

    A runner may hold all of a run's images between two steps; in a block of them a ref takes 10 to
    40 bytes, as its name has it, and alone well over a hundred.
    """

    def encode(self, value: Any) -> bytes:
        """Pickle a record and compress it."""
        return zlib.compress(pickle.dumps(value, pickle.HIGHEST_PROTOCOL), level=1)

    def decode(self, encoded: bytes) -> Any:
        """Restore a record that this pipeline encoded."""
        return pickle.loads(zlib.decompress(encoded))

    def is_deterministic(self) -> bool:
        """Say that equal records may be encoded differently."""
        return False


class InProcessCoder(Coder):
    """A coder for records that hold arrays.

    Beam samples the size of elements as they pass from step to step, by default by pickling them;
    this one adds up the arrays' bytes instead. It encodes only where a runner breaks fusion.
    """

    def encode(self, value: Any) -> bytes:
        """Pickle a record."""
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)

    def decode(self, encoded: bytes) -> Any:
        """Unpickle a record that this pipeline pickled."""
        return pickle.loads(encoded)

    def estimate_size(self, value: Any) -> int:
        """Return the bytes of the record's arrays."""
        return sum(getattr(part, "nbytes", 0) for part in vars(value).values())

    def is_deterministic(self) -> bool:
        """Say that equal records may be encoded differently."""
        return False
