"""Cores, and importing large packages quickly."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from beamvec.transforms.machine import (
    check_machine,
    count_cpus,
    large_imports,
    without_module,
)


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


NO_FOLDER = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/nowhere']"
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000,) * 2)"


@pytest.mark.parametrize(
    ("surroundings", "told"),
    [
        (NO_FOLDER, "no folder takes temporary files (No usable temporary directory found in"),
        (LIMITED, "this process may map 1.5 GB (ulimit -v), and TensorFlow and Beam need 3.0 GB"),
    ],
)
@pytest.mark.parametrize("command", ["extract", "doctor"])
def test_where_beam_cannot_be_imported_a_command_ends_with_2_and_one_line(
    surroundings, told, command, photos, tmp_path
):
    flags = ["--input", str(photos), "--output", str(tmp_path / "out")]
    code = (
        f"{surroundings}\nimport sys\nfrom beamvec.pipeline.commands.main import main\n"
        f"sys.exit(main({[command, *flags]!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"beamvec: {told}")
    assert done.stderr.count("\n") == 1


def test_this_machine_is_fit():
    check_machine()
