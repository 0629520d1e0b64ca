"""Size and reading speed of embeddings by codec and encoding: why the files are as they are.

    python benchmarks/parquet_codec.py [--images DIR] [--model DIR] [--rows 20000] [--rounds 5]

The embeddings are those of a model on photographs, repeated with noise of one per mille.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import inputs
from embeddings import schema
from transforms.decode import decode_chunk
from transforms.decoders import shared_pool
from transforms.match import expand_pattern
from transforms.model import load_model
from transforms.records import Chunk
from transforms.settings import DEFAULT_BATCH_SIZE

_CODECS = ("none", "snappy", "lz4", "zstd")
_ENCODINGS = ("PLAIN", "BYTE_STREAM_SPLIT")
_IMAGES = 96


def make_vectors(args: argparse.Namespace, work: Path) -> np.ndarray:
    """Return embeddings, float32 [rows, D]."""
    images, model = inputs.find_images(args, work, _IMAGES), inputs.find_model(args, work)
    loaded = load_model(model, DEFAULT_BATCH_SIZE)
    refs = tuple(expand_pattern(str(images)))[:_IMAGES]
    with ThreadPoolExecutor() as threads:
        decoded = decode_chunk(
            Chunk(0, 0, "", refs), loaded.input_size, "stretch", threads, shared_pool()
        )
    features = loaded.embed(decoded.pixels)
    repeated = np.tile(features, (-(-args.rows // len(features)), 1))[: args.rows]
    noise = np.random.default_rng(0).normal(1, 1e-3, repeated.shape)
    return (repeated * noise).astype(np.float32)


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    inputs.add_input_flags(parser)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with inputs.make_work_folder() as folder:
        work = Path(folder)
        vectors = make_vectors(args, work)
        offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
        values = pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))
        field = schema.embeddings_schema().field(schema.EMBEDDING)
        table = pa.table([values.cast(field.type)], schema=pa.schema([field]))
        ways = [(codec, encoding) for codec in _CODECS for encoding in _ENCODINGS]
        for codec, encoding in ways:
            pq.write_table(
                table,
                work / f"{codec}.{encoding}.parquet",
                compression=codec,
                use_dictionary=False,
                column_encoding={"embedding.list.element": encoding},
                row_group_size=schema.ROW_GROUP_ROWS,
            )
        speeds: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
        for _ in range(args.rounds):
            for codec, encoding in ways:
                start = time.perf_counter()
                pq.read_table(work / f"{codec}.{encoding}.parquet")
                seconds = time.perf_counter() - start
                speeds[codec, encoding].append(vectors.nbytes / seconds / 1e9)
        print(inputs.describe_machine())
        print(f"{len(vectors):,} embeddings of {vectors.shape[1]}, {vectors.nbytes / 1e6:.0f} MB")
        for codec, encoding in ways:
            size = (work / f"{codec}.{encoding}.parquet").stat().st_size / vectors.nbytes
            speed = statistics.median(speeds[codec, encoding])
            print(f"{codec:<8}{encoding:<18} size {size:.3f}, read {speed:.2f} GB/s")


if __name__ == "__main__":
    main()
