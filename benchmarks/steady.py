"""Steady state: the whole pipeline against the bound that its parts set, for each variant.

    python benchmarks/steady.py [--images DIR] [--model DIR] [--rounds 3]

The bound is 1 / (1 / model + 1 / decode): the model called on decoded batches by as many threads as
the pipeline has workers, and decoding by the pipeline's own decoders, each alone on all cores. Each
measurement is a process of its own that does the three one after the other; start-up is left out.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import inputs
import processes
from inputs import FLOAT32, Setup, Variant
from measure import Goal, Report, take_turns
from transforms.settings import Engine, Precision

_COUNT = 1_000
_WARM_UP = 64


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    photos = setup.photos(setup.scaled(_COUNT))
    report = Report("steady", "images/s of the whole pipeline, start-up left out, and of its parts")
    report.notes.append(f"{len(photos)} images")
    listed = setup.write_list(photos)
    variants = {v.name: functools.partial(_measure, setup, v, listed) for v in setup.variants}
    results = take_turns(variants, setup.rounds, report)
    pipelines = {name: [r["pipeline"] for r in rounds] for name, rounds in results.items()}
    for name, rounds in results.items():
        for part in ("decode", "model", "pipeline"):
            report.add(f"{name}: {part}", "images/s", [r[part] for r in rounds])
        bounds = [1 / (1 / r["model"] + 1 / r["decode"]) for r in rounds]
        report.add_ratio(f"{name}: pipeline / bound", pipelines[name], bounds, Goal(">=", 0.95))
    base = pipelines.get(FLOAT32.name, [])
    for name in [name for name in pipelines if name != FLOAT32.name]:
        goal = Goal(">=", 1.5) if name == "bfloat16" else None
        report.add_ratio(f"{name} / {FLOAT32.name}: pipeline", pipelines[name], base, goal)
    return report


def _measure(setup: Setup, variant: Variant, listed: str) -> dict[str, float]:
    output = str(setup.work / "steady")
    arguments = ["--child", listed, setup.model, output, variant.precision, variant.engine]
    rates: dict[str, float] = processes.call_script("steady.py", *arguments)
    return rates


def measure_rates(
    listed: str, model: str, output: str, precision: Precision, engine: Engine
) -> dict[str, float]:
    """Return the images/s of decoding alone, of the model alone, and of the pipeline."""
    from transforms.decode import READ_THREADS, decode_chunk
    from transforms.decoders import shared_pool
    from transforms.model import load_model
    from transforms.records import Chunk, ImageRef
    from transforms.settings import DEFAULT_BATCH_SIZE, count_cpus

    loaded = load_model(model, DEFAULT_BATCH_SIZE, precision, engine)
    refs = tuple(ImageRef(path) for path in Path(listed).read_text().splitlines())
    with ThreadPoolExecutor(READ_THREADS) as readers, ThreadPoolExecutor(count_cpus()) as workers:

        def decode(some: tuple[ImageRef, ...]) -> Any:
            chunk = Chunk(0, 0, "", some)
            return decode_chunk(chunk, loaded.input_size, "stretch", readers, shared_pool()).pixels

        def embed(pixels: Any) -> None:
            starts = range(0, len(pixels), DEFAULT_BATCH_SIZE)
            batches = [pixels[start : start + DEFAULT_BATCH_SIZE] for start in starts]
            list(workers.map(loaded.embed, batches))

        embed(decode(refs[:_WARM_UP]))
        begin = time.perf_counter()
        pixels = decode(refs)
        decoded = time.perf_counter()
        embed(pixels)
        embedded = time.perf_counter()
    flags = ["--input-list", listed, "--model", model, "--output", output, "--overwrite"]
    flags += Variant(precision, engine).flags
    return {
        "decode": len(pixels) / (decoded - begin),
        "model": len(pixels) / (embedded - decoded),
        "pipeline": run_pipeline(flags),
    }


def run_pipeline(flags: list[str]) -> float:
    """Run `beamvec extract` in this process, and return its images/s after start-up."""
    from pipeline.main import main

    with contextlib.redirect_stdout(io.StringIO()):
        code = main(["extract", *flags])
    if code:
        raise SystemExit(f"beamvec extract ended with exit code {code}")
    output = flags[flags.index("--output") + 1]
    return float(json.loads(Path(output, "run.json").read_text())["timings"]["images_per_s"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(processes.answer(measure_rates, sys.argv[2:]))
    sys.exit(inputs.run_alone(run, __doc__))
