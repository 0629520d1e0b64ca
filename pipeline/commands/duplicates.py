"""`beamvec duplicates`: groups of equal and of similar images."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from beamvec.embeddings import Dataset, find_groups, open_dataset, schema, search
from beamvec.errors import ArgumentError
from beamvec.pipeline.terminal import busy, show, show_json
from beamvec.pipeline.units import format_size

_IN_MEMORY_BYTES = 2 << 30
"""Embeddings of more than that are mapped from a temporary file."""

_PRINTED_GROUPS = 20
_PRINTED_IMAGES = 5
_SHEET_GROUPS = 100
_SHEET_IMAGES = 12


def run(args: argparse.Namespace) -> int:
    """Run `beamvec duplicates` and return its exit code."""
    if not 0 < args.threshold <= 1:
        raise ArgumentError(f"--threshold is {args.threshold}; it must be above 0 and at most 1")
    busy("comparing all images")
    dataset = open_dataset(args.dir)
    groups = find_duplicates(dataset, args.threshold)
    if args.json:
        show_json({"dataset": args.dir, "threshold": args.threshold, "groups": groups})
    else:
        show(*_describe(groups, len(dataset), args.threshold))
    if args.html:
        _write_sheet(args, groups, dataset)
    return 0


def find_duplicates(dataset: Dataset, threshold: float) -> list[dict[str, Any]]:
    """Group a dataset's images.

    Args:
        dataset: where to look.
        threshold: images with at least this cosine are in one group, and those with the same
            bytes always.

    Returns:
        Groups, the largest first. Each has `images` with `uri`, `row`, `size_bytes`, `copy_of`
        (the uri of the first image with the same bytes, or None) and `cosine` to the first image
        of the group, and `kind`, `copies` if all have the same bytes, else `similar`.
    """
    columns = [schema.URI, schema.SHA256, schema.SIZE_BYTES]
    images = dataset.read_metadata(columns).to_pylist()
    first: dict[str, int] = {}
    same_as = [first.setdefault(image[schema.SHA256], row) for row, image in enumerate(images)]
    with _load_vectors(dataset) as vectors:
        with threadpool_limits(1, "blas"):  # Tiles are compared in threads already.
            found = find_groups(vectors, threshold, np.array(same_as, np.int64))
        groups = [_describe_group(rows, images, same_as, vectors) for rows in found]
    return sorted(groups, key=lambda group: (-len(group["images"]), group["images"][0]["row"]))


@contextmanager
def _load_vectors(dataset: Dataset) -> Iterator[npt.NDArray[np.float32]]:
    rows = dataset.row_groups[-1].stop if dataset.row_groups else 0  # As the files have them.
    shape = (rows, dataset.dimension)
    size = 4 * shape[0] * shape[1]
    if size <= _IN_MEMORY_BYTES:
        yield dataset.read_vectors()
        return
    with tempfile.TemporaryFile(prefix="beamvec-") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # A full disk is told now, not by a signal.
            mapped = np.memmap(file, np.float32, "r+", shape=shape)
        except OSError as error:
            raise ArgumentError(
                f"no room for {format_size(size)} of embeddings in {tempfile.gettempdir()} "
                f"({error.strerror}); set TMPDIR to a folder on a larger disk"
            ) from error
        yield dataset.read_vectors(mapped)


def _describe_group(
    rows: list[int],
    images: list[dict[str, Any]],
    same_as: list[int],
    vectors: npt.NDArray[np.float32],
) -> dict[str, Any]:
    cosines = search(vectors[rows], vectors[rows[:1]], len(rows))
    cosine_of = dict(zip(cosines.rows[0].tolist(), cosines.cosines[0].tolist(), strict=True))
    described = [
        {
            "uri": images[row][schema.URI],
            "row": row,
            "size_bytes": images[row][schema.SIZE_BYTES],
            "copy_of": None if same_as[row] == row else images[same_as[row]][schema.URI],
            "cosine": round(cosine_of[place], 6),
        }
        for place, row in enumerate(rows)
    ]
    equal = len({same_as[row] for row in rows}) == 1
    return {"kind": "copies" if equal else "similar", "images": described}


def _describe(groups: list[dict[str, Any]], rows: int, threshold: float) -> list[str]:
    if not groups:
        return [f"no duplicates among {rows:,} images (cosine of at least {threshold:g})"]
    lines = [_headline(groups, rows, threshold)]
    for group in groups[:_PRINTED_GROUPS]:
        shown = group["images"]
        lines += ["", f"{len(shown):,} {_KINDS[group['kind']]}"]
        lines += [
            f"  {image['cosine']:.4f}  {image['uri']}" + ("  (copy)" if image["copy_of"] else "")
            for image in shown[:_PRINTED_IMAGES]
        ]
        if len(shown) > _PRINTED_IMAGES:
            lines.append(f"  and {len(shown) - _PRINTED_IMAGES:,} more")
    if len(groups) > _PRINTED_GROUPS:
        lines += ["", f"and {len(groups) - _PRINTED_GROUPS:,} more groups; --json has them all"]
    return lines


_KINDS = {"copies": "copies of one file", "similar": "similar images"}


def _headline(groups: list[dict[str, Any]], rows: int, threshold: float) -> str:
    members = [image for group in groups for image in group["images"]]
    copies = [image for image in members if image["copy_of"]]
    size = format_size(sum(image["size_bytes"] for image in copies))
    return (
        f"{len(members):,} of {rows:,} images are in {len(groups):,} groups (cosine of at least "
        f"{threshold:g}); {len(copies):,} are copies of others, {size}"
    )


def _write_sheet(args: argparse.Namespace, groups: list[dict[str, Any]], dataset: Dataset) -> None:
    from beamvec.pipeline.pages.page import render, write_page
    from beamvec.pipeline.pages.thumbnails import make_thumbnails

    shown = [
        {**group, "images": group["images"][:_SHEET_IMAGES], "count": len(group["images"])}
        for group in groups[:_SHEET_GROUPS]
    ]
    uris = [image["uri"] for group in shown for image in group["images"]]
    thumbnails = make_thumbnails(uris, dataset)
    page = render(
        "duplicates.html",
        dataset=args.dir,
        headline=_headline(groups, len(dataset), args.threshold),
        groups=shown,
        more=len(groups) - len(shown),
        thumbnails=thumbnails,
    )
    write_page(args.html, page, thumbnails.describe_missed())
