"""Durations and sizes as people read them."""

from __future__ import annotations

import pytest

from beamvec.pipeline.units import format_duration, format_size, parse_size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (119.6, "2 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90_061, "25 h 1 min"),
    ],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_550_000, "1.6 MB"),
        (2e9, "2.0 GB"),
        (3e12, "3.0 TB"),
        (4.2e15, "4200.0 TB"),
    ],
)
def test_sizes(size_bytes, text):
    assert format_size(size_bytes) == text


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1099511627777", 1_099_511_627_777),
        ("12B", 12),
        ("512MB", 512_000_000),
        ("512 mb", 512_000_000),
        (" 1.5GiB ", 3 << 29),
        ("2k", 2000),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes_are_read_as_people_write_them(text, size_bytes):
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MB", "-1", "1e9", "1.MB", "5 apples", "inf"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is no size; write it as 512MB, 2GiB, or bytes"):
        parse_size(text)
