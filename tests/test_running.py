"""A pipeline from its start to its end, and why it failed."""

from __future__ import annotations

import pytest

from beamvec.pipeline.run.running import explain_failure


def chain() -> BaseException:
    error = RuntimeError("outer")
    error.__cause__ = OSError("inner")
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("first\n\nlast"), "last"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (chain(), "inner"),
        (
            RuntimeError("cannot read https://me:secret@host/x?token=1"),
            "cannot read https://host/x",
        ),
        (
            RuntimeError(
                "Traceback (most recent call last):\n  File x\na.b.SomeError: gone\n\nnote: of a "
                "runner"
            ),
            "a.b.SomeError: gone",
        ),
    ],
)
def test_a_failure_is_explained_in_one_line(error, reason):
    assert explain_failure(error) == reason
