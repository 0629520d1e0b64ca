"""What can be told of an image without reading it."""

from __future__ import annotations

import os

import pytest

from beamvec.transforms.inputs.look_up import look_up
from beamvec.transforms.records.images import ImageRef


def test_a_local_file_has_size_and_time(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"seven b")
    os.utime(file, (1, 1.5))
    assert look_up(str(file), ("x", 1)) == ImageRef(str(file), 7, 1.5, ("x", 1))


@pytest.mark.parametrize("uri", ["gs://bucket/a.jpg", "/nowhere/a.jpg", "a\0b.jpg", "x" * 5000, ""])
def test_what_cannot_be_looked_up_is_left_to_reading(uri):
    assert look_up(uri) == ImageRef(uri)


def test_a_uri_of_a_store_that_is_no_utf8_is_escaped():
    assert look_up("s3://bucket/\udce9.jpg").uri == "s3://bucket/\\udce9.jpg"


def test_a_name_that_is_no_utf8_is_a_file_uri(tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.jpg")
    assert look_up(name).uri == f"file://{tmp_path}/%E9.jpg"
