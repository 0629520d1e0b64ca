"""What `gpu.py` measures in processes of their own: a thing each, named by the first argument."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

import processes
import steady
from beamvec.transforms.inference.config import Device, ModelConfig
from beamvec.transforms.inference.engine import Precision, Xla
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.machine import count_cpus
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.images import ImageRef

IN_FLIGHT = (1, 2)

_COMPARED = 256  # Images that the CPU embeds too.


def check_device() -> bool:
    """Return True; raise `ModelError` where TensorFlow sees no GPU."""
    from beamvec.transforms.inference.tensorflow_engine import check_gpu

    check_gpu()
    return True


def measure_reference(work: str, model: str, listed: str) -> float:
    """Decode photographs, keep their pixels and embed some on the CPU; return decoded images/s."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    from beamvec.transforms.decoding.decode import READ_THREADS, decode_chunk
    from beamvec.transforms.decoding.pool import SharedPool
    from beamvec.transforms.decoding.resize import make_resizing

    loaded = load_model(ModelConfig(model, "tensorflow"))
    refs = tuple(ImageRef(path) for path in Path(listed).read_text().splitlines())
    resizing, pool = make_resizing(loaded.spec), SharedPool().get()
    with ThreadPoolExecutor(READ_THREADS) as readers:
        warm = Chunk(0, 0, "", refs[: 4 * count_cpus()])
        decode_chunk(warm, resizing, readers, pool)
        begin = time.perf_counter()
        pixels = decode_chunk(Chunk(0, 0, "", refs), resizing, readers, pool).pixels
        seconds = time.perf_counter() - begin
    np.save(Path(work, "pixels.npy"), pixels)
    np.save(Path(work, "reference.npy"), loaded.embed_pixels(pixels[:_COMPARED]))
    return len(refs) / seconds


def measure_model(
    work: str, model: str, device: str, precision: str, xla: str, batch_size: str, count: str
) -> dict[str, Any]:
    """Return the fields of a `Measured`, of the model alone on pixels that were decoded before."""
    pixels, reference = (np.load(Path(work, f"{name}.npy")) for name in ("pixels", "reference"))
    pixels = pixels[: int(count)]
    size = int(batch_size)
    begin = time.perf_counter()
    config = ModelConfig(
        model,
        "tensorflow",
        cast(Precision, precision),
        size,
        cast(Device, "gpu" if device == "gpu" else "any"),
        xla=cast(Xla, xla),
    )
    loaded = load_model(config)
    loaded.embed_pixels(pixels[:size])
    load_s = time.perf_counter() - begin
    vectors = loaded.embed_pixels(pixels[: len(reference)])
    rates = []
    for in_flight in IN_FLIGHT:
        limited = replace(loaded, in_flight=in_flight)
        limited.embed_pixels(pixels[: 2 * size])
        begin = time.perf_counter()
        limited.embed_pixels(pixels)
        rates.append(len(pixels) / (time.perf_counter() - begin))
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference[: len(vectors)], axis=1)
    cosines = (vectors * reference[: len(vectors)]).sum(axis=1) / lengths
    return {
        "rates": rates,
        "load_s": load_s,
        "sha256": hashlib.sha256(vectors.tobytes()).hexdigest(),
        "least": float(cosines.min()),
        "mean": float(cosines.mean()),
    }


def measure_pipeline(listed: str, few: str, *flags: str) -> float:
    """Return the images/s by which a long run takes longer than a short one."""
    short_s, short = steady.run_pipeline([*flags, "--input-list", few])
    long_s, long = steady.run_pipeline([*flags, "--input-list", listed])
    # Of a few images the start may take longer than all else; see `--quick`.
    return (long - short) / (long_s - short_s) if long_s > short_s else long / long_s


_PARTS: dict[str, Callable[..., Any]] = {
    "check": check_device,
    "reference": measure_reference,
    "model": measure_model,
    "pipeline": measure_pipeline,
}

if __name__ == "__main__":
    sys.exit(processes.answer(_PARTS[sys.argv[1]], sys.argv[2:]))
