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
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from beamvec import __version__
from beamvec.errors import ArgumentError, BeamvecError
from beamvec.pipeline.commands.flags import flag_of, name_flags
from beamvec.pipeline.terminal import show
from beamvec.pipeline.units import format_duration, format_size
from beamvec.redact import redact
from beamvec.transforms.inference.registry import ENGINES
from beamvec.transforms.inputs.registry import SOURCES
from beamvec.transforms.inputs.source import Source
from beamvec.transforms.machine import count_cpus, has_fast_int8, read_cpu_flags

_DISTRIBUTION = "beamvec"

Check = Callable[[], str]
"""Returns what was found; raises an error that says what to do, or `_NotGivenError`."""


class _DoubtError(Exception):
    """Something looks wrong, but a run would work."""


class _NotGivenError(Exception):
    """The command line names nothing to check; the message says which flag would."""


def run(args: argparse.Namespace, beam_flags: list[str]) -> int:
    """Run `beamvec doctor`: print a line for each check; return 0, or 2 if one of them failed."""
    checks = _list_checks(args, beam_flags)
    marks = [_run_check(name, check, args.parser.flags) for name, check in checks]
    failed = marks.count("FAIL")
    if failed:
        show(f"{failed} of {len(marks)} checks failed; nothing was run")
        return 2
    doubted = marks.count("WARN")
    show("everything that was checked is fit to run" + (", but see WARN" if doubted else ""))
    return 0


def _run_check(name: str, check: Check, flags: Mapping[str, str]) -> str:
    try:
        mark, text = "ok", check()
    except _NotGivenError as reason:
        mark, text = "-", f"not checked: {reason}"
    except _DoubtError as doubt:
        mark, text = "WARN", str(doubt)
    except (BeamvecError, OSError, ImportError) as error:
        mark, text = "FAIL", (str(error).splitlines() or [type(error).__name__])[0]
    show(f"{mark:<4}  {name:<17}  {redact(name_flags(text, flags))}")
    return mark


def _list_checks(args: argparse.Namespace, beam_flags: list[str]) -> Iterator[tuple[str, Check]]:
    """Yield the name of each check and the check, the quick ones first."""
    about = metadata(_DISTRIBUTION)
    yield "beamvec", lambda: __version__
    yield "python", lambda: _check_python(about["Requires-Python"])
    for needed in map(Requirement, about.get_all("Requires-Dist") or ()):
        if needed.marker is None or needed.marker.evaluate(
            {"extra": (ENGINES[args.engine].extra if args.engine else None) or ""}
        ):
            yield needed.name, functools.partial(_check_package, needed)
    yield "cpu", _check_cpu
    yield "gpu", _check_gpu
    yield "flags", lambda: _check_flags(args, beam_flags)
    yield "input", lambda: _check_input(args)
    yield "output", lambda: _check_output(args)
    yield "runner", lambda: _check_runner(args, beam_flags)
    yield "model", lambda: _check_model(args, beam_flags)
    yield "embeddings", lambda: _check_embeddings(args, beam_flags)


def _check_python(tested: str) -> str:
    found = platform.python_version()
    if found not in SpecifierSet(tested):
        raise ArgumentError(f"{found} is outside the tested range {tested}")
    return f"{found}  (tested: {tested})"


def _check_package(needed: Requirement) -> str:
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        raise ArgumentError(
            f"not installed: pip install '{needed.name}{needed.specifier}'"
        ) from None
    if found not in needed.specifier:
        raise ArgumentError(
            f"{found} is outside the tested range: pip install '{needed.name}{needed.specifier}'"
        )
    tested = ",".join(sorted(map(str, needed.specifier), reverse=True))
    return f"{found}  (tested: {tested})"


def _check_cpu() -> str:
    from beamvec.transforms.inference.tensorflow_engine import BFLOAT16_FLAGS

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    flags = BFLOAT16_FLAGS & read_cpu_flags()
    use = f"{' '.join(sorted(flags))}: bfloat16 is of use" if flags else "bfloat16 is of no use"
    if has_fast_int8():
        use += "; int8 takes some 2 to 3 times as many images as float32: see `beamvec tune`"
    return f"{count_cpus()} cores, {format_size(memory)} of memory, {use}"


def _check_gpu() -> str:
    from beamvec.transforms.inference.model_files import import_tensorflow

    gpus = import_tensorflow().config.list_physical_devices("GPU")
    return f"{len(gpus)} that TensorFlow can use" if gpus else "none that TensorFlow can use"


def _check_flags(args: argparse.Namespace, beam_flags: list[str]) -> str:
    from beamvec.pipeline.run.beam_options import parse_beam_flags
    from beamvec.pipeline.run.config import check_ranges, make_model_config

    check_ranges(vars(args))
    make_model_config(vars(args))
    parse_beam_flags(beam_flags, list(args.parser.flags.values()))
    return "all known, all numbers in range"


def _names_input(args: argparse.Namespace) -> bool:
    return any(getattr(args, kind.kind) for kind in SOURCES)


def _check_input(args: argparse.Namespace) -> str:
    if not _names_input(args):
        known = [flag_of(kind.kind) for kind in SOURCES]
        raise _NotGivenError(f"give {', '.join(known[:-1])} or {known[-1]}")
    uri, data, read_s = _read_first(args)
    return (
        f"the first image, {uri}, {format_size(len(data))}, was read in {format_duration(read_s)}"
    )


def _find_source(args: argparse.Namespace) -> Source:
    """Check the input, once: what comes through a pipe is there only once."""
    from beamvec.transforms.inputs.registry import make_source

    if not hasattr(args, "source"):
        args.source = make_source(vars(args)).check()
    source: Source = args.source
    return source


def _read_first(args: argparse.Namespace) -> tuple[str, bytes, float]:
    """Read the first image of the input; return its uri, its content and the seconds it took."""
    source = _find_source(args)
    refs = source.find_some(1)
    if not refs:
        raise ArgumentError("the input names no image")
    [ref] = refs
    started = time.perf_counter()
    result = source.reader.read(ref)
    if result.error is not None:
        raise ArgumentError(f"the first image cannot be read: {ref.uri}: {result.error}")
    return ref.uri, result.data, time.perf_counter() - started


def _check_output(args: argparse.Namespace) -> str:
    if not args.output:
        raise _NotGivenError("give --output")
    from beamvec.pipeline.run.config import find_output
    from beamvec.transforms.files import storage

    output = find_output(args.output)
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
        raise ArgumentError(f"cannot write to {folder}: {error.strerror}") from error
    return f"{output} can be written; {format_size(shutil.disk_usage(folder).free)} are free"


def _check_runner(args: argparse.Namespace, beam_flags: list[str]) -> str:
    from beamvec.pipeline.run.config import make_model_config
    from beamvec.pipeline.run.dataflow import is_dataflow, prepare_dataflow
    from beamvec.pipeline.run.runners import check_reachable
    from beamvec.pipeline.run.workers import Workers

    workers = Workers.choose(beam_flags)
    where = "on this machine" if workers.local else "which answers where an address is given"
    if is_dataflow(workers.options):
        prepare_dataflow(_list_places(args), make_model_config(vars(args)), workers.options)
        where = "on Google Cloud, which was not asked; the options make sense"
    check_reachable(workers.options)
    return f"{type(workers.runner).__name__}, {where}"


def _list_places(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return where the run would read and write, of what is given."""
    found = []
    for kind in SOURCES:
        names = getattr(args, kind.kind) or ()
        found += [(kind.kind, name) for name in ([names] if isinstance(names, str) else names)]
    return [*found, *([("output", args.output)] if args.output else [])]


def _check_embeddings(args: argparse.Namespace, beam_flags: list[str]) -> str:
    """Look whether the model's embeddings make sense, on made images and the first of the input."""
    from beamvec.pipeline.run.config import make_model_config
    from beamvec.pipeline.run.launch import load_to_launch
    from beamvec.pipeline.run.workers import Workers
    from beamvec.transforms.embedding.examine import examine_model
    from beamvec.transforms.inference.doubt import MAX_REAL

    model = load_to_launch(make_model_config(vars(args)), Workers.choose(beam_flags).local)
    refs = _find_source(args).find_some(MAX_REAL) if _names_input(args) else []
    doubts = examine_model(model, refs)
    if doubts:
        raise _DoubtError(" ".join(f"{doubt.message}; {doubt.remedy}." for doubt in doubts))
    return f"nothing looks wrong, on made images and {len(refs)} of the input"


def _check_model(args: argparse.Namespace, beam_flags: list[str]) -> str:
    """Load the model as a run would, and embed the first image, or a black one without input."""
    from beamvec.pipeline.run.config import make_model_config
    from beamvec.pipeline.run.launch import load_to_launch
    from beamvec.pipeline.run.workers import Workers
    from beamvec.transforms.decoding.pool import DecoderError, SharedPool
    from beamvec.transforms.decoding.resize import make_resizing

    local = Workers.choose(beam_flags).local
    started = time.perf_counter()
    model = load_to_launch(make_model_config(vars(args)), local)
    load_s = time.perf_counter() - started
    size = model.input_size
    pixels = np.zeros((size, size, 3), np.uint8)
    what = "a black image"
    if _names_input(args):
        try:
            _, data, _ = _read_first(args)
            pixels = SharedPool().get().decode(data, make_resizing(model.spec)).pixels
            what = "the first image"
        except (BeamvecError, OSError, DecoderError) as error:
            what = f"a black image (the first one of the input fails: {error})"
    started = time.perf_counter()
    features = model.embed_pixels(pixels[np.newaxis])
    embed_s = time.perf_counter() - started
    if not np.isfinite(features).all():
        raise ArgumentError(f"{args.model} makes NaN or infinity of {what}")
    return (
        f"{args.model}: {size}x{size} pixels to {model.dimension} numbers; loaded in "
        f"{format_duration(load_s)}, embedded {what} in {format_duration(embed_s)}"
    )
