"""How often failures had a cause: `FailureCount`, of which `run.json` has a list."""

from __future__ import annotations

from dataclasses import dataclass

_EXAMPLE_LENGTH = 90


@dataclass(frozen=True)
class FailureCount:
    """How often failures had a cause.

    Attributes:
        stage: read, decode or infer.
        error_type: the name of the exception.
        count: how many images.
        example: the message of one.
        cause: what their messages have in common; empty in records of earlier versions, which
            counted by stage and error type.
    """

    stage: str
    error_type: str
    count: int
    example: str
    cause: str = ""

    def describe(self) -> str:
        """Say how many failures there are and why."""
        why = self.cause or f"{self.error_type}, such as: {_cut(self.example)}"
        return f"{self.count:,} x {self.stage}: {why}"


def _cut(text: str) -> str:
    """Shorten a text to whole words.

    >>> _cut("word " * 50)[-9:]
    'word word'
    """
    return text if len(text) <= _EXAMPLE_LENGTH else text[:_EXAMPLE_LENGTH].rpartition(" ")[0]
