"""What `make demo` runs; the target itself makes a model of the full size."""

from __future__ import annotations

from pathlib import Path

import pytest

from beamvec.embeddings import open_dataset
from beamvec.pipeline.commands import demo


def test_photographs_come_with_a_library():
    pytest.importorskip("skimage", reason="the extra demo has the photographs")
    found = demo.find_photographs()
    assert len(found) > 10
    assert all(Path(path).is_file() for path in found)


def test_neighbours_are_listed(extract, photos, tmp_path):
    extract("--input", photos / "group0")
    head, *lines = demo.describe_neighbours(open_dataset(tmp_path / "out"))
    assert head == "nearest neighbours by cosine"
    assert len(lines) == 6
    for line in lines:
        name, first, *_ = line.replace(",", "").split()
        assert name.startswith(("0", "1", "2"))
        assert first != name  # An image is not its own neighbour.
