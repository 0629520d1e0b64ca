"""Decoding: the pool by SIMD, the pool by Pillow, and bare processes that decode the same files.

    python benchmarks/decoding.py [--images DIR] [--rounds 3] [--size 224]

A round is a process that has them take turns on the same files, so that a machine that changes its
pace meets all of them. The pool decodes as it does in a run: chunk by chunk, as many at the same
time as there are cores. Bare processes read, hash, decode and resize by SIMD too, as many as the
pool has, but give nothing to anybody; each one's own pace counts, without waiting for the others.
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import inputs
import processes
from beamvec.transforms.decoding.decode import READ_THREADS, decode_chunk
from beamvec.transforms.decoding.limits import DEFAULT_MAX_FILE_SIZE
from beamvec.transforms.decoding.pool import DecoderPool
from beamvec.transforms.decoding.resize import Resizing, choose_resizer
from beamvec.transforms.machine import count_cpus
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.images import ImageRef
from inputs import Setup
from measure import Goal, Report, take_turns

_PHOTOS = 768
_LARGE = 192
_LARGE_SIZE = (1632, 1224)
_DISTINCT = 24
_TURNS = 4
_CHUNK = 64
_GOALS = {"photographs": 1.45, "2 megapixels": 1.35}


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    report = Report("decoding", "images/s of reading, hashing, decoding and resizing")
    if choose_resizer() != "simd":
        report.skipped["simd"] = "there is no cykooz-resizer for this machine"
        return report
    folder = setup.work / "megapixels"
    folder.mkdir()
    large = inputs.make_photos(folder, setup.scaled(_LARGE), (_LARGE_SIZE,), _DISTINCT)
    files = {"photographs": setup.photos(setup.scaled(_PHOTOS)), "2 megapixels": large}
    measures = {kind: functools.partial(_measure, setup, each) for kind, each in files.items()}
    for kind, rounds in take_turns(measures, setup.rounds, report).items():
        report.notes.append(f"{kind}: {len(files[kind])} images")
        rates = {way: [found[way] for found in rounds] for way in ("simd", "pillow", "bare")}
        report.add(f"{kind}: pool", "images/s", rates["simd"])
        report.add(f"{kind}: pool, by Pillow", "images/s", rates["pillow"])
        report.add(f"{kind}: bare processes", "images/s", rates["bare"])
        goal = Goal(">=", _GOALS[kind])
        report.add_ratio(f"{kind}: SIMD / Pillow", rates["simd"], rates["pillow"], goal)
        goal = Goal(">=", 0.95)
        report.add_ratio(f"{kind}: pool / bare processes", rates["simd"], rates["bare"], goal)
    return report


def _measure(setup: Setup, files: list[str]) -> dict[str, float]:
    arguments = ("--child", setup.write_list(files), str(setup.size))
    rates: dict[str, float] = processes.call_script("decoding.py", *arguments)
    return rates


def measure_rates(listed: str, size: str) -> dict[str, float]:
    """Return the images/s of each way."""
    files = Path(listed).read_text().splitlines()
    simd, pillow = (Resizing(int(size), resizer=way) for way in ("simd", "pillow"))
    spawn = multiprocessing.get_context("spawn")
    pool = DecoderPool(count_cpus())
    seconds = {"simd": 0.0, "pillow": 0.0}
    paces: list[float] = []
    with (
        ProcessPoolExecutor(count_cpus(), spawn) as bare,
        ThreadPoolExecutor(READ_THREADS * count_cpus()) as lanes,
    ):
        for turn in range(-1, _TURNS):
            for resizing in (simd, pillow):
                taken = _time_pool(files, resizing, lanes, pool)
                seconds[resizing.resizer] += taken if turn >= 0 else 0
            pace = _time_bare(files, simd, bare)
            paces += [pace] if turn >= 0 else []
    pool.close()
    rates = {way: _TURNS * len(files) / taken for way, taken in seconds.items()}
    return {**rates, "bare": len(paces) / sum(1 / pace for pace in paces)}


def _time_pool(
    files: Sequence[str], resizing: Resizing, lanes: ThreadPoolExecutor, pool: DecoderPool
) -> float:
    begin = time.perf_counter()
    refs = tuple(ImageRef(file, Path(file).stat().st_size) for file in files)
    chunks = [Chunk(0, 0, "", refs[at : at + _CHUNK]) for at in range(0, len(refs), _CHUNK)]
    with ThreadPoolExecutor(count_cpus()) as workers:
        for decoded in workers.map(lambda each: decode_chunk(each, resizing, lanes, pool), chunks):
            assert not decoded.failures
    return time.perf_counter() - begin


def _time_bare(files: Sequence[str], resizing: Resizing, bare: ProcessPoolExecutor) -> float:
    """Return the images/s of all processes together."""
    count = count_cpus()
    shares = [files[i::count] for i in range(count)]
    taken = bare.map(_decode_all, shares, [resizing] * count)
    return sum(len(share) / seconds for share, seconds in zip(shares, taken, strict=True))


def _decode_all(files: Sequence[str], resizing: Resizing) -> float:
    from beamvec.transforms.decoding.pixels import decode_image
    from beamvec.transforms.decoding.process import decode_file

    begin = time.perf_counter()
    decode = functools.partial(decode_image, resizing=resizing)
    for file in files:
        assert decode_file(file, decode, DEFAULT_MAX_FILE_SIZE).image
    return time.perf_counter() - begin


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(processes.answer(measure_rates, sys.argv[2:]))
    sys.exit(inputs.run_alone(run, __doc__))
