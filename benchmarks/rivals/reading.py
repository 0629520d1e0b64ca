"""Load a dataset's embeddings, or search them, in one of several ways; print seconds and memory.

python benchmarks/rivals/reading.py VARIANT DATASET
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from beamvec import embeddings

_SKIPPED_CODE = 77
_QUERIES = 10
_BATCH = 10_000


def time_beamvec(path: str) -> float:
    """Load with beamvec."""
    return _time(lambda: embeddings.open_dataset(path).read_vectors())


def time_pandas(path: str) -> float:
    """Load as most people do."""
    import pandas  # noqa: F401 Not to be timed.
    import pyarrow.parquet as pq

    def load() -> np.ndarray:
        table = pq.read_table(f"{path}/embeddings", columns=["embedding"])
        return np.stack(table.to_pandas()["embedding"])

    return _time(load)


def time_embedding_reader(path: str) -> float:
    """Load with embedding-reader."""
    from embedding_reader import EmbeddingReader

    def load() -> np.ndarray:
        reader = EmbeddingReader(
            f"{path}/embeddings", file_format="parquet", embedding_column="embedding"
        )
        vectors = np.empty((reader.count, reader.dimension), np.float32)
        start = 0
        for batch, _ in reader(batch_size=_BATCH, show_progress=False):
            vectors[start : start + len(batch)] = batch
            start += len(batch)
        return vectors

    return _time(load)


def time_search(path: str) -> float:
    """Search an array with beamvec, as its commands do."""
    from threadpoolctl import threadpool_limits

    vectors = embeddings.open_dataset(path).read_vectors()
    with threadpool_limits(1, "blas"):
        return _time(lambda: embeddings.search(vectors, vectors[:_QUERIES]))


def time_search_from_files(path: str) -> float:
    """Search the files with beamvec, in bounded memory."""
    from threadpoolctl import threadpool_limits

    dataset = embeddings.open_dataset(path)
    queries = dataset.take(range(_QUERIES)).vectors
    with threadpool_limits(1, "blas"):
        return _time(lambda: embeddings.search(dataset, queries))


def time_faiss(path: str) -> float:
    """Search with the flat index of faiss, which is to be filled before."""
    import faiss

    vectors = embeddings.open_dataset(path).read_vectors()
    faiss.normalize_L2(vectors)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return _time(lambda: index.search(vectors[:_QUERIES], 10))


_VARIANTS: dict[str, tuple[Callable[[str], float], str]] = {
    "beamvec": (time_beamvec, "numpy"),
    "pandas": (time_pandas, "pandas"),
    "embedding-reader": (time_embedding_reader, "embedding_reader"),
    "beamvec search": (time_search, "numpy"),
    "beamvec search from files": (time_search_from_files, "numpy"),
    "faiss search": (time_faiss, "faiss"),
}


def _time(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _read_peak_mb() -> float:
    """Return the most memory that this process has held (Linux, proc(5), VmHWM)."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> int:
    """Run the variant that the command line names."""
    variant, path = sys.argv[1:]
    call, package = _VARIANTS[variant]
    if not importlib.util.find_spec(package):
        print(f"{package} is not installed", file=sys.stderr)
        return _SKIPPED_CODE
    seconds = call(path)
    print(json.dumps({"seconds": seconds, "peak_mb": _read_peak_mb()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
