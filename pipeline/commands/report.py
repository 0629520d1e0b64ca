"""`beamvec report`: one page to look at a dataset."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from beamvec.embeddings import Dataset, RunRecord, open_dataset, schema
from beamvec.embeddings.verify import examine
from beamvec.pipeline.commands.inspect import SAMPLED_GROUPS, describe_dataset
from beamvec.pipeline.commands.search import find_nearest
from beamvec.pipeline.commands.summary import (
    RANDOM_WEIGHTS,
    seconds_by_step,
)
from beamvec.pipeline.pages.failures import count_unlisted, list_causes
from beamvec.pipeline.pages.label_counts import count_labels
from beamvec.pipeline.pages.map import make_map
from beamvec.pipeline.pages.map_sample import Sample, read_sample, spread
from beamvec.pipeline.pages.page import as_json, check_page, render, require_extra, write_page
from beamvec.pipeline.pages.thumbnails import Thumbnails, make_thumbnails
from beamvec.pipeline.speed import measure_speed
from beamvec.pipeline.terminal import busy
from beamvec.pipeline.units import format_duration, format_size

SAMPLE_ROWS = 20_000
"""Rows that charts and map are made of, spread over the dataset."""

_MAP_PICTURES = 500
_SAMPLES = 8
_NEIGHBOURS = 6
_BINS = 24


def run(args: argparse.Namespace) -> int:
    """Run `beamvec report` and return its exit code."""
    for package in ("jinja2", "sklearn"):
        require_extra(package)
    check_page(args.html)
    busy("reading the dataset")
    dataset = open_dataset(args.dir)
    write_page(args.html, *make_report(dataset))
    return 0


def make_report(dataset: Dataset) -> tuple[str, str]:
    """Return the page, as HTML, and what is to be known of it."""
    run = dataset.run
    sample = read_sample(dataset, SAMPLE_ROWS)
    busy("looking for neighbours")
    samples = _find_samples(dataset, sample)
    shown = [match["uri"] for each in samples for match in each["matches"]]
    failures = list_causes(dataset)
    links = Thumbnails()
    links.link([image.uri for cause in failures for image in cause.images], dataset)
    thumbnails = make_thumbnails([*(each["query"] for each in samples), *shown], dataset)
    map_ = make_map(dataset, sample, _MAP_PICTURES)
    page = render(
        "report.html",
        scripts=["map.js"] if map_ else [],
        dataset=str(dataset),
        random_weights=RANDOM_WEIGHTS if run.weights == "random" else None,
        cards=_describe_cards(dataset),
        counts=run.counts,
        map=map_.facts if map_ else None,
        map_data=as_json(map_.data) if map_ else None,
        samples=samples,
        thumbnails=thumbnails,
        throughput=_chart_throughput(run),
        effort=[(step, round(spent, 1)) for step, spent in seconds_by_step(run.timings).items()],
        failures=failures,
        failures_unlisted=count_unlisted(dataset, failures),
        failures_command=shlex.join(["beamvec", "failures", str(dataset), "--csv"]),
        links=links,
        labels=count_labels(dataset),
        sampled=len(sample.rows),
        formats=Counter(sample.metadata[schema.FORMAT].to_pylist()).most_common(),
        sizes=_chart_sizes(sample),
        facts=list(describe_dataset(dataset, examine(dataset, SAMPLED_GROUPS)).items()),
    )
    notes = {
        "page": thumbnails.describe_missed(),
        "map": map_.thumbnails.describe_missed() if map_ else "",
    }
    return page, "; ".join(f"{place}: {note}" for place, note in notes.items() if note)


def _describe_cards(dataset: Dataset) -> list[tuple[str, str]]:
    counts, timings = dataset.run.counts, dataset.run.timings
    size = sum(file.size_bytes for file in dataset.embedding_files + dataset.failure_files)
    return [
        ("embedded", f"{counts.embeddings:,}"),
        ("failed", f"{counts.failures:,}"),
        ("images per second", f"{timings.images_per_s:,.1f}"),
        ("took", format_duration(timings.startup_s + timings.run_s)),
        ("numbers each", f"{dataset.dimension:,}"),
        ("on disk", format_size(size)),
    ]


def _find_samples(dataset: Dataset, sample: Sample) -> list[dict[str, Any]]:
    """Return some images and the nearest images of each."""
    if len(sample.rows) < 2:
        return []
    rows = sample.rows[spread(len(sample.rows), _SAMPLES)]
    queries = dataset.take(rows)
    found = find_nearest(dataset, queries.vectors, rows.tolist(), _NEIGHBOURS)
    uris = queries.metadata[schema.URI].to_pylist()
    return [{"query": uri, "matches": m} for uri, m in zip(uris, found, strict=True)]


def _chart_throughput(run: RunRecord) -> dict[str, Sequence[float]]:
    speed = measure_speed(run)
    return {
        "edges": [0.0, *(part.start_s + part.width_s for part in speed)],
        "values": [part.images_per_s for part in speed],
    }


def _chart_sizes(sample: Sample) -> dict[str, Sequence[float]]:
    sides = np.maximum(
        *(sample.metadata[name].to_numpy() for name in (schema.WIDTH, schema.HEIGHT))
    )
    counts, edges = np.histogram(sides, _BINS)
    return {"edges": edges.round(1).tolist(), "values": counts.tolist()}
