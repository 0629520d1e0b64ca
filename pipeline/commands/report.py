"""`beamvec report`: one page to look at a dataset."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from beamvec.embeddings import Batch, Dataset, RunRecord, open_dataset, schema
from beamvec.embeddings.vectors import can_multiply
from beamvec.embeddings.verify import examine
from beamvec.errors import DatasetError
from beamvec.pipeline.commands.inspect import SAMPLED_GROUPS, describe_dataset
from beamvec.pipeline.commands.search import VERIFY_ADVICE, find_nearest
from beamvec.pipeline.commands.summary import (
    RANDOM_WEIGHTS,
    seconds_by_step,
)
from beamvec.pipeline.pages.failures import count_unlisted, list_causes
from beamvec.pipeline.pages.label_counts import count_labels
from beamvec.pipeline.pages.page import name_of, render, require_extra, write_page
from beamvec.pipeline.pages.thumbnails import Thumbnails, make_thumbnails
from beamvec.pipeline.speed import measure_speed
from beamvec.pipeline.terminal import busy
from beamvec.pipeline.units import format_duration, format_size

SAMPLE_ROWS = 20_000
"""Rows that charts and map are made of, spread over the dataset."""

_DOTS = 500
_SAMPLES = 8
_NEIGHBOURS = 6
_DOT_SIZE = 96
_CELLS = 48
_BINS = 24
_COLUMNS = (schema.URI, schema.WIDTH, schema.HEIGHT, schema.FORMAT)


def run(args: argparse.Namespace) -> int:
    """Run `beamvec report` and return its exit code."""
    for package in ("jinja2", "plotly", "sklearn"):
        require_extra(package)
    busy("reading the dataset")
    dataset = open_dataset(args.dir)
    write_page(args.html, *make_report(dataset))
    return 0


def make_report(dataset: Dataset) -> tuple[str, str]:
    """Return the page, as HTML, and what is to be known of it."""
    run = dataset.run
    rows = _spread(len(dataset), SAMPLE_ROWS)
    sample = dataset.take(rows, _COLUMNS)
    if not can_multiply(sample.vectors):
        raise DatasetError(f"{dataset} has embeddings with NaN or infinity: {VERIFY_ADVICE}")
    busy("looking for neighbours")
    samples = _find_samples(dataset, rows, sample)
    shown = [match["uri"] for each in samples for match in each["matches"]]
    failures = list_causes(dataset)
    links = Thumbnails()
    links.link([image.uri for cause in failures for image in cause.images], dataset)
    thumbnails = make_thumbnails([*(each["query"] for each in samples), *shown], dataset)
    dots = make_thumbnails(_name_dots(sample), dataset, _DOT_SIZE)
    busy("drawing the map")
    charts = {
        **_chart_run(run),
        **_chart_images(sample),
        "map": _draw_map(sample, dots),
        "failures": _bars(
            {f"{kind.stage}: {kind.cause or kind.error_type}": kind.count for kind in failures},
            "images",
        ),
    }
    page = render(
        "report.html",
        charts=charts,
        dataset=str(dataset),
        random_weights=RANDOM_WEIGHTS if run.weights == "random" else None,
        cards=_describe_cards(dataset),
        counts=run.counts,
        map=_describe_map(charts["map"], len(rows)),
        samples=samples,
        thumbnails=thumbnails,
        dots_missed=dots.describe_missed(),
        throughput=list(zip(charts["throughput"]["x"], charts["throughput"]["y"], strict=True)),
        effort=_as_rows(charts["effort"]),
        failures=failures,
        failures_unlisted=count_unlisted(dataset, failures),
        failures_command=shlex.join(["beamvec", "failures", str(dataset), "--csv"]),
        links=links,
        labels=count_labels(dataset),
        sampled=len(rows),
        formats=_as_rows(charts["formats"]),
        sizes=_size_rows(charts["sizes"]),
        facts=list(describe_dataset(dataset, examine(dataset, SAMPLED_GROUPS)).items()),
    )
    notes = {"page": thumbnails.describe_missed(), "map": dots.describe_missed()}
    return page, "; ".join(f"{place}: {note}" for place, note in notes.items() if note)


def _name_dots(sample: Batch) -> list[str]:
    """Return the uris of the map's dots."""
    uris = sample.metadata[schema.URI]
    return [uris[int(i)].as_py() for i in _spread(len(uris), _DOTS)] if len(uris) > 2 else []


def _spread(rows: int, count: int) -> npt.NDArray[np.int64]:
    """Return numbers of rows, spread evenly over all."""
    return np.unique(np.linspace(0, max(0, rows - 1), min(rows, count)).astype(np.int64))


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


def _find_samples(
    dataset: Dataset, rows: npt.NDArray[np.int64], sample: Batch
) -> list[dict[str, Any]]:
    """Return some images and the nearest images of each."""
    chosen = _spread(len(rows), _SAMPLES)
    if len(rows) < 2:
        return []
    queries = [sample.metadata[schema.URI][int(i)].as_py() for i in chosen]
    found = find_nearest(dataset, sample.vectors[chosen], rows[chosen].tolist(), _NEIGHBOURS)
    return [{"query": uri, "matches": m} for uri, m in zip(queries, found, strict=True)]


def _chart_run(run: RunRecord) -> dict[str, Any]:
    speed = measure_speed(run)
    seconds = seconds_by_step(run.timings)
    return {
        "throughput": {
            "x": [part.start_s + part.width_s / 2 for part in speed],
            "y": [part.images_per_s for part in speed],
            "width": [part.width_s for part in speed],
        },
        "effort": _bars({step: round(spent, 1) for step, spent in seconds.items()}, "seconds"),
    }


def _chart_images(sample: Batch) -> dict[str, Any]:
    formats = Counter(sample.metadata[schema.FORMAT].to_pylist())
    sides = np.maximum(
        *(sample.metadata[name].to_numpy() for name in (schema.WIDTH, schema.HEIGHT))
    )
    counts, edges = np.histogram(sides, _BINS)
    return {
        "formats": _bars(dict(formats.most_common()), "images"),
        "sizes": {"edges": edges.round(1).tolist(), "counts": counts.tolist()},
    }


def _bars(values: Mapping[str, float], unit: str) -> dict[str, Any]:
    return {"names": list(values), "values": list(values.values()), "unit": unit}


def _as_rows(bars: Mapping[str, Any]) -> list[tuple[str, float]]:
    return list(zip(bars["names"], bars["values"], strict=True))


def _size_rows(sizes: Mapping[str, Any]) -> list[tuple[str, int]]:
    edges = sizes["edges"]
    return [
        (f"{edges[i]:,.0f} to {edges[i + 1]:,.0f}", count)
        for i, count in enumerate(sizes["counts"])
        if count
    ]


def _draw_map(sample: Batch, thumbnails: Thumbnails) -> dict[str, Any] | None:
    """Return the map's dots and the density of all rows of a sample, by their principal axes."""
    from sklearn.decomposition import PCA

    if len(sample.vectors) < 3:
        return None
    pca = PCA(2, svd_solver="randomized", random_state=0)
    with np.errstate(invalid="ignore"):  # All embeddings may be equal.
        at = pca.fit_transform(sample.vectors)
    density, *edges = np.histogram2d(at[:, 0], at[:, 1], bins=_CELLS)
    dots = _spread(len(at), _DOTS)
    uris = _name_dots(sample)
    (x0, dx), (y0, dy) = ((float(e[0] + e[1]) / 2, float(e[1] - e[0])) for e in edges)
    return {
        "density": {
            "z": np.log1p(density.T).round(2).tolist(),
            **{"x0": x0, "dx": dx, "y0": y0, "dy": dy},
        },
        "x": at[dots, 0].round(4).tolist(),
        "y": at[dots, 1].round(4).tolist(),
        "uris": uris,
        "names": [name_of(uri) for uri in uris],
        "pictures": [thumbnails.get(uri) for uri in uris],
        "explained": float(np.nan_to_num(pca.explained_variance_ratio_).sum()),
    }


def _describe_map(drawn: Mapping[str, Any] | None, rows: int) -> dict[str, Any] | None:
    if drawn is None:
        return None
    return {"rows": rows, "dots": len(drawn["x"]), "explained": drawn["explained"]}
