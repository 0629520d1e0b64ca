"""A GPU, all of it by one command: precisions, XLA, batch sizes, batches in flight, the pipeline.

    python benchmarks/gpu.py [--images DIR] [--model DIR] [--rounds 3] [--batch-sizes 32 64 128 256]
                             [--json FILE] [--quick] [--device cpu]

Prints tables in Markdown. Each measurement is a process of its own, so that none has the memory,
the kernels or the options of another, and rounds tell whether a second process makes the same
bytes. The whole pipeline runs with the batch size that was best for the model alone. Embeddings are
compared with those of the same model in float32 on this machine's CPU. `--device cpu` hides all
GPUs and does the same without them, to see that everything works; float16 is for GPUs.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import first_embedding

import inputs
import measure
import processes
from beamvec.transforms.inference.engine import Precision, Xla
from gpu_process import IN_FLIGHT
from inputs import Setup
from measure import Report, take_turns

_BATCH_SIZES = (32, 64, 128, 256)
_COUNT = 4_096  # Images of the pipeline, and those that are decoded.
_SHORT_RUN = 4  # The long run has so many times the images of the short one.
_CHILD = "gpu_process.py"


@dataclass(frozen=True)
class Way:
    """A way to run the model."""

    precision: Precision
    xla: Xla
    batch_size: int

    @property
    def name(self) -> str:
        """What notes call it."""
        return f"{self.precision}, XLA {self.xla}, batch {self.batch_size}"

    def list_flags(self, device: str) -> list[str]:
        """Return the flags of `beamvec extract` for it."""
        size = self.batch_size
        flags = ["--precision", self.precision, "--xla", self.xla, "--batch-size", str(size)]
        # A chunk smaller than a batch would be padded.
        flags += ["--chunk-size", str(max(128, size))]
        return flags + (["--require-gpu"] if device == "gpu" else [])


@dataclass(frozen=True)
class Measured:
    """What one process found of a way to run the model.

    Attributes:
        rates: images/s of the model alone, with as many batches in flight as in `IN_FLIGHT`.
        load_s: seconds to load the model and to call it once.
        sha256: of the embeddings.
        least, mean: cosine to those of the CPU in float32.
    """

    rates: tuple[float, ...]
    load_s: float
    sha256: str
    least: float
    mean: float


@dataclass(frozen=True)
class WholeRun:
    """What a run of the whole pipeline did: images/s, and seconds to the first embeddings."""

    images_per_s: float
    first_s: float


def run(setup: Setup, device: str, batch_sizes: Sequence[int]) -> tuple[Report, str]:
    """Measure everything; return a report for machines, and the tables."""
    report = Report("gpu", f"beamvec on a {device.upper()}")
    listed = setup.write_list(setup.photos(setup.scaled(_COUNT)))
    decoded = processes.call_script(_CHILD, "reference", str(setup.work), setup.model, listed)
    ways = {way.name: way for way in _list_ways(device, batch_sizes)}
    models = take_turns(
        {name: functools.partial(_measure_model, setup, device, ways[name]) for name in ways},
        setup.rounds,
        report,
    )
    best = {way.name: way for way in _choose_best(ways, models)}
    runs = take_turns(
        {name: functools.partial(_measure_run, setup, device, best[name], listed) for name in best},
        setup.rounds,
        report,
    )
    for name, rounds in models.items():
        for place, count in enumerate(IN_FLIGHT):
            report.add(f"{name}, {count} in flight", "images/s", [m.rates[place] for m in rounds])
        report.add(f"{name}: least cosine", "cosine", [m.least for m in rounds])
    for name, found in runs.items():
        report.add(f"{name}: pipeline", "images/s", [each.images_per_s for each in found])
        report.add(f"{name}: first embeddings", "s", [each.first_s for each in found])
    report.add("decoding alone", "images/s", [decoded])
    report.more["models"] = {name: [asdict(m) for m in found] for name, found in models.items()}
    tables = [
        _format_models(ways, models),
        _format_runs(best, models, runs, decoded, device),
        *(f"- {name}: {why}" for name, why in {**report.skipped, **report.failed}.items()),
    ]
    return report, "\n\n".join(tables)


def _list_ways(device: str, batch_sizes: Sequence[int]) -> Iterator[Way]:
    precisions = ("float32", "float16") if device == "gpu" else ("float32",)
    for precision, xla, size in itertools.product(precisions, ("off", "on"), batch_sizes):
        yield Way(cast(Precision, precision), cast(Xla, xla), size)


def _choose_best(ways: dict[str, Way], models: dict[str, list[Measured]]) -> Iterator[Way]:
    """Yield the fastest batch size of each precision, with XLA and without."""
    done = [ways[name] for name in models]
    for kind in dict.fromkeys((way.precision, way.xla) for way in done):
        same = [way for way in done if (way.precision, way.xla) == kind]
        yield max(same, key=lambda way: _rate(models[way.name]))


def _rate(rounds: list[Measured]) -> float:
    """Return the median images/s with the most batches in flight."""
    return statistics.median(measured.rates[-1] for measured in rounds)


def _measure_model(setup: Setup, device: str, way: Way) -> Measured:
    arguments = [str(setup.work), setup.model, device, way.precision, way.xla, str(way.batch_size)]
    count = str(setup.scaled(_COUNT) // 2)
    found = processes.call_script(_CHILD, "model", *arguments, count)
    return Measured(**{**found, "rates": tuple(found["rates"])})


def _measure_run(setup: Setup, device: str, way: Way, listed: str) -> WholeRun:
    flags = way.list_flags(device)
    few = setup.write_list(Path(listed).read_text().splitlines()[::_SHORT_RUN])
    output = str(setup.work / "run")
    common = ["--model", setup.model, "--output", output, "--overwrite", *flags]
    rate = processes.call_script(_CHILD, "pipeline", listed, few, *common)
    first = setup.write_list(setup.photos(way.batch_size))
    return WholeRun(rate, first_embedding.time_first_chunk(setup, first, flags))


def _format_models(ways: dict[str, Way], models: dict[str, list[Measured]]) -> str:
    """Lay out the model alone."""
    head = ["precision", "XLA", "batch", *(f"images/s, {n} in flight" for n in IN_FLIGHT)]
    head += ["load and first call, s", "least cosine to the CPU", "mean", "bytes in each process"]
    rows = []
    for name, rounds in models.items():
        way = ways[name]
        digests = {measured.sha256 for measured in rounds}
        again = "one process" if len(rounds) < 2 else "the same" if len(digests) == 1 else "differ"
        rows.append(
            [
                *(way.precision, way.xla, str(way.batch_size)),
                *(_middle([m.rates[i] for m in rounds], 0) for i in range(len(IN_FLIGHT))),
                _middle([m.load_s for m in rounds], 1),
                f"{min(m.least for m in rounds):.5f}",
                f"{min(m.mean for m in rounds):.5f}",
                again,
            ]
        )
    return _format_table(head, rows)


def _format_runs(
    best: dict[str, Way],
    models: dict[str, list[Measured]],
    runs: dict[str, list[WholeRun]],
    decoded: float,
    device: str,
) -> str:
    """Lay out the whole pipeline, and the bound that its parts set."""
    head = ["precision", "XLA", "batch", "decoding alone, images/s", "model alone", "pipeline"]
    head += ["pipeline / bound", "first embeddings, s"]
    rows = []
    for name, found in runs.items():
        way, model = best[name], _rate(models[name])
        # A GPU computes while the cores decode; on a CPU both want the same cores.
        bound = min(model, decoded) if device == "gpu" else 1 / (1 / model + 1 / decoded)
        rates = [each.images_per_s for each in found]
        rows.append(
            [
                *(way.precision, way.xla, str(way.batch_size)),
                *(f"{decoded:,.0f}", f"{model:,.0f}", _middle(rates, 0)),
                _middle([rate / bound for rate in rates], 2),
                _middle([each.first_s for each in found], 1),
            ]
        )
    return _format_table(head, rows)


def _middle(values: Sequence[float], digits: int) -> str:
    """Format a median, with the range if there are several values.

    >>> _middle([1200.0], 0), _middle([1.0, 3.0, 2.0], 1)
    ('1,200', '2.0 (1.0 to 3.0)')
    """
    shown = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return shown
    return f"{shown} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def _format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out in Markdown.

    >>> print(_format_table(["a", "b"], [["1", "2"]]))
    | a | b |
    | --- | --- |
    | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Measure what the command line asks for, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    inputs.add_flags(parser, variants=False)
    add = parser.add_argument
    add("--device", choices=["gpu", "cpu"], default="gpu", help="what computes (%(default)s)")
    sizes = "images in a call of the model (%(default)s)"
    add("--batch-sizes", type=int, nargs="+", default=_BATCH_SIZES, metavar="N", help=sizes)
    args = parser.parse_args()
    if args.device == "cpu":
        processes.hide_gpus()
    else:
        try:
            processes.call_script(_CHILD, "check")
        except (measure.Skipped, measure.Failed) as reason:
            parser.error(f"{reason}; --device cpu does without")
    machine = measure.describe_machine()
    print(measure.format_machine(machine), flush=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("BEAMVEC_BENCH_DIR")) as work:
        report, tables = run(inputs.make_setup(args, Path(work)), args.device, args.batch_sizes)
    print(f"\n{tables}")
    if args.json:
        measure.write_json(args.json, machine, [report])
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
