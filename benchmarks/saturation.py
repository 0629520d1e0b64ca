"""How many images/s one process of beamvec can take, were decoding and the model as fast as that.

    python benchmarks/saturation.py [--rounds 3]

A machine of sixteen cores or a GPU is stood in for: sixteen decoder processes that read no image
and sleep 1/500 s instead of decoding one, and a model that sleeps and computes nothing, called by
sixteen worker threads. All else is a run of `beamvec extract`, from listing to writing, of 224 x
224 pixels and 2,048 numbers an image. What the parent process itself computes for an image sets the
limit: Python lets one thread of it compute at a time, so that it takes no more images a second than
fit into one second of that. What copying pixels and making chunk files takes does not count for it,
as numpy, Arrow and SHA-256 let go of Python's lock. Where there are few cores, all of it and the
decoders' own work compete for them, and the measured rate lies below the limit. Merging the chunk
files comes after, a part by a thread.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import inputs
import processes
from inputs import Setup
from measure import Goal, Report, take_turns

_COUNT = 32_768
_DISTINCT = 64
_SIZES = ((64, 48),)
_CORES = 16
_DECODE_S = 1 / 500
_MODEL_RATE = 20_000
_SIZE, _DIMENSION = 224, 2_048


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    report = Report("saturation", "images/s that one process takes, with stand-ins for the rest")
    count = setup.scaled(_COUNT)
    report.notes.append(f"{count:,} images, {_CORES} decoders and worker threads")
    folder = setup.work / "stand-ins"
    folder.mkdir(exist_ok=True)
    listed = setup.work / "saturation.txt"
    photos = inputs.make_photos(folder, count, _SIZES, _DISTINCT)
    listed.write_text("".join(f"{photo}\n" for photo in photos))
    arguments = ["--child", str(listed), setup.model, str(setup.work / "saturated")]
    measured = functools.partial(processes.call_script, "saturation.py", *arguments)
    rounds = take_turns({"stand-ins": measured}, setup.rounds, report).get("stand-ins", [])
    if rounds:
        report.add("images", "images/s", [each["rate"] for each in rounds])
        report.add("the parent's CPU", "us/image", [each["cpu_us"] for each in rounds])
        report.add("of it without Python's lock", "us/image", [each["free_us"] for each in rounds])
        limits = [1e6 / (each["cpu_us"] - each["free_us"]) for each in rounds]
        report.add("limit: the rest on one core", "images/s", limits, Goal(">=", 6_000))
    return report


def decode(
    data: bytes,  # noqa: ARG001
    resizing: Any,  # noqa: ARG001
    before_large: Any,  # noqa: ARG001
    max_pixels: int,  # noqa: ARG001
) -> Any:
    """Stand in for `decode_image`: sleep, and return the pixels that there are."""
    time.sleep(_DECODE_S)
    return _decoded()


@functools.cache
def _decoded() -> Any:
    from beamvec.transforms.decoding.pixels import DecodedImage

    return DecodedImage(np.zeros((_SIZE, _SIZE, 3), np.uint8), 64, 48, "JPEG")


def _compile(files: Any, said: Any, config: Any) -> Any:  # noqa: ARG001
    from beamvec.model_spec import ModelSpec
    from beamvec.transforms.inference.engine import CompiledModel

    rng = np.random.default_rng(0)
    features = rng.random((config.batch_size, _DIMENSION), np.float32)
    seconds = config.batch_size * _CORES / _MODEL_RATE

    def call(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if pixels.any():  # The launcher's own look at the model, which wants differences.
            return rng.random((len(pixels), _DIMENSION), np.float32)
        time.sleep(seconds)
        return features

    return CompiledModel(ModelSpec(size=_SIZE, dimension=_DIMENSION), "stand-in", call)


def measure(listed: str, model: str, output: str) -> dict[str, float]:
    """Run `beamvec.extract` with the stand-ins; return images/s and the parent's CPU an image."""
    import dataclasses

    from beamvec.pipeline.run import launch, trial
    from beamvec.pipeline.run.config import make_config
    from beamvec.transforms.inference.registry import ENGINES

    launch.SharedPool = functools.partial(  # type: ignore[misc]
        launch.SharedPool, count=_CORES, decoder="saturation:decode"
    )
    freed = _time_unlocked()
    engine = ENGINES["tensorflow"]
    ENGINES["tensorflow"] = dataclasses.replace(engine, compile=_compile)
    marks = trial.Marks()
    arguments = {"input_list": listed, "model": model, "output": output, "overwrite": True}
    flags = [f"--direct_num_workers={_CORES}"]
    launch.run_extraction(make_config(arguments), flags, marks)
    steady = trial.find_steady(marks.points)
    if steady is None:
        raise SystemExit("it ended before it could be measured")
    start, end = steady
    images = end.done - start.done
    rate = images / (end.seconds - start.seconds)
    return {
        "rate": rate,
        "cpu_us": (end.cpu_s - start.cpu_s) / images * 1e6,
        "free_us": sum(freed) / marks.points[-1].done * 1e6,
    }


def _time_unlocked() -> list[float]:
    """Have the calls timed that copy pixels, and make chunk files.

    Returns:
        The seconds of CPU time of each such call, to be filled.
    """
    from beamvec.transforms.decoding.reading import ImageFile
    from beamvec.transforms.output import chunk_files

    seconds: list[float] = []

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def run_timed(*args: Any) -> Any:
            start = time.thread_time()
            result = call(*args)
            seconds.append(time.thread_time() - start)
            return result

        return run_timed

    ImageFile.keep = timed(ImageFile.keep)  # type: ignore[method-assign]
    chunk_files.seal_chunk = timed(chunk_files.seal_chunk)
    return seconds


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(processes.answer(measure, sys.argv[2:]))
    sys.exit(inputs.run_alone(run, __doc__))
