"""Steady state: the whole pipeline against the bound that its parts set, for each variant.

    python benchmarks/steady.py [--images DIR] [--model DIR] [--rounds 3]

The bound is 1 / (1 / model + 1 / decode): the model called on decoded batches by as many threads as
the pipeline has workers, and decoding by the pipeline's own decoders, each alone on all cores. Each
measurement is a process of its own, which does half of these before the pipeline and half after it,
so that a machine that slows down meets both. The pipeline's steady state is what the images take by
which a long run exceeds a short one, so that what Beam does once, at the start and at the end of a
run, is left out, as it is in the bound; the figure of the long run has it in. Precision int8 is
calibrated once, on images of the list.
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
from typing import TYPE_CHECKING

import inputs
import processes
from beamvec.transforms.inference.config import DEFAULT_BATCH_SIZE, ModelConfig
from beamvec.transforms.inference.engine import Precision
from beamvec.transforms.machine import count_cpus
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.images import ImageRef
from inputs import FLOAT32, INT8, Setup, Variant
from measure import Goal, Report, take_turns

if TYPE_CHECKING:
    from beamvec.transforms.inference.model import FeatureModel

_COUNT = 1_024  # Whole chunks; a shared machine changes its pace, so short rounds, many of them.
_SHORT_RUN = 4  # The long run has so many times the images of the short one.
_WARM_UP = 64
_CALIBRATION = 352
_GOALS = {"bfloat16": 1.5, INT8.name: 3.3}
_BFLOAT16 = Variant("bfloat16", "openvino")


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    photos = setup.photos(setup.scaled(_COUNT))
    report = Report("steady", "images/s of the whole pipeline and of its parts")
    report.notes.append(f"{len(photos)} images")
    listed = setup.write_list(photos), setup.write_list(photos[::_SHORT_RUN])
    variants = {v.name: functools.partial(_measure, setup, v, listed) for v in setup.variants}
    results = take_turns(variants, setup.rounds, report)
    pipelines = {name: [r["pipeline"] for r in rounds] for name, rounds in results.items()}
    for name, rounds in results.items():
        for part in ("decode", "model", "pipeline", "pipeline, start and end included"):
            report.add(f"{name}: {part}", "images/s", [r[part] for r in rounds])
        bounds = [1 / (1 / r["model"] + 1 / r["decode"]) for r in rounds]
        report.add_ratio(f"{name}: pipeline / bound", pipelines[name], bounds, Goal(">=", 0.95))
    base = pipelines.get(FLOAT32.name, [])
    for name in [name for name in pipelines if name != FLOAT32.name]:
        goal = Goal(">=", _GOALS[name]) if name in _GOALS else None
        report.add_ratio(f"{name} / {FLOAT32.name}: pipeline", pipelines[name], base, goal)
    if INT8.name in pipelines and _BFLOAT16.name in pipelines:
        ours, theirs = pipelines[INT8.name], pipelines[_BFLOAT16.name]
        report.add_ratio(f"{INT8.name} / {_BFLOAT16.name}: pipeline", ours, theirs, Goal(">=", 1.6))
    return report


def _measure(setup: Setup, variant: Variant, listed: tuple[str, str]) -> dict[str, float]:
    output = str(setup.work / "steady")
    arguments = ["--child", *listed, setup.model, output, variant.precision, variant.engine]
    rates: dict[str, float] = processes.call_script("steady.py", *arguments)
    return rates


def measure_rates(
    listed: str, few: str, model: str, output: str, precision: Precision, engine: str
) -> dict[str, float]:
    """Return the images/s of decoding alone, of the model alone, and of the pipeline."""
    from beamvec.transforms.embedding.int8 import prepare_int8
    from beamvec.transforms.inference.model import load_model

    refs = tuple(ImageRef(path) for path in Path(listed).read_text().splitlines())
    config, calibration = ModelConfig(model, engine, precision), ""
    if precision == INT8.precision:
        calibration = link_images([ref.uri for ref in refs[:_CALIBRATION]], f"{output} calibration")
        config = prepare_int8(config, calibration)
    loaded = load_model(config)
    # Whole batches for all threads: a last odd one would lower the bound.
    whole = DEFAULT_BATCH_SIZE * count_cpus()
    half = len(refs) // 2 // whole * whole or len(refs) // 2
    flags = ["--model", model, "--output", output, "--overwrite"]
    flags += Variant(precision, engine).flags
    flags += ["--calibration-images", calibration] if calibration else []
    time_parts(refs[:_WARM_UP], loaded)
    before = time_parts(refs[:half], loaded)
    short_s, short = run_pipeline([*flags, "--input-list", few])
    long_s, long = run_pipeline([*flags, "--input-list", listed])
    after = time_parts(refs[half : 2 * half], loaded)
    return {
        "decode": 2 * half / (before[0] + after[0]),
        "model": 2 * half / (before[1] + after[1]),
        "pipeline": (long - short) / (long_s - short_s),
        "pipeline, start and end included": long / long_s,
    }


def link_images(paths: list[str], folder: str) -> str:
    """Fill a folder with links to images, and return it."""
    Path(folder).mkdir(exist_ok=True)
    for i, path in enumerate(paths):
        link = Path(folder, f"{i:04d}{Path(path).suffix}")
        if not link.is_symlink():
            link.symlink_to(path)
    return folder


def time_parts(refs: tuple[ImageRef, ...], model: FeatureModel) -> tuple[float, float]:
    """Return the seconds to decode images, and to call the model on them afterwards."""
    from beamvec.transforms.decoding.decode import READ_THREADS, decode_chunk
    from beamvec.transforms.decoding.pool import SharedPool
    from beamvec.transforms.decoding.resize import make_resizing

    begin = time.perf_counter()
    chunk, pool = Chunk(0, 0, "", refs), SharedPool().get()
    with ThreadPoolExecutor(READ_THREADS) as readers:
        pixels = decode_chunk(chunk, make_resizing(model.spec), readers, pool).pixels
    decoded = time.perf_counter()
    starts = range(0, len(pixels), DEFAULT_BATCH_SIZE)
    with ThreadPoolExecutor(count_cpus()) as workers:
        list(workers.map(lambda i: model.embed_pixels(pixels[i : i + DEFAULT_BATCH_SIZE]), starts))
    return decoded - begin, time.perf_counter() - decoded


def run_pipeline(flags: list[str]) -> tuple[float, int]:
    """Run `beamvec extract` in this process; return its seconds after start-up, and its images."""
    from beamvec.pipeline.commands.main import main

    with contextlib.redirect_stdout(io.StringIO()):
        code = main(["extract", *flags])
    if code:
        raise SystemExit(f"beamvec extract ended with exit code {code}")
    output = flags[flags.index("--output") + 1]
    run = json.loads(Path(output, "run.json").read_text())
    return float(run["timings"]["run_s"]), int(run["counts"]["inputs"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(processes.answer(measure_rates, sys.argv[2:]))
    sys.exit(inputs.run_alone(run, __doc__))
