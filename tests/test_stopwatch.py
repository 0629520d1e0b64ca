"""How long a run takes, whatever is done to the clock."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from beamvec.pipeline.run.stopwatch import Stopwatch


@pytest.mark.parametrize("jump_s", [-1e9, -3600, 3600, 1e9])
def test_a_clock_that_is_set_changes_nothing(monkeypatch, jump_s):
    watch = Stopwatch.start()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump_s)
    assert 0 <= watch.elapsed_s() < 60
    assert watch.time_s <= watch.now_s() < watch.time_s + 60


def test_on_another_machine_the_times_of_day_are_compared(monkeypatch):
    there = pickle.loads(pickle.dumps(replace(Stopwatch.start(), boot="of another", steady_s=1e12)))
    assert 0 <= there.elapsed_s() < 60
    monkeypatch.setattr(time, "time", lambda: there.time_s - 3600)
    assert there.elapsed_s() == 0


def test_a_run_during_which_the_clock_is_set_has_times_that_can_be(
    extract, photos, dataset, monkeypatch
):
    now, calls = time.time(), iter(range(10**9))
    clock = SimpleNamespace(time=lambda: now - 86_400 * next(calls), monotonic=time.monotonic)
    monkeypatch.setattr("beamvec.pipeline.run.stopwatch.time", clock)
    assert extract("--input", photos / "group0") == 0
    timings = dataset().run.timings
    assert 0 <= timings.startup_s < 300
    assert 0 <= timings.run_s < 300
    assert timings.images_per_s > 0
    assert len(dataset().run.throughput.images) <= 100
    assert sum(dataset().run.throughput.images) == 11
