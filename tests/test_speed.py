"""Speed over a run: no image lost, no gap where there was work."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import samples
from beamvec.embeddings import open_dataset
from beamvec.embeddings.run_record import Counts, Throughput
from beamvec.pipeline.speed import measure_speed


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    samples.write_dataset(folder, np.ones((3, 2), np.float32))
    return open_dataset(folder).run


@given(st.lists(st.integers(0, 500), max_size=100), st.integers(0, 2000), st.integers(1, 9))
def test_speeds_hold_every_image_of_the_run(record, images, chunks, interval_s):
    run = dataclasses.replace(
        record,
        counts=Counts(chunks=chunks),
        throughput=Throughput(interval_s, tuple(images)),
    )
    parts = measure_speed(run)
    assert len(parts) <= 60
    assert sum(part.width_s for part in parts) == interval_s * len(images)
    ends = [part.start_s + part.width_s for part in parts]
    assert [0, *ends[:-1]] == [part.start_s for part in parts] or not parts
    total = sum(part.width_s * part.images_per_s for part in parts)
    assert total == pytest.approx(sum(images), abs=0.05 * interval_s * len(images) + 1e-6)


def test_a_short_run_has_a_course_too(record):
    run = dataclasses.replace(
        record,
        counts=Counts(chunks=5),
        throughput=Throughput(1, (0, 0, 0, 0, 128, 128, 0, 128, 0, 0, 128, 88, 0)),
    )
    parts = measure_speed(run)
    assert [part.start_s for part in parts] == [0, 2, 4, 6, 8, 10, 12]
    speeds = [25.6, 25.6, 76.8, 64, 42.7, 65.3, 0]
    assert [part.images_per_s for part in parts] == pytest.approx(speeds, abs=0.1)
