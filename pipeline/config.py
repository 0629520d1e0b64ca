"""From parsed flags to the frozen configuration that everything else gets."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
from dataclasses import dataclass

import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.options import UsageError
from transforms import manifest, storage
from transforms.match import InputError, InputSpec, check_input
from transforms.settings import Engine, Precision, Resize, count_cpus

_RANGES = {
    "batch_size": (2, 4096),
    "chunk_size": (1, 100_000),
    "rows_per_shard": (1, 10_000_000),
    "max_failure_ratio": (0.0, 1.0),
}


@dataclass(frozen=True)
class ExtractConfig:
    """What `beamvec extract` is to do; the fields are the flags of the same names."""

    input: InputSpec
    output: str
    model: str
    resize: Resize
    precision: Precision
    engine: Engine
    require_gpu: bool
    batch_size: int
    chunk_size: int
    rows_per_shard: int
    max_failure_ratio: float
    append: bool
    overwrite: bool


def build_config(args: argparse.Namespace) -> ExtractConfig:
    """Check the flags and the input, and return the configuration.

    Raises:
        UsageError: naming the flag, its value and what it may be.
    """
    check_ranges(args)
    if args.require_gpu and args.engine == "openvino":
        raise UsageError("--require-gpu: OpenVINO runs on CPUs here; use --engine tensorflow")
    return ExtractConfig(
        input=build_input(args),
        output=build_output(args.output),
        model=args.model,
        resize=args.resize,
        precision=args.precision,
        engine=args.engine,
        require_gpu=args.require_gpu,
        batch_size=args.batch_size,
        chunk_size=args.chunk_size,
        rows_per_shard=args.rows_per_shard,
        max_failure_ratio=args.max_failure_ratio,
        append=args.append,
        overwrite=args.overwrite,
    )


def check_ranges(args: argparse.Namespace) -> None:
    """Raise `UsageError` for a number that is too small or too large."""
    for name, (low, high) in _RANGES.items():
        value = getattr(args, name)
        if not low <= value <= high:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} {value} is out of range; it takes {low} to {high}")


def build_output(output: str) -> str:
    """Check that there is a filesystem for an output folder, and return its full path."""
    _check_filesystem("--output", output)
    if not storage.is_local(output):
        return output.rstrip("/")
    return os.path.abspath(os.path.expanduser(output))


def build_input(args: argparse.Namespace) -> InputSpec:
    """Check that the input names at least one image, and return where its images are named."""
    for flag, uris in [
        ("--input", args.input or ()),
        ("--input-list", [args.input_list or ""]),
        ("--manifest", [args.manifest or ""]),
    ]:
        for uri in uris:
            _check_filesystem(flag, uri)
    spec = InputSpec(
        patterns=tuple(args.input or ()),
        list_path=args.input_list,
        manifest_path=args.manifest,
        uri_column=args.uri_column,
        columns=_manifest_columns(args),
    )
    try:
        check_input(spec)
    except InputError as error:
        raise UsageError(str(error)) from error
    return spec


def _check_filesystem(flag: str, uri: str) -> None:
    try:
        storage.check_filesystem(uri)
    except ValueError as error:
        raise UsageError(f"{flag} {uri}: {error}") from error


def _manifest_columns(args: argparse.Namespace) -> pa.Schema:
    if args.manifest is None:
        return manifest.NO_COLUMNS
    try:
        return manifest.read_columns(args.manifest, args.uri_column)
    except manifest.ManifestError as error:
        raise UsageError(str(error)) from error


def build_beam_options(flags: list[str]) -> PipelineOptions:
    """Parse the options that beamvec left over as options of Beam.

    Raises:
        UsageError: for an option that Beam does not know, with the nearest one that it does.
    """
    flags = flags if _has_workers(flags) else [*flags, f"--direct_num_workers={count_cpus()}"]
    parsers: list[argparse.ArgumentParser] = []
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            options = PipelineOptions(flags)
            options.get_all_options(add_extra_args_fn=parsers.append)
    except SystemExit:
        raise UsageError(complaint.getvalue().strip().splitlines()[-1]) from None
    unknown = parsers[0].parse_known_args(flags)[1]
    if unknown:
        raise UsageError(_explain_unknown(unknown[0], parsers[0]))
    return options


def _has_workers(flags: list[str]) -> bool:
    return any(flag.split("=")[0] == "--direct_num_workers" for flag in flags)


def _explain_unknown(flag: str, parser: argparse.ArgumentParser) -> str:
    known = [name for action in parser._actions for name in action.option_strings]
    own = ["--input", "--input-list", "--manifest", "--output", "--model", "--resize"]
    own += ["--precision", "--engine", "--require-gpu"]
    own += ["--batch-size", "--chunk-size", "--rows-per-shard", "--max-failure-ratio"]
    near = difflib.get_close_matches(flag.split("=")[0], [*own, *known], n=1)
    hint = f"; did you mean {near[0]}?" if near else "; see `beamvec extract --help`"
    return f"unknown argument {flag}{hint}"
