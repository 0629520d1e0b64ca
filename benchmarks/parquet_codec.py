"""Size and reading speed of embeddings by codec and encoding: why the files are as they are.

    python benchmarks/parquet_codec.py [--images DIR] [--model DIR] [--rounds 3]

The embeddings are those of a model on photographs, repeated with noise of one per mille.
"""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import inputs
import processes
from beamvec import embeddings
from beamvec.embeddings import schema
from inputs import Setup
from measure import Report, take_turns

_CODECS = ("none", "snappy", "lz4", "zstd")
_ENCODINGS = ("PLAIN", "BYTE_STREAM_SPLIT")
_IMAGES = 96
_ROWS = 20_000


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    vectors = _make_vectors(setup)
    table = _as_table(vectors)
    report = Report("parquet_codec", "size and reading speed of embeddings by codec and encoding")
    megabytes = vectors.nbytes / 1e6
    report.notes.append(f"{len(vectors):,} embeddings of {vectors.shape[1]}, {megabytes:.0f} MB")
    files = {
        f"{codec} {encoding}": setup.work / f"{codec}.{encoding}.parquet"
        for codec in _CODECS
        for encoding in _ENCODINGS
    }
    for name, file in files.items():
        _write(table, file, *name.split())
    variants = {name: functools.partial(_time_reading, file) for name, file in files.items()}
    seconds = take_turns(variants, setup.rounds, report, warm_up=True)
    for name, file in files.items():
        report.add(f"{name}: size", "of plain", [file.stat().st_size / vectors.nbytes])
        report.add(f"{name}: read", "GB/s", [vectors.nbytes / s / 1e9 for s in seconds[name]])
    return report


def _make_vectors(setup: Setup) -> np.ndarray:
    """Return embeddings, float32 [rows, D]."""
    listed = setup.write_list(setup.photos(_IMAGES))
    output = str(setup.work / "codec")
    flags = ["--input-list", listed, "--model", setup.model, "--output", output]
    processes.time_command(processes.beamvec_command(*flags))
    features = embeddings.open_dataset(output).read_vectors()
    rows = setup.scaled(_ROWS)
    repeated = np.tile(features, (-(-rows // len(features)), 1))[:rows]
    noise = np.random.default_rng(0).normal(1, 1e-3, repeated.shape)
    return (repeated * noise).astype(np.float32)


def _as_table(vectors: np.ndarray) -> pa.Table:
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    values = pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))
    field = schema.table_schema("embeddings").field(schema.EMBEDDING)
    return pa.table([values.cast(field.type)], schema=pa.schema([field]))


def _write(table: pa.Table, file: Path, codec: str, encoding: str) -> None:
    pq.write_table(
        table,
        file,
        compression=codec,
        use_dictionary=False,
        column_encoding={"embedding.list.element": encoding},
        row_group_size=schema.ROW_GROUP_ROWS,
    )


def _time_reading(file: Path) -> float:
    begin = time.perf_counter()
    pq.read_table(file)
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(inputs.run_alone(run, __doc__))
