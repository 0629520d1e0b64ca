"""`beamvec tune`: which engine, precision and threads are fastest here, and what they cost."""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm

from beamvec.embeddings.counted import counted
from beamvec.errors import ArgumentError, ModelError
from beamvec.pipeline.commands.flags import name_flags
from beamvec.pipeline.run.config import make_config
from beamvec.pipeline.run.tuner import Tried, Tuner, list_variants, vary_threads
from beamvec.pipeline.terminal import idle, show, show_json, warn
from beamvec.pipeline.units import format_duration, format_size
from beamvec.redact import redact
from beamvec.transforms.inputs.list_file import ListFile
from beamvec.transforms.machine import count_cpus

_DECODE_BOUND = 0.5
"""Above this share of the time, decoding decides how fast it goes."""

_OWN = ("images", "price", "json", "command", "parser", "verbose")
_ROW = "{:<12} {:<9} {:<26} {:>9} {:>8} {:>8} {:>8} {:>11} {:>9} {:>7}"
_HEADS = "engine precision threads images/s mean least kept first_after memory decode".split()


def run(args: argparse.Namespace) -> int:
    """Run `beamvec tune` and return its exit code."""
    if args.images is not None and args.images < 1:
        raise ArgumentError(f"--images is {args.images}; it must be at least 1")
    if args.price is not None and args.images is None:
        raise ArgumentError("--price is what an hour of this machine costs; it goes with --images")
    if args.price is not None and not 0 <= args.price < math.inf:
        raise ArgumentError(f"--price is {args.price:g}; it must be a number from 0")
    arguments = {
        name: value for name, value in vars(args).items() if value is not None and name not in _OWN
    }
    with tempfile.TemporaryDirectory(prefix="beamvec-tune-") as folder:
        given = {**arguments, "output": os.path.join(folder, "out")}
        if "precision" not in given:  # All are tried, and images to calibrate on are for one.
            given.pop("calibration_images", None)
        source = make_config(given).check().source
        if isinstance(source, ListFile) and source.kept:  # What it names is read already.
            arguments[source.kind] = source.path
            if source.kind == "manifest":
                arguments.setdefault("base_folder", ".")
        tried = _try_all(Tuner(arguments, folder), arguments)
    done = [each for each in tried if each.trial]
    reasons = [redact(name_flags(each.reason, args.parser.flags)) for each in tried]
    if not done:
        raise ModelError(f"none of what was tried runs here: {reasons[0]}")
    best = max(done, key=lambda each: each.rate)
    if not best.rate:
        raise ArgumentError("there is no image to try anything on")
    if best.trial and best.trial.failed == best.trial.images:
        raise ArgumentError(
            f"none of the first {best.trial.images:,} images can be embedded, so nothing can be "
            "timed; `beamvec extract` with `--limit` tells why"
        )
    if args.json:
        show_json(_to_json(tried, reasons, best, args))
        return 0
    show(_ROW.format(*_HEADS).replace("_", " "), *map(_format, done))
    for each, reason in zip(tried, reasons, strict=True):
        if reason:
            show(f"{each.variant.engine:<12} {each.variant.precision:<9} {reason}")
    show("", *_advise(done, best, args))
    return 0


def _try_all(tuner: Tuner, arguments: dict[str, Any]) -> list[Tried]:
    """Try every variant, and the fastest with other threads."""
    variants = list(list_variants(arguments))
    if "calibration_images" in arguments and "int8" not in {each.precision for each in variants}:
        raise ArgumentError("--calibration-images is for int8, which is not among what is tried")
    tried: list[Tried] = []
    idle()  # What follows has lines of its own.
    bar_format = "{desc}: {n_fmt}/{total_fmt}|{bar}| {elapsed} {postfix}"
    with tqdm(total=len(variants) + 2, leave=False, disable=None, bar_format=bar_format) as bar:
        for variant in _with_threads(variants, tried):
            text = " ".join(variant.flags)
            bar.set_description("tuning", refresh=False)
            bar.set_postfix_str(text)
            if bar.disable:
                warn(f"trying {text}")
            tried.append(tuner.try_one(variant))
            bar.update()
    return tried


def _with_threads(variants: Sequence[Any], tried: list[Tried]) -> Iterator[Any]:
    yield from variants
    best = max(tried, key=lambda each: each.rate)
    yield from vary_threads(best.variant) if best.trial else ()


def _format(each: Tried) -> str:
    trial, near = each.trial, each.nearness
    assert trial
    threads = " ".join(each.variant.flags[4:])
    figures = [f"{near.mean:.4f}", f"{near.least:.4f}"] if near else ["-", "-"]
    memory = format_size(trial.memory_bytes) if trial.memory_bytes else "-"
    return _ROW.format(
        each.variant.engine,
        each.variant.precision,
        threads or "-",
        f"{trial.images_per_s:.1f}",
        *figures,
        f"{near.neighbours_kept:.0%}" if near else "-",
        f"{trial.first_s:.1f} s",
        memory,
        f"{trial.decode_share:.0%}",
    )


def _advise(done: Sequence[Tried], best: Tried, args: argparse.Namespace) -> Iterator[str]:
    """Say what to do: the flags to copy, what sets the limit, hours and money."""
    trial = best.trial
    assert trial
    base = next((each for each in done if each.variant.precision == "float32"), done[0])
    gain = best.rate / base.rate if base.rate else 1.0
    yield f"fastest   {' '.join(best.variant.flags)}   ({gain:.1f} times {_name(base)})"
    if best.nearness:
        yield f"          {_describe_nearness(best)}"
    if trial.decode_share > _DECODE_BOUND:
        yield (
            f"limit     decoding takes {trial.decode_share:.0%} of the time: a faster model gains "
            "little; smaller images, or more cores, do"
        )
    else:
        yield f"limit     the model takes {1 - trial.decode_share:.0%} of the time"
    if args.images:
        for each in dict.fromkeys((base, best)):
            yield f"cost      {_describe_cost(each, args)}"
    yield (
        f"measured  on {counted(count_cpus(), 'core')} with the first "
        f"{counted(trial.images, 'image')}, of which {trial.failed:,} failed; "
        f"{_describe_base(base)}"
    )


def _describe_base(base: Tried) -> str:
    if base.variant.precision != "float32":
        return "nothing tells how near the embeddings are to float32, which does not run here"
    return f"cosines are to {_name(base)}, kept is the share of each image's ten nearest that stays"


def _describe_nearness(best: Tried) -> str:
    near = best.nearness
    assert near
    if near.least > 0.9999:
        return "the embeddings are those of float32, but for rounding"
    return (
        f"its embeddings have cosine {near.mean:.4f} to float32 on average, {near.least:.4f} at "
        f"least, and keep {near.neighbours_kept:.0%} of the neighbours"
    )


def _describe_cost(each: Tried, args: argparse.Namespace) -> str:
    hours = _count_hours(each, args.images)
    price = "" if args.price is None else f", {hours * args.price:,.2f} at {args.price:g} an hour"
    name = " ".join([_name(each), *each.variant.flags[4:]])
    images = counted(args.images, "image")
    return f"{images} in {name}: {format_duration(hours * 3600)}{price}"


def _count_hours(each: Tried, images: int) -> float:
    assert each.trial
    return (images / each.trial.images_per_s + each.trial.first_s) / 3600


def _name(each: Tried) -> str:
    return f"{each.variant.precision} on {each.variant.engine}"


def _to_json(
    tried: Sequence[Tried], reasons: Sequence[str], best: Tried, args: argparse.Namespace
) -> dict[str, Any]:
    rows = []
    for each, reason in zip(tried, reasons, strict=True):
        trial, near = each.trial, each.nearness
        hours = _count_hours(each, args.images) if args.images and trial else None
        rows.append(
            {
                "flags": each.variant.flags,
                "images": trial and trial.images,
                "failed": trial and trial.failed,
                "images_per_s": trial and trial.images_per_s,
                "first_embeddings_s": trial and trial.first_s,
                "decode_share": trial and trial.decode_share,
                "memory_bytes": trial and trial.memory_bytes,
                "cosine": near and {"mean": near.mean, "least": near.least},
                "neighbours_kept": near and near.neighbours_kept,
                "hours": hours,
                "cost": None if hours is None or args.price is None else hours * args.price,
                "error": reason or None,
            }
        )
    return {"cores": count_cpus(), "fastest": best.variant.flags, "variants": rows}
