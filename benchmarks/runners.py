"""The same images on each runner that is there: threads, processes, Prism, Flink.

    python benchmarks/runners.py [--images DIR] [--model DIR] [--rounds 3]

Each run is a process of its own, timed from its start to its end; Flink's cluster is there already,
as it would be. Prism is taken from the PATH or from `build/bin`, where `make test-engines` puts it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import inputs
import processes
from beamvec.transforms.machine import count_cpus
from inputs import Setup
from measure import Report, Skipped, take_turns

_COUNT = 500
_ROOT = Path(__file__).parents[1]
_THREADS = "threads in one process"


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    photos = setup.photos(setup.scaled(_COUNT))
    workers = max(2, count_cpus())
    report = Report("runners", "images/s from the start of the process to its end, by runner")
    report.notes.append(f"{len(photos)} images, {workers} workers; Flink's cluster runs already")
    listed = setup.write_list(photos)
    flags = ["--input-list", listed, "--model", setup.model, "--chunk-size", "32"]
    with contextlib.ExitStack() as stack:
        variants: dict[str, Callable[[], dict[str, Any]]] = {
            name: functools.partial(_measure, setup, name, [*flags, *more])
            for name, more in _list_runners(workers).items()
        }
        start = functools.cache(lambda: stack.enter_context(_flink(setup.work, workers)))
        variants["Flink"] = lambda: _measure(setup, "Flink", [*flags, *start()])
        found = take_turns(variants, setup.rounds, report)
    rates = {name: [len(photos) / one["seconds"] for one in runs] for name, runs in found.items()}
    for name, runs in found.items():
        report.add(name, "images/s", rates[name])
        report.add(f"{name}: loads of the model", "", [one["model_loads"] for one in runs[:1]])
    for name in [name for name in rates if name != _THREADS]:
        report.add_ratio(f"{name} / {_THREADS}", rates[name], rates.get(_THREADS, []))
    return report


def _list_runners(workers: int) -> dict[str, list[str]]:
    """Return the flags of the runners that need no cluster."""
    prism = shutil.which("prism") or str(_ROOT / "build" / "bin" / "prism")
    return {
        _THREADS: [f"--direct_num_workers={workers}"],
        "processes": [f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing"],
        "Prism": ["--runner=PrismRunner", f"--prism_location={prism}"],
    }


@contextlib.contextmanager
def _flink(work: Path, workers: int) -> Iterator[list[str]]:
    """Start a cluster on this machine and yield the flags that run beamvec there.

    Raises:
        Skipped: if it cannot be had.
    """
    sys.path.insert(0, str(_ROOT / "deploy" / "flink"))
    from loopback import LoopbackCluster, LoopbackError, orderly_exit

    try:
        with orderly_exit(), LoopbackCluster(work / "flink", workers) as cluster:
            yield cluster.flags
    except LoopbackError as error:
        raise Skipped(str(error)) from error


def _measure(setup: Setup, name: str, flags: list[str]) -> dict[str, Any]:
    """Return the seconds of a run, and how often it loaded the model.

    Raises:
        Skipped: if Prism is not there.
    """
    location = [flag.partition("=")[2] for flag in flags if flag.startswith("--prism_location")]
    if location and not Path(location[0]).is_file():
        raise Skipped("no prism on the PATH or in build/bin; make build/bin/prism makes it")
    output = setup.work / f"runners {name}"
    shutil.rmtree(output, ignore_errors=True)
    command = processes.beamvec_command(*flags, "--output", str(output))
    seconds = processes.time_command(command)
    run = json.loads((output / "run.json").read_text())
    return {"seconds": seconds, "model_loads": run["model_loads"]}


if __name__ == "__main__":
    sys.exit(inputs.run_alone(run, __doc__))
