"""Images in tar and in Parquet against the same images as files: the steady state of each, in turn.

    python benchmarks/containers.py [--images DIR] [--model DIR] [--rounds 3]

The steady state is what the images take by which a long run exceeds a short one, as in `steady.py`;
decoding is the chunks' images read and decoded by the pipeline's own decoders, without a model. The
containers are written before, with a row group of 100 images in Parquet, as Hugging Face has it.
"""

from __future__ import annotations

import functools
import io
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

import inputs
import processes
from inputs import FLOAT32, Setup
from measure import Goal, Report, take_turns
from steady import run_pipeline

if TYPE_CHECKING:
    from beamvec.transforms.inference.model import FeatureModel
    from beamvec.transforms.inputs.source import Source

_COUNT = 1_024  # Whole chunks.
_SHORT_RUN = 4  # The long run has so many times the images of the short one.
_ROWS_PER_GROUP = 100


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    photos = setup.photos(setup.scaled(_COUNT))
    report = Report("containers", "images/s from containers, and from files of their own")
    report.notes.append(f"{len(photos)} images")
    variants = {
        kind: functools.partial(_measure, setup, flag, *_write_both(setup, write, kind, photos))
        for kind, (flag, write) in _KINDS.items()
    }
    results = take_turns(variants, setup.rounds, report)
    for part in ("decode", "pipeline"):
        base = [rates[part] for rates in results.get("files", [])]
        goal = Goal(">=", 0.9) if part == "pipeline" else None
        for kind, rounds in results.items():
            rates = [each[part] for each in rounds]
            report.add(f"{kind}: {part}", "images/s", rates)
            if kind != "files":
                report.add_ratio(f"{kind} / files: {part}", rates, base, goal)
    return report


def _write_both(
    setup: Setup, write: Callable[[Path, list[str]], None], kind: str, photos: list[str]
) -> tuple[str, str]:
    paths = setup.work / f"long.{kind}", setup.work / f"short.{kind}"
    for path, some in zip(paths, (photos, photos[::_SHORT_RUN]), strict=True):
        write(path, some)
    return str(paths[0]), str(paths[1])


def _write_list(path: Path, photos: list[str]) -> None:
    path.write_text("".join(f"{photo}\n" for photo in photos))


def _write_tar(path: Path, photos: list[str]) -> None:
    with tarfile.open(path, "w") as tar:
        for i, photo in enumerate(photos):
            content = Path(photo).read_bytes()
            member = tarfile.TarInfo(f"{i:08d}.jpg")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _write_parquet(path: Path, photos: list[str]) -> None:
    type_ = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [{"bytes": Path(photo).read_bytes(), "path": photo} for photo in photos]
    table = pa.table({"image": pa.array(images, type_)})
    pq.write_table(table, path, row_group_size=_ROWS_PER_GROUP)


_KINDS = {
    "files": ("--input-list", _write_list),
    "tar": ("--input-tar", _write_tar),
    "parquet": ("--input-parquet", _write_parquet),
}


def _measure(setup: Setup, flag: str, long: str, short: str) -> dict[str, float]:
    output = str(setup.work / "containers")
    arguments = ["--child", flag, long, short, setup.model, output]
    rates: dict[str, float] = processes.call_script("containers.py", *arguments)
    return rates


def measure_rates(flag: str, long: str, short: str, model: str, output: str) -> dict[str, float]:
    """Return the images/s of reading and decoding alone, and of the pipeline."""
    from beamvec.transforms.inference.config import ModelConfig
    from beamvec.transforms.inference.model import load_model
    from beamvec.transforms.inputs.registry import make_source

    loaded = load_model(ModelConfig(model, FLOAT32.engine, FLOAT32.precision))
    source = make_source({flag.removeprefix("--").replace("-", "_"): long}).check()
    flags = ["--model", model, "--output", output, "--overwrite", flag]
    time_decoding(source, loaded)
    decode_s, count = time_decoding(source, loaded)
    short_s, few = run_pipeline([*flags, short])
    long_s, many = run_pipeline([*flags, long])
    return {"decode": count / decode_s, "pipeline": (many - few) / (long_s - short_s)}


def time_decoding(source: Source, model: FeatureModel) -> tuple[float, int]:
    """Return the seconds to read and decode a source's images, chunk by chunk, and their number."""
    from beamvec.pipeline.run.config import DEFAULT_CHUNK_SIZE
    from beamvec.transforms.decoding.decode import READ_THREADS, decode_chunk
    from beamvec.transforms.decoding.pool import SharedPool
    from beamvec.transforms.decoding.resize import make_resizing
    from beamvec.transforms.planning.plan import plan_chunks

    refs = list(source.list_images())
    chunks = plan_chunks(0, refs, DEFAULT_CHUNK_SIZE, "", source.run_key)
    pool, resizing = SharedPool().get(), make_resizing(model.spec)
    begin = time.perf_counter()
    with ThreadPoolExecutor(READ_THREADS) as threads:
        for chunk in chunks:
            decode_chunk(chunk, resizing, threads, pool, source.reader)
    return time.perf_counter() - begin, len(refs)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(processes.answer(measure_rates, sys.argv[2:]))
    sys.exit(inputs.run_alone(run, __doc__))
