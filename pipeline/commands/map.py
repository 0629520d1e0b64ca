"""`beamvec map`: a page with a map of a dataset's embeddings to explore."""

from __future__ import annotations

import argparse

from beamvec.embeddings import Dataset, open_dataset
from beamvec.errors import ArgumentError
from beamvec.pipeline.commands.summary import RANDOM_WEIGHTS
from beamvec.pipeline.pages.map import Map, make_map
from beamvec.pipeline.pages.map_sample import read_sample
from beamvec.pipeline.pages.page import as_json, check_page, render, require_extra, write_page
from beamvec.pipeline.pages.thumbnails import Thumbnails
from beamvec.pipeline.terminal import busy, show

MOST_ROWS = 100_000
"""What a page can show smoothly, in some 5 MB."""


def run(args: argparse.Namespace) -> int:
    """Run `beamvec map` and return its exit code."""
    for package in ("jinja2", "sklearn"):
        require_extra(package)
    if not 1 <= args.max_rows <= MOST_ROWS:
        raise ArgumentError(f"--max-rows is {args.max_rows:,}; it must be from 1 to {MOST_ROWS:,}")
    if args.pictures < 0:
        raise ArgumentError(f"--pictures is {args.pictures}; it must be at least 0")
    check_page(args.html)
    busy("reading the dataset")
    dataset = open_dataset(args.dir)
    map_ = make_map(dataset, read_sample(dataset, args.max_rows), args.pictures)
    page = make_page(dataset, map_)
    if map_:
        show(map_.facts["share"])
    write_page(args.html, page, map_.thumbnails.describe_missed() if map_ else "")
    return 0


def make_page(dataset: Dataset, map_: Map | None) -> str:
    """Return the page, as HTML."""
    return render(
        "map.html",
        scripts=["map.js"] if map_ else [],
        dataset=str(dataset),
        random_weights=RANDOM_WEIGHTS if dataset.run.weights == "random" else None,
        map=map_.facts if map_ else None,
        map_data=as_json(map_.data) if map_ else None,
        thumbnails=Thumbnails(),
    )
