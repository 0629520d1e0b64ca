"""`beamvec doctor`: what to check before paying for workers, a line for each thing.

Beam and TensorFlow are imported by the checks that need them, so that one that is missing or broken
is a line too.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipeline import __version__
from pipeline.options import UsageError
from pipeline.units import format_duration, format_size
from transforms.redact import redact
from transforms.settings import count_cpus

_DISTRIBUTION = "beamvec"

Check = Callable[[], str]
"""Returns what was found; raises an error that says what to do, or `_NotGivenError`."""


class _NotGivenError(Exception):
    """The command line names nothing to check; the message says which flag would."""


def run_doctor(args: argparse.Namespace, beam_flags: list[str]) -> int:
    """Run `beamvec doctor`: print a line for each check; return 0, or 2 if one of them failed."""
    marks = [_run_check(name, check) for name, check in _list_checks(args, beam_flags)]
    failed = marks.count("FAIL")
    if failed:
        print(f"{failed} of {len(marks)} checks failed; nothing was run")
        return 2
    print("everything that was checked is fit to run")
    return 0


def _run_check(name: str, check: Check) -> str:
    try:
        mark, text = "ok", check()
    except _NotGivenError as reason:
        mark, text = "-", f"not checked: {reason}"
    except (ValueError, OSError, ImportError) as error:
        mark, text = "FAIL", (str(error).splitlines() or [type(error).__name__])[0]
    print(f"{mark:<4}  {name:<17}  {redact(text)}", flush=True)
    return mark


def _list_checks(args: argparse.Namespace, beam_flags: list[str]) -> Iterator[tuple[str, Check]]:
    """Yield the name of each check and the check, the quick ones first."""
    about = metadata(_DISTRIBUTION)
    yield "beamvec", lambda: __version__
    yield "python", lambda: _check_python(about["Requires-Python"])
    for needed in map(Requirement, about.get_all("Requires-Dist") or ()):
        if needed.marker is None or needed.marker.evaluate({"extra": args.engine}):
            yield needed.name, functools.partial(_check_package, needed)
    yield "cpu", _check_cpu
    yield "gpu", _check_gpu
    yield "flags", lambda: _check_flags(args, beam_flags)
    yield "input", lambda: _check_input(args)
    yield "output", lambda: _check_output(args)
    yield "runner", lambda: _check_runner(args, beam_flags)
    yield "model", lambda: _check_model(args, beam_flags)


def _check_python(tested: str) -> str:
    found = platform.python_version()
    if found not in SpecifierSet(tested):
        raise UsageError(f"{found} is outside the tested range {tested}")
    return f"{found}  (tested: {tested})"


def _check_package(needed: Requirement) -> str:
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        raise UsageError(f"not installed: pip install '{needed.name}{needed.specifier}'") from None
    if found not in needed.specifier:
        raise UsageError(
            f"{found} is outside the tested range: pip install '{needed.name}{needed.specifier}'"
        )
    tested = ",".join(sorted(map(str, needed.specifier), reverse=True))
    return f"{found}  (tested: {tested})"


def _check_cpu() -> str:
    from transforms.tensorflow_engine import BFLOAT16_FLAGS, read_cpu_flags

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    flags = BFLOAT16_FLAGS & read_cpu_flags()
    use = f"{' '.join(sorted(flags))}: bfloat16 is of use" if flags else "bfloat16 is of no use"
    return f"{count_cpus()} cores, {format_size(memory)} of memory, {use}"


def _check_gpu() -> str:
    from transforms.saved_model import import_tensorflow

    gpus = import_tensorflow().config.list_physical_devices("GPU")
    return f"{len(gpus)} that TensorFlow can use" if gpus else "none that TensorFlow can use"


def _check_flags(args: argparse.Namespace, beam_flags: list[str]) -> str:
    from pipeline.config import build_beam_options, check_ranges

    check_ranges(args)
    build_beam_options(beam_flags)
    return "all known, all numbers in range"


def _check_input(args: argparse.Namespace) -> str:
    if not (args.input or args.input_list or args.manifest):
        raise _NotGivenError("give --input, --input-list or --manifest")
    uri, data, read_s = _read_first(args)
    return (
        f"the first image, {uri}, {format_size(len(data))}, was read in {format_duration(read_s)}"
    )


def _read_first(args: argparse.Namespace) -> tuple[str, bytes, float]:
    """Read the first image of the input; return its uri, its content and the seconds it took."""
    from pipeline.config import build_input
    from transforms import storage
    from transforms.match import first_image

    ref = first_image(build_input(args))
    if ref is None:
        raise UsageError("the input names no image")
    started = time.perf_counter()
    result = storage.try_read(ref.uri)
    if result.error is not None:
        raise UsageError(f"the first image cannot be read: {ref.uri}: {result.error}")
    return ref.uri, result.data, time.perf_counter() - started


def _check_output(args: argparse.Namespace) -> str:
    if not args.output:
        raise _NotGivenError("give --output")
    from pipeline.config import build_output
    from transforms import storage

    output = build_output(args.output)
    if not storage.is_local(output):
        probe = storage.join(output, f"doctor-{uuid.uuid4().hex}")
        storage.write_file(probe, b"beamvec doctor")
        storage.delete(probe)
        return f"{output} can be written"
    folder = next(place for place in (Path(output), *Path(output).parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"beamvec doctor")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    return f"{output} can be written; {format_size(shutil.disk_usage(folder).free)} are free"


def _check_runner(args: argparse.Namespace, beam_flags: list[str]) -> str:
    from pipeline.config import build_beam_options
    from pipeline.dataflow import is_dataflow, prepare_dataflow
    from pipeline.runners import check_reachable, choose_runner, is_local_runner

    options = build_beam_options(beam_flags)
    here = is_local_runner(options)
    where = "on this machine" if here else "which answers where an address is given"
    if is_dataflow(options):
        prepare_dataflow(args, options)
        where = "on Google Cloud, which was not asked; the options make sense"
    runner = choose_runner(options)
    check_reachable(options)
    return f"{type(runner).__name__}, {where}"


def _check_model(args: argparse.Namespace, beam_flags: list[str]) -> str:
    """Load the model as a run would, and embed the first image, or a black one without input."""
    from pipeline.config import build_beam_options
    from pipeline.model import load_to_launch
    from pipeline.runners import is_local_runner
    from transforms.decoders import DecoderError, shared_pool

    local = is_local_runner(build_beam_options(beam_flags))
    started = time.perf_counter()
    model = load_to_launch(args, local)
    load_s = time.perf_counter() - started
    size = model.input_size
    pixels = np.zeros((size, size, 3), np.uint8)
    what = "a black image"
    if args.input or args.input_list or args.manifest:
        try:
            _, data, _ = _read_first(args)
            pixels = shared_pool().decode(data, size, args.resize).pixels
            what = "the first image"
        except (ValueError, OSError, DecoderError) as error:
            what = f"a black image (the first one of the input fails: {error})"
    started = time.perf_counter()
    features = model.embed(pixels[np.newaxis])
    embed_s = time.perf_counter() - started
    if not np.isfinite(features).all():
        raise UsageError(f"{args.model} makes NaN or infinity of {what}")
    return (
        f"{args.model}: {size}x{size} pixels to {model.dimension} numbers; loaded in "
        f"{format_duration(load_s)}, embedded {what} in {format_duration(embed_s)}"
    )
