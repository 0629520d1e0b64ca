"""The short text at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embeddings import schema
from pipeline.units import format_duration
from transforms.records import NAMED

_TOP_ERRORS = 5
_EXAMPLE = 90
STEPS = ("read", "decode", "infer", "write")
RANDOM_WEIGHTS = (
    "WARNING: this model has RANDOM WEIGHTS. Its embeddings show that the pipeline works; they do "
    "not show what is in the images. Give --model a trained model for real work."
)


def failure_ratio(run: Mapping[str, Any]) -> float:
    """Return failures / (embeddings + failures), from the content of `run.json`.

    >>> failure_ratio({"counts": {"embeddings": 98, "failures": 2}})
    0.02
    """
    counts = run["counts"]
    images = counts["embeddings"] + counts["failures"]
    return float(counts["failures"] / images) if images else 0.0


def summarize(run: Mapping[str, Any], output: str) -> str:
    """Describe a finished run in some lines: counts, speed, time, errors, files, what next."""
    latest = run["appended"][-1] if run.get("appended") else run
    counts, timings, model = latest["counts"], latest["timings"], run["model"]
    lines = [
        _headline(latest),
        _line("embedded", f"{counts['embeddings']:,}  ({model['dimension']} numbers each)"),
        _line("failed", f"{counts['failures']:,}" + _ratio(latest)),
    ]
    if counts["duplicates"]:
        lines.append(_line("duplicates", f"{counts['duplicates']:,}  (same uri, embedded once)"))
    if counts["taken_over"]:
        lines.append(_line("taken over", f"{counts['taken_over']:,}  (from a run before)"))
    if latest is not run:
        lines += _append_lines(run, latest)
    if counts["read_retries"]:
        lines.append(_line("retried", f"{counts['read_retries']:,} reads that failed at first"))
    lines += [_line("time went to", _shares(timings))] if _shares(timings) else []
    lines += _errors(run, output)
    lines += [
        _line("dataset", output),
        _line("next", f"beamvec inspect {output}"),
    ]
    if model.get("weights") == "random":
        lines.append(RANDOM_WEIGHTS)
    return "\n".join(lines)


def _append_lines(run: Mapping[str, Any], latest: Mapping[str, Any]) -> list[str]:
    counts, total = latest["counts"], run["counts"]
    lines = [_line("had already", f"{counts['known']:,}")]
    if counts["changed"]:
        names = ", ".join(latest["changed"]) + (", ..." if counts["changed"] > NAMED else "")
        text = f"{counts['changed']:,} of them, embedded anew only with --overwrite: {names}"
        lines.append(_line("changed", text))
    lines.append(_line("in all", f"{total['embeddings']:,} embedded, {total['failures']:,} failed"))
    return lines


def _headline(run: Mapping[str, Any]) -> str:
    counts, timings = run["counts"], run["timings"]
    images = counts["embeddings"] + counts["failures"] + counts["duplicates"]
    took = format_duration(timings["startup_s"] + timings["run_s"])
    return (
        f"{images:,} images in {took}, {timings['images_per_s']:.1f} images/s "
        f"after {format_duration(timings['startup_s'])} of start-up"
    )


def _line(name: str, text: str) -> str:
    return f"  {name:<13}{text}"


def _ratio(run: Mapping[str, Any]) -> str:
    return f"  ({failure_ratio(run):.2%})" if run["counts"]["failures"] else ""


def _shares(timings: Mapping[str, float]) -> str:
    seconds = {step: timings[f"{step}_s"] for step in STEPS}
    total = sum(seconds.values())
    if not total:
        return ""
    return ", ".join(f"{step} {spent / total:.0%}" for step, spent in seconds.items())


def _errors(run: Mapping[str, Any], output: str) -> list[str]:
    top = describe_errors(run)[:_TOP_ERRORS]
    lines = [_line("" if i else "top errors", text) for i, text in enumerate(top)]
    return [*lines, _line("", failures_folder(output) + " says which and why")] if lines else []


def describe_errors(run: Mapping[str, Any]) -> list[str]:
    """Describe the errors of a run, the most frequent first, each with one of its messages."""
    failures = sorted(run["failures"], key=lambda failure: -failure["count"])
    return [
        f"{failure['count']:,} x {failure['stage']}: {failure['error_type']}, such as: "
        f"{failure['example'][:_EXAMPLE]}"
        for failure in failures
    ]


def failures_folder(output: str) -> str:
    """Return the folder with a row for each failed image."""
    return f"{output.rstrip('/')}/{schema.FAILURES_DIR}"
