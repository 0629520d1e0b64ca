"""`beamvec duplicates`: groups of equal and of similar images."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from beamvec.embeddings import open_dataset
from beamvec.embeddings.counted import counted
from beamvec.errors import ArgumentError
from beamvec.pipeline.duplicates import Group, Member, count_duplicates, find_duplicates
from beamvec.pipeline.pages.page import check_page, write_page
from beamvec.pipeline.terminal import busy, show, show_csv, show_json
from beamvec.pipeline.units import format_size

_PRINTED_GROUPS = 20
_PRINTED_IMAGES = 5
_CSV_COLUMNS = (
    *("group", "action", "kind", "uri", "kept", "cosine", "copy_of"),
    *("width", "height", "size_bytes", "sha256"),
)


def run(args: argparse.Namespace) -> int:
    """Run `beamvec duplicates` and return its exit code."""
    if not 0 < args.threshold <= 1:
        raise ArgumentError(f"--threshold is {args.threshold}; it must be above 0 and at most 1")
    check_page(args.html)
    busy("comparing all images")
    dataset = open_dataset(args.dir)
    groups = find_duplicates(dataset, args.threshold)
    command = f"beamvec duplicates {shlex.quote(args.dir)} --threshold {args.threshold:g} --csv"
    if args.json:
        listed = [asdict(group) for group in groups]
        show_json({"dataset": args.dir, "threshold": args.threshold, "groups": listed})
    elif args.csv:
        show_csv(_CSV_COLUMNS, _list_rows(groups))
    else:
        show(*_describe(groups, len(dataset), args.threshold, command))
    if args.html:
        from beamvec.pipeline.pages.duplicates import make_page

        page, note = make_page(dataset, groups, args.threshold, command)
        write_page(args.html, page, note, beside=args.json or args.csv)
    return 0


def _list_rows(groups: list[Group]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the CSV: each image that is kept, then those it stands for."""
    for number, group in enumerate(groups, 1):
        for image in group.images:
            yield (
                *(number, image.action, image.kind, image.uri, image.kept, image.cosine),
                image.copy_of,
                *(image.width, image.height, image.size_bytes, image.sha256),
            )


def _describe(groups: list[Group], rows: int, threshold: float, command: str) -> list[str]:
    if not groups:
        return [f"no duplicates among {counted(rows, 'image')} (cosine of at least {threshold:g})"]
    lines = [_headline(groups, rows, threshold), f"{_MEANING}; as a list: {command}"]
    for group in groups[:_PRINTED_GROUPS]:
        lines += ["", f"{len(group.images):,} {_KINDS[group.kind]}"]
        lines += [_describe_member(image) for image in group.images[:_PRINTED_IMAGES]]
        if len(group.images) > _PRINTED_IMAGES:
            lines.append(f"  and {len(group.images) - _PRINTED_IMAGES:,} more")
    if len(groups) > _PRINTED_GROUPS:
        lines += ["", f"and {counted(len(groups) - _PRINTED_GROUPS, 'more group')}"]
    return lines


_KINDS = {"copies": "copies of one file", "similar": "similar images"}
_MEANING = "numbers are cosines to the image that would be kept"


def _describe_member(image: Member) -> str:
    if image.action == "keep":
        return f"  keep    {image.width} x {image.height}  {image.uri}"
    return f"  {image.cosine:.4f}  {image.width} x {image.height}  {image.uri}" + (
        "  (copy)" if image.copy_of else ""
    )


def _headline(groups: list[Group], rows: int, threshold: float) -> str:
    found = count_duplicates(groups)
    return (
        f"{found.members:,} of {rows:,} images are in {counted(len(groups), 'group')} (cosine of "
        f"at least {threshold:g}); {found.copies:,} are copies of others, {found.near:,} near "
        f"copies; without them {format_size(found.size_bytes)} less"
    )
