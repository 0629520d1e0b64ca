"""Cores, and importing large packages quickly."""

from __future__ import annotations

import gc
import os
import sys

import pytest

from beamvec.transforms.machine import count_cpus, large_imports, without_module


def test_the_cores_are_those_that_the_process_may_use(monkeypatch):
    assert 1 <= count_cpus() <= os.cpu_count()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert count_cpus() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert count_cpus() == 1


def test_the_garbage_collector_is_off_meanwhile_and_on_again_after_an_error():
    assert gc.isenabled()
    with pytest.raises(ImportError), large_imports():
        __import__("sys" if gc.isenabled() else "no_such_module")
    assert gc.isenabled()
    gc.unfreeze()


def test_a_module_is_as_if_it_were_not_installed():
    sys.modules.pop("colorsys", None)
    with without_module("colorsys"), pytest.raises(ImportError):
        __import__("colorsys")
    assert __import__("colorsys")


def test_a_module_that_is_there_already_stays():
    with without_module("json"):
        assert __import__("json")
    assert "json" in sys.modules
