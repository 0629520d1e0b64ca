"""Whole-pipeline throughput against the bare model, in turn, in one run.

    python benchmarks/throughput.py [--images DIR] [--model DIR] [--rounds 3] [--chunk-size N ...]

The bare model is `FeatureModel.embed` in a loop over batches that lie decoded in memory: the upper
bound for a pipeline that also reads, decodes, writes and merges. Start-up is left out of both.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import inputs
from pipeline.main import main as beamvec
from transforms.decode import decode_chunk
from transforms.decoders import shared_pool
from transforms.match import expand_pattern
from transforms.model import load_model
from transforms.records import Chunk
from transforms.settings import DEFAULT_BATCH_SIZE, DEFAULT_CHUNK_SIZE


def run_bare(pixels: np.ndarray, model: str) -> float:
    """Return the images/s of the bare model on decoded images."""
    loaded = load_model(model, DEFAULT_BATCH_SIZE)
    start = time.perf_counter()
    loaded.embed(pixels)
    return len(pixels) / (time.perf_counter() - start)


def run_pipeline(images: Path, model: str, output: Path, chunk_size: int) -> float:
    """Return the images/s of `beamvec extract`, from the start of the pipeline to `_SUCCESS`."""
    command = ["extract", "--input", str(images), "--model", model, "--output", str(output)]
    with contextlib.redirect_stdout(io.StringIO()):
        code = beamvec([*command, "--overwrite", "--chunk-size", str(chunk_size)])
    if code not in (0, 1):
        raise SystemExit(f"beamvec extract ended with exit code {code}")
    return float(json.loads((output / "run.json").read_text())["timings"]["images_per_s"])


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    inputs.add_input_flags(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=512, help="images to make")
    parser.add_argument("--chunk-size", type=int, nargs="+", default=[DEFAULT_CHUNK_SIZE])
    args = parser.parse_args()
    with inputs.make_work_folder() as folder:
        work = Path(folder)
        images, model = inputs.find_images(args, work, args.count), inputs.find_model(args, work)
        size = load_model(model, DEFAULT_BATCH_SIZE).input_size
        refs = tuple(expand_pattern(str(images)))
        with ThreadPoolExecutor() as threads:
            pixels = decode_chunk(
                Chunk(0, 0, "", refs), size, "stretch", threads, shared_pool()
            ).pixels
        print(inputs.describe_machine())
        print(f"{len(refs)} images, medians of {args.rounds} rounds, run in turn")
        bare: list[float] = []
        whole: dict[int, list[float]] = {chunk_size: [] for chunk_size in args.chunk_size}
        for _ in range(args.rounds):
            bare.append(run_bare(pixels, model))
            for chunk_size, rates in whole.items():
                rates.append(run_pipeline(images, model, work / "out", chunk_size))
        print(f"{'bare model':<26}{statistics.median(bare):8.1f} images/s")
        for chunk_size, rates in whole.items():
            ratios = [rate / bound for rate, bound in zip(rates, bare, strict=True)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(
                f"pipeline, chunks of {chunk_size:<6}{statistics.median(rates):8.1f} images/s, "
                f"{statistics.median(ratios):.2f} of the bare model ({spread})"
            )


if __name__ == "__main__":
    main()
