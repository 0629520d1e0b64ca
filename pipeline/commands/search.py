"""`beamvec search`: the nearest images to an image, or to a row of the dataset."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from beamvec.embeddings import Dataset, open_dataset, search
from beamvec.embeddings.layout import Layout
from beamvec.errors import ArgumentError, DatasetError, ImageError, ModelError
from beamvec.model_spec import ModelSpec
from beamvec.pipeline.pages.page import check_page, render, write_page
from beamvec.pipeline.terminal import busy, show, show_json
from beamvec.transforms.decoding.resize import RESIZERS, Resizer, choose_resizer
from beamvec.transforms.files.storage import is_local
from beamvec.transforms.inference.config import DEFAULT_MODEL
from beamvec.transforms.inference.engine import PRECISIONS, Precision
from beamvec.transforms.inference.registry import ENGINES

VERIFY_ADVICE = "it is damaged; `beamvec inspect --verify` says where"


def run(args: argparse.Namespace) -> int:
    """Run `beamvec search` and return its exit code."""
    if args.k < 1:
        raise ArgumentError(f"--k is {args.k}; it must be at least 1")
    check_page(args.html)
    busy("reading the dataset")
    dataset = open_dataset(args.dir)
    if args.uri:
        names, rows = args.uri, dataset.find_rows(args.uri)
        queries = dataset.take(rows).vectors
    else:
        args.image = [os.path.expanduser(path) if is_local(path) else path for path in args.image]
        names, rows = args.image, [-1] * len(args.image)
        busy("loading the model")
        queries = embed_images(dataset, args.image, args.model, args.trust_model)
    busy("comparing images")
    found = find_nearest(dataset, queries, rows, args.k)
    results = [
        {"query": name, "matches": matches} for name, matches in zip(names, found, strict=True)
    ]
    if args.json:
        show_json({"dataset": args.dir, "queries": results})
    else:
        show(*_describe(results))
    if args.html:
        _write_sheet(args, results, dataset)
    return 0


def find_nearest(
    dataset: Dataset, queries: npt.NDArray[np.float32], rows: list[int], k: int
) -> list[list[dict[str, Any]]]:
    """Find the nearest images to each query.

    Args:
        dataset: where to look.
        queries: float32 [q, D].
        rows: the row that each query is, which is not among its own neighbours; -1 for none.
        k: how many.

    Returns:
        For each query, matches with `rank` from 1, `cosine`, `uri` and `row`.
    """
    # Blocks are compared in as many threads as there are cores already.
    with threadpool_limits(1, "blas"):
        found = search(dataset, queries, k + 1)
    if not np.isfinite(found.cosines).all():
        raise DatasetError(f"{dataset} has embeddings with NaN or infinity: {VERIFY_ADVICE}")
    kept = [found.rows[i] != row for i, row in enumerate(rows)]
    nearest = [found.rows[i][keep][:k] for i, keep in enumerate(kept)]
    cosines = [found.cosines[i][keep][:k] for i, keep in enumerate(kept)]
    uris = dataset.take(np.concatenate(nearest)).metadata["uri"].to_pylist()
    matches = iter(uris)
    return [
        [
            {"rank": rank, "cosine": round(float(cosine), 6), "uri": next(matches), "row": int(row)}
            for rank, (cosine, row) in enumerate(zip(near, at, strict=True), 1)
        ]
        for at, near in zip(nearest, cosines, strict=True)
    ]


def embed_images(
    dataset: Dataset, uris: list[str], handle: str | None, trust_model: bool = False
) -> npt.NDArray[np.float32]:
    """Embed images with the dataset's own model and settings.

    Args:
        dataset: what to be compared with.
        uris: the images.
        handle: where the model is, as the user says; None for the default model.
        trust_model: whether it may read and write files.

    Returns:
        float32 [n, D].

    Raises:
        ArgumentError: if the model is another one, or one that the user has not named, or an image
            cannot be embedded.
    """
    # Beam and TensorFlow are needed for nothing else here.
    from beamvec.transforms.embedding.embedder import Embedder
    from beamvec.transforms.inference.config import Int8Model, ModelConfig, make_given
    from beamvec.transforms.inference.model import load_model

    precision = _require_known(dataset)
    # One that this machine lacks would change no cosine that is shown.
    resizer: Resizer = "pillow" if dataset.settings.resizer == "pillow" else choose_resizer()
    handle = handle or _require_default(dataset)
    try:
        _require_same_model(dataset, handle)
        # The smallest batch: a query is seldom more than one image.
        config = ModelConfig(
            handle,
            engine=dataset.settings.engine,
            precision=precision,
            xla="on" if dataset.settings.xla == "on" else "off",
            batch_size=2,
            given=make_given(_list_fields(dataset.run.spec)),
            trusted=trust_model,
        )
        if sha256 := dataset.settings.int8:
            kept = Layout(dataset.paths[0]).int8_file(sha256)
            config = dataclasses.replace(config, int8=Int8Model(sha256, kept))
        model = Embedder(load_model(config))
    except ModelError as error:
        raise ArgumentError(f"{error}; if it has moved, give --model") from error
    try:
        return dataclasses.replace(model, resizer=resizer).embed(uris)
    except ImageError as error:
        at, stage, _, message = error.failures[0]
        raise ArgumentError(f"cannot {_VERBS[stage]} --image {uris[at]}: {message}") from error


def _require_default(dataset: Dataset) -> str:
    """Return the default model's handle, or refuse what else a dataset names.

    A SavedModel can read and write files where it runs, and whoever made the dataset chose it.
    """
    named = dataset.run.model
    if named != DEFAULT_MODEL:
        raise ArgumentError(
            f"{dataset} names the model {named}, and a model is code: to run it, if you trust it, "
            f"give --model {shlex.quote(named)}; --uri needs no model"
        )
    return named


def _require_same_model(dataset: Dataset, handle: str) -> None:
    """Refuse, before it is loaded, a model that is not the one that made a dataset."""
    from beamvec.transforms.inference.model_files import ModelFiles

    found, wanted = ModelFiles.fetch(handle).fingerprint(), dataset.settings.fingerprint
    if found != wanted:
        raise ArgumentError(
            f"the model {handle} is not the one that made {dataset} (fingerprint {found[:12]}, "
            f"not {wanted[:12]})"
        )


_VERBS = {"read": "read", "decode": "decode", "infer": "embed"}


def _require_known(dataset: Dataset) -> Precision:
    """Return how a dataset's images were computed, if this version knows how."""
    settings = dataset.settings
    known = {"precision": PRECISIONS, "engine": tuple(ENGINES), "resizer": RESIZERS}
    for name, choices in known.items():
        if getattr(settings, name) not in choices:
            raise ArgumentError(
                f"{dataset} was made with {name} {getattr(settings, name)}, which this beamvec "
                "does not know; use a later one, or --uri"
            )
    return cast(Precision, settings.precision)


def _list_fields(spec: ModelSpec) -> dict[str, Any]:
    """Return the fields of a dataset's contract that say something."""
    fields = dataclasses.asdict(spec)
    if spec.resize != "crop":
        del fields["crop_ratio"]
    return {name: value for name, value in fields.items() if value not in ("", 0)}


def _describe(results: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    for result in results:
        lines += ["", f"nearest to {result['query']}, by cosine"]
        lines += [f"{m['rank']:>4}  {m['cosine']:.4f}  {m['uri']}" for m in result["matches"]]
    return lines[1:]


def _write_sheet(args: argparse.Namespace, results: list[dict[str, Any]], dataset: Dataset) -> None:
    from beamvec.pipeline.pages.thumbnails import make_thumbnails

    uris = [match["uri"] for result in results for match in result["matches"]]
    thumbnails = make_thumbnails([*uris, *(args.uri or ())], dataset)
    thumbnails.add(args.image or ())
    page = render("search.html", dataset=args.dir, results=results, thumbnails=thumbnails)
    write_page(args.html, page, thumbnails.describe_missed(), beside=args.json)
