"""What earlier versions of beamvec wrote, made of what this one writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def to_format_1(run: dict[str, Any]) -> dict[str, Any]:
    """Return the `run.json` of format 1, as 0.1.0 wrote it, of a dataset of format 2."""
    settings, named = dict(run["settings"]), run["input"]
    model = {name: run[name] for name in ("input_size", "dimension", "weights")}
    fingerprint = settings.pop("fingerprint")
    del settings["format_version"], settings["resizer"]
    patterns = list(named["names"]) if named["source"] == "input" else []
    counts = {
        name: count for name, count in run["counts"].items() if name not in ("known", "changed")
    }
    kept = ("batch_size", "chunk_size", "runner", "failures", "changed", "model_loads")
    return {
        "beamvec": "0.1.0",
        "settings": {"model": fingerprint, **settings},
        "model": {"handle": run["model"], "fingerprint": fingerprint, **model},
        "input": {
            "patterns": patterns,
            "list": named["names"][0] if named["source"] == "input_list" else None,
            "manifest": named["names"][0] if named["source"] == "manifest" else None,
            "digest": named["digest"],
        },
        "versions": {"python": "3.11.7", "apache-beam": "2.77.0", "tensorflow": "2.21.0"},
        "counts": counts,
        "timings": run["timings"],
        "throughput": run["throughput"],
        **{name: run[name] for name in kept},
    }


def age(output: Path) -> None:
    """Make a finished dataset one of format 1."""
    file = output / "run.json"
    file.write_text(json.dumps(to_format_1(json.loads(file.read_text())), indent=2))
    (output / "_SUCCESS").write_text("\n")


def begin(output: Path, fingerprint: str) -> None:
    """Write what a run of format 1 noted when it began."""
    settings = {
        **{"model": fingerprint, "resize": "stretch", "precision": "float32"},
        **{"engine": "tensorflow", "rows_per_shard": 50_000, "columns": {}},
    }
    (output / "chunks").mkdir(parents=True)
    content = json.dumps({"settings": settings, "generation": 0}, indent=2)
    (output / "chunks" / "settings.json").write_text(content)
