"""Failures that have a cause in common have one name for it."""

from __future__ import annotations

import pytest

from beamvec.transforms.records.causes import name_cause


@pytest.mark.parametrize(
    ("messages", "cause"),
    [
        (
            [f"image file is truncated ({n} bytes not processed)" for n in (3, 1700)],
            "image file is truncated",
        ),
        (
            [str(FileNotFoundError(2, "No such file", f"/a/{n}.jpg")) for n in ("b c", "it's")],
            "No such file",
        ),
        (["broken PNG file (chunk b'IDAT')"], "broken PNG file (chunk …)"),
        (
            ["a Git LFS pointer; fetch the image with `git lfs pull`"],
            "a Git LFS pointer; fetch the image with `git lfs pull`",
        ),
        ([f"cannot open https://host/{n}.jpg" for n in "ab"], "cannot open …"),
        (["word " * 60], " ".join(["word"] * 24)),
        ([""], ""),
    ],
)
def test_numbers_and_names_are_left_out(messages, cause):
    assert {name_cause(message) for message in messages} == {cause}
