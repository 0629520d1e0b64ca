"""`beamvec inspect`: what is in a dataset."""

from __future__ import annotations

from typing import Any

from embeddings import Dataset, open_dataset


def inspect(path: str) -> str:
    """Describe a dataset in some lines.

    Raises:
        embeddings.DatasetError: if there is no finished dataset.
    """
    dataset = open_dataset(path)
    run = dataset.run
    model, settings, counts, timings = (
        run[name] for name in ("model", "settings", "counts", "timings")
    )
    rows = {
        "dataset": f"{path}, made by beamvec {run['beamvec']}, {timings['finished']}",
        "embeddings": f"{counts['embeddings']:,} rows of {model['dimension']} numbers, "
        + _files(dataset, dataset.embedding_files),
        "failures": f"{counts['failures']:,} rows, " + _files(dataset, dataset.failure_files),
        "accounts": f"{counts['inputs']:,} inputs = {counts['embeddings']:,} embeddings + "
        f"{counts['failures']:,} failures + {counts['duplicates']:,} duplicates",
        "model": model["handle"] + _weights(model),
        "fingerprint": model["fingerprint"],
        "settings": f"input {model['input_size']} x {model['input_size']}, resize "
        f"{settings['resize']}, {settings['precision']}",
        "columns": ", ".join(f"{name} {type_}" for name, type_ in settings["columns"].items()),
        "speed": f"{timings['images_per_s']:.1f} images/s on {run['runner']}, "
        f"{run['model_loads']} model load(s)",
    }
    lines = [f"{name:<12} {text}" for name, text in rows.items() if text]
    return "\n".join([*lines, *_failure_lines(run["failures"])])


def _files(dataset: Dataset, files: tuple[str, ...]) -> str:
    return f"{len(files)} file(s), {format_size(dataset.size_bytes(files))}"


def _weights(model: dict[str, Any]) -> str:
    return " (RANDOM WEIGHTS: embeddings mean nothing)" if model["weights"] == "random" else ""


def _failure_lines(failures: list[dict[str, Any]]) -> list[str]:
    ordered = sorted(failures, key=lambda failure: -failure["count"])
    return [
        f"{'errors' if i == 0 else '':<12} {failure['count']:,} x {failure['stage']}: "
        f"{failure['error_type']}"
        for i, failure in enumerate(ordered)
    ]


def format_size(size_bytes: float) -> str:
    """Format a size with a unit of 1,000s.

    >>> format_size(999), format_size(1_500_000)
    ('999 B', '1.5 MB')
    """
    units = iter(("kB", "MB", "GB", "TB"))
    unit = "B"
    while size_bytes >= 1000 and (larger := next(units, None)):
        size_bytes, unit = size_bytes / 1000, larger
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
