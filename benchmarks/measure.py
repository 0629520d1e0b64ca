"""What all benchmarks share: turns, medians with their spread, tables, JSON, the machine.

Nothing heavy is imported here: the work is done in processes of its own.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, TypeVar

from beamvec.transforms.machine import count_cpus

Result = TypeVar("Result")

_PACKAGES = ("apache-beam", "tensorflow", "openvino", "pyarrow", "numpy", "pillow", "ray")
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")


class Skipped(Exception):  # noqa: N818 Not an error: something is not there, and nothing is wrong.
    """A variant cannot run here; the message says why."""


class Failed(Exception):  # noqa: N818 Reads as what it says in the table.
    """A variant that should run did not."""


@dataclass(frozen=True)
class Goal:
    """A bound that a median should keep."""

    kind: Literal[">=", "<="]
    bound: float

    def is_met(self, value: float) -> bool:
        """Tell whether a value keeps the bound.

        >>> Goal(">=", 0.95).is_met(0.96), Goal("<=", 1.3).is_met(1.4)
        (True, False)
        """
        return value >= self.bound if self.kind == ">=" else value <= self.bound


@dataclass(frozen=True)
class Figure:
    """One measured quantity.

    Attributes:
        name: what was measured.
        unit: such as `images/s`; `ratio` for a quotient of two figures of the same round.
        values: one for each round.
        goal: what the median should keep, None where there is no goal.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    goal: Goal | None = None

    @property
    def median(self) -> float:
        """The median of all rounds."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the median keeps the goal, None without one."""
        return None if self.goal is None else self.goal.is_met(self.median)

    def describe(self) -> dict[str, Any]:
        """Return the figure as it stands in the JSON file."""
        spread = {"median": self.median, "min": min(self.values), "max": max(self.values)}
        record: dict[str, Any] = {"name": self.name, "unit": self.unit, "values": self.values}
        record.update(spread)
        if self.goal:
            record["goal"] = {"kind": self.goal.kind, "bound": self.goal.bound}
            record["met"] = self.is_met
        return record


@dataclass
class Report:
    """What a benchmark found.

    Attributes:
        name: of the benchmark.
        title: what it measures, in a line.
        notes: what a reader must know of its input.
        figures: quantities and ratios, in the order of the table.
        skipped: what did not run here, and why.
        failed: what should have run and did not, and why.
        more: what else goes into the JSON file.
    """

    name: str
    title: str
    notes: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, unit: str, values: Iterable[float], goal: Goal | None = None) -> None:
        """Add a figure; one without values is left out: what it needs is among `skipped`."""
        values = tuple(values)
        if values:
            self.figures.append(Figure(name, unit, values, goal))

    def add_ratio(
        self, name: str, over: Sequence[float], under: Sequence[float], goal: Goal | None = None
    ) -> None:
        """Add the quotients of two figures, round by round."""
        self.add(name, "ratio", [a / b for a, b in zip(over, under, strict=False)], goal)

    def describe(self) -> dict[str, Any]:
        """Return the report as it stands in the JSON file."""
        records = [figure.describe() for figure in self.figures]
        return {
            "name": self.name,
            "title": self.title,
            "notes": self.notes,
            "figures": [record for record in records if record["unit"] != "ratio"],
            "ratios": [record for record in records if record["unit"] == "ratio"],
            "skipped": self.skipped,
            "failed": self.failed,
            **self.more,
        }


def take_turns(
    variants: Mapping[str, Callable[[], Result]],
    rounds: int,
    report: Report,
    warm_up: bool = False,
) -> dict[str, list[Result]]:
    """Measure variants in turn, A B A B, so that a disturbance of the machine meets them all.

    A variant that cannot run is noted in the report and left out of the later rounds, and of the
    result.

    Args:
        variants: what measures each once.
        rounds: how often each is measured.
        report: takes the notes.
        warm_up: whether a round that does not count goes first.
    """
    results: dict[str, list[Result]] = {name: [] for name in variants}
    for turn in range(-1 if warm_up else 0, rounds):
        for name in list(results):
            step = f"round {turn + 1} of {rounds}" if turn >= 0 else "warming up"
            print(f"{report.name}: {step}, {name}", file=sys.stderr, flush=True)
            try:
                result = variants[name]()
            except (Skipped, Failed) as reason:
                kept = report.skipped if isinstance(reason, Skipped) else report.failed
                kept[name] = str(reason)
                del results[name]
            else:
                results[name] += [result] if turn >= 0 else []
    return results


def format_report(report: Report) -> str:
    """Lay a report out as a table for people."""
    lines = [f"{report.name}: {report.title}", *(f"  {note}" for note in report.notes)]
    width = max([len(figure.name) for figure in report.figures] + [20])
    lines += [_format_figure(figure, width) for figure in report.figures]
    lines += [f"  {name}: skipped: {reason}" for name, reason in report.skipped.items()]
    lines += [f"  {name}: FAILED: {reason}" for name, reason in report.failed.items()]
    return "\n".join(lines)


def _format_figure(figure: Figure, width: int) -> str:
    unit = "" if figure.unit == "ratio" else figure.unit
    line = f"  {figure.name:<{width}}  {_number(figure.median):>9} {unit:<9}"
    if len(figure.values) > 1:
        spread = f"{_number(min(figure.values))}..{_number(max(figure.values))}"
        line += f" {spread:<19}"
    if figure.goal:
        verdict = "met" if figure.is_met else "NOT MET"
        line += f" goal {figure.goal.kind} {figure.goal.bound:g}: {verdict}"
    return line.rstrip()


def _number(value: float) -> str:
    """Format a value with about four digits.

    >>> _number(1234.5), _number(25.84), _number(0.99923)
    ('1,234', '25.8', '0.9992')
    """
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.4f}".rstrip("0").rstrip(".")


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, memory, GPUs, load and versions."""
    cpu = _read_cpu()
    flags = cpu.get("flags", "").split()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": cpu.get("model name") or platform.processor() or platform.machine(),
        "cores": count_cpus(),
        "instructions": [flag for flag in _CPU_FLAGS if flag in flags],
        "gpus": _list_gpus(),
        "memory_gb": round(pages / 1e9, 1),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _find_version(name))},
    }


def _read_cpu() -> dict[str, str]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return {}
    pairs = (line.partition(":") for line in cpuinfo.read_text().splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _list_gpus() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


def _find_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def format_machine(machine: Mapping[str, Any]) -> str:
    """Describe the machine in two lines."""
    has = [f"{machine['cores']} cores", *machine["instructions"], *machine["gpus"]]
    has += [f"{machine['memory_gb']} GB", f"load {machine['load_1min']}"]
    versions = [f"{name} {version}" for name, version in machine["versions"].items()]
    return (
        f"{machine['processor']}, {', '.join(has)}\n"
        f"Python {machine['python']}, {', '.join(versions)}"
    )


def write_json(path: str, machine: Mapping[str, Any], reports: Sequence[Report]) -> None:
    """Write everything for machines."""
    content = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine,
        "benchmarks": [report.describe() for report in reports],
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content, indent=2) + "\n")
