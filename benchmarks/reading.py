"""Loading and searching 200,000 embeddings of 2,048 numbers, beside what others use.

    python benchmarks/reading.py [--rounds 3]

Each variant is a process of its own; its imports are not timed. All read the same 16 files. The
embeddings are made: clusters with noise, not negative, as those of a ResNet.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import inputs
import processes
from beamvec.embeddings import RunRecord, layout, schema
from beamvec.embeddings.run_record import Counts
from beamvec.embeddings.settings import Settings
from inputs import Setup
from measure import Goal, Report, take_turns

_ROWS = 200_000
_DIMENSION = 2048
_PARTS = 16
_CLUSTERS = 500
_READERS = ("beamvec", "pandas", "embedding-reader")
_SEARCHERS = ("beamvec search", "beamvec search from files", "faiss search")


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    report = Report("reading", "loading embeddings into one array, and searching them")
    rows = setup.scaled(_ROWS)
    path = setup.work / "embeddings_dataset"
    write_dataset(path, rows)
    size_mb = rows * _DIMENSION * 4 / 1e6
    report.notes.append(f"{rows:,} embeddings of {_DIMENSION}, {size_mb:,.0f} MB, {_PARTS} files")
    variants = {
        name: functools.partial(processes.call_script, "rivals/reading.py", name, str(path))
        for name in (*_READERS, *_SEARCHERS)
    }
    found = take_turns(variants, setup.rounds, report)
    seconds = {name: [result["seconds"] for result in results] for name, results in found.items()}
    for name in _READERS:
        report.add(f"{name}: load", "s", seconds.get(name, []))
        peaks = [result["peak_mb"] / size_mb for result in found.get(name, [])]
        goal = Goal("<=", 1.3) if name == "beamvec" else None
        report.add(f"{name}: peak memory", "arrays", peaks, goal)
    ours = seconds.get("beamvec", [])
    for name, goal in zip(_READERS[1:], (Goal(">=", 3), Goal(">=", 1)), strict=True):
        report.add_ratio(f"{name} / beamvec", seconds.get(name, []), ours, goal)
    for name in _SEARCHERS:
        report.add(f"{name}, 10 queries", "s", seconds.get(name, []))
    theirs = seconds.get(_SEARCHERS[2], [])
    report.add_ratio("faiss / beamvec", theirs, seconds.get(_SEARCHERS[0], []), Goal(">=", 1))
    return report


def write_dataset(
    path: Path, rows: int, dimension: int = _DIMENSION, clusters: int = _CLUSTERS
) -> None:
    """Write a finished dataset of made embeddings."""
    record = RunRecord(
        settings=Settings("0" * 64, format_version=schema.FORMAT_VERSION),
        model="none",
        dimension=dimension,
        counts=Counts(inputs=rows, embeddings=rows),
    )
    target = schema.with_metadata(schema.table_schema("embeddings"), record.file_metadata())
    random = np.random.default_rng(0)
    centres = random.normal(0.3, 0.4, (clusters, dimension)).astype(np.float32)
    for table in (layout.EMBEDDINGS_DIR, layout.FAILURES_DIR):
        (path / table).mkdir(parents=True)
    for part in range(_PARTS):
        name = layout.part_name(part, _PARTS)
        numbers = range(part, rows, _PARTS)
        with pq.ParquetWriter(
            path / layout.EMBEDDINGS_DIR / name, target, **schema.parquet_options(target)
        ) as writer:
            for start in range(0, len(numbers), schema.ROW_GROUP_ROWS):
                group = numbers[start : start + schema.ROW_GROUP_ROWS]
                writer.write_table(_make_rows(group, centres, random, target))
        failures = schema.table_schema("failures").empty_table()
        pq.write_table(failures, path / layout.FAILURES_DIR / name)
    content = record.to_json().encode()
    (path / layout.RUN_FILE).write_bytes(content)
    (path / layout.SUCCESS_FILE).write_bytes(layout.success_content(content))


def _make_rows(
    numbers: range, centres: np.ndarray, random: np.random.Generator, target: pa.Schema
) -> pa.Table:
    count = len(numbers)
    clusters, dimension = centres.shape
    noise = random.standard_normal((count, dimension), np.float32) * np.float32(0.3)
    vectors = np.maximum(centres[random.integers(0, clusters, count)] + noise, 0)
    offsets = pa.array(np.arange(0, vectors.size + 1, dimension, dtype=np.int32))
    lists = pa.ListArray.from_arrays(offsets, vectors.ravel(), type=target.field(1).type)
    uris = [f"/photos/{number:09d}.jpg" for number in numbers]
    hashes = [f"{number:064x}" for number in numbers]
    ones = [1] * count
    return pa.table([uris, lists, hashes, ones, ones, ["JPEG"] * count, ones], schema=target)


if __name__ == "__main__":
    sys.exit(inputs.run_alone(run, __doc__))
