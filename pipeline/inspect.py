"""`beamvec inspect`: what is in a dataset."""

from __future__ import annotations

from typing import Any

from embeddings import open_dataset
from embeddings.parts import Part
from pipeline.summary import describe_errors
from pipeline.units import format_size


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
        + _files(dataset.embedding_files),
        "failures": f"{counts['failures']:,} rows, " + _files(dataset.failure_files),
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
    errors = [f"{'' if i else 'errors':<12} {text}" for i, text in enumerate(describe_errors(run))]
    return "\n".join([*lines, *errors])


def _files(files: tuple[Part, ...]) -> str:
    return f"{len(files)} file(s), {format_size(sum(file.size_bytes for file in files))}"


def _weights(model: dict[str, Any]) -> str:
    return " (RANDOM WEIGHTS: embeddings mean nothing)" if model["weights"] == "random" else ""
