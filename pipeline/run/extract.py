"""`beamvec.extract`: a run from Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from beamvec.embeddings.run_record import RunRecord
from beamvec.model_spec import ColorProfile, Resize
from beamvec.pipeline.run.config import (
    DEFAULT_CHUNK_SIZE,
    DEFAULT_MAX_FAILURE_RATIO,
    DEFAULT_ROWS_PER_SHARD,
    make_config,
)
from beamvec.pipeline.run.launch import run_extraction
from beamvec.pipeline.run.observer import Observer
from beamvec.pipeline.run.progress import Progress
from beamvec.transforms.decoding.limits import DEFAULT_MAX_FILE_SIZE, MAX_PIXELS
from beamvec.transforms.inference.config import DEFAULT_BATCH_SIZE, DEFAULT_MODEL
from beamvec.transforms.inference.engine import Precision, Xla

Path = str | os.PathLike[str]


def extract(
    input: Path | Sequence[Path] | None = None,  # noqa: A002 The flag's name.
    *,
    output: Path,
    input_list: Path | None = None,
    manifest: Path | None = None,
    uri_column: str | None = None,
    id_column: str | None = None,
    user_agent: str | None = None,
    allow_private_hosts: bool = False,
    ignore_robots_tag: bool = False,
    connections_per_host: int | None = None,
    fetch_timeout: float | None = None,
    csv_encoding: str | None = None,
    manifest_columns: str | None = None,
    base_folder: Path | None = None,
    allow_empty: bool = False,
    limit: int | None = None,
    input_parquet: Path | Sequence[Path] | None = None,
    image_column: str | None = None,
    input_tar: Path | Sequence[Path] | None = None,
    input_tfrecord: Path | Sequence[Path] | None = None,
    image_feature: str | None = None,
    input_zip: Path | Sequence[Path] | None = None,
    model: Path = DEFAULT_MODEL,
    spec: Mapping[str, Any] | None = None,
    resize: Resize | None = None,
    color_profile: ColorProfile | None = None,
    precision: Precision = "float32",
    calibration_images: Path | None = None,
    allow_low_fidelity: bool = False,
    engine: str | None = None,
    xla: Xla = "off",
    require_gpu: bool = False,
    trust_model: bool = False,
    batch_size: int = DEFAULT_BATCH_SIZE,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    rows_per_shard: int = DEFAULT_ROWS_PER_SHARD,
    max_file_size: int = DEFAULT_MAX_FILE_SIZE,
    max_pixels: int = MAX_PIXELS,
    max_failure_ratio: float = DEFAULT_MAX_FAILURE_RATIO,
    append: bool = False,
    overwrite: bool = False,
    progress: bool | Callable[[Progress], Any] | None = None,
    beam_options: Sequence[str] = (),
) -> RunRecord:
    """Embed images into a dataset, as `beamvec extract` does; the arguments are its flags.

    The same call, made again after any stop, goes on where it stopped; on a finished dataset of the
    same input and settings it does nothing. Nothing is printed, and no logging, warnings filter or
    signal handler is touched. Ctrl-C waits until this process has stopped working on the output.

    Args:
        input: a file, a folder (recursive) or a glob, or several of them, on any Beam filesystem.
            One of `input`, `input_list`, `manifest` and the others that name images must be given.
        output: the dataset's folder.
        input_list: a text file with one URI a line; `-` for standard input.
        manifest: a .csv, .tsv, .jsonl or .parquet whose other columns ride along.
        uri_column: the manifest's column of URIs; None means `uri`, or `file_name`.
        id_column: the manifest's column that names the images in the output, for URIs that change,
            such as signed ones; None for the one of the URIs.
        user_agent: what hosts of http:// and https:// URLs are told; None names beamvec.
        allow_private_hosts: whether URLs may lead to this machine and into private networks.
        ignore_robots_tag: whether to fetch what its owner refuses to models by X-Robots-Tag.
        connections_per_host: to a host of URLs at a time, of a process; None means 16.
        fetch_timeout: seconds that fetching a URL may take; None means 60.
        csv_encoding: what a manifest of CSV is written in; None means UTF-8.
        manifest_columns: those of its columns that ride along, with commas between; None means all
            but binary and nested ones.
        base_folder: where its relative paths count from; None means its own folder.
        allow_empty: whether an input without images makes an empty dataset; else it is an error.
        limit: how many images to take: of files, folders and globs those whose paths come first,
            else those that are named first; None for all.
        input_parquet: Parquet files with images as bytes: files, folders or globs.
        image_column: the column of images in Parquet; None means the one that looks so.
        input_tar: tar files of images, such as WebDataset's: files, folders or globs.
        input_tfrecord: TFRecord files of `tf.train.Example`, likewise.
        image_feature: the feature of an example that is the image; None means `image/encoded`,
            `image` or `jpg`.
        input_zip: zip files of images, likewise.
        model: a TF-Hub or Kaggle URL, or the path of a SavedModel, an ONNX file or OpenVINO's IR.
        spec: fields of `ModelSpec`, such as `{"scale": 1, "pool": "mean"}`, which go before what is
            said beside the model.
        resize: how images become square: `stretch`, `crop` or `pad`; None for what the model wants.
        color_profile: `ignore`, or `srgb` to convert colours where a file says what they are; None
            for what the model wants, which is `ignore` as a rule.
        precision: what the model computes in; its output is float32 always. For `int8` it is
            quantised first, with images of the input.
        calibration_images: what to quantise with instead: a folder or a glob of some 350 images.
        allow_low_fidelity: whether to take an int8 model that is far from float32.
        engine: what runs the model: `tensorflow`, `openvino` or `onnxruntime`; None for that of the
            model's format.
        xla: whether XLA compiles the model: `on`, `off`, or `auto`, which takes what a dataset was
            begun with, else what a timing at the start finds faster on a GPU of this machine, else
            `off`.
        require_gpu: whether to fail where the engine sees no GPU.
        trust_model: whether the model may read and write files.
        batch_size: images in a call of the model, 2 to 4,096; does not change the result.
        chunk_size: images in a unit of work and of resume; does not change the result.
        rows_per_shard: rows in an output file, on average.
        max_file_size: in bytes; files that have more are failures, and not read.
        max_pixels: images of more pixels are failures, and not decoded.
        max_failure_ratio: in [0, 1].
        append: embed only what the dataset lacks, and try earlier failures again.
        overwrite: replace a dataset that is there.
        progress: True shows a bar on standard error; a function is called with a `Progress` (images
            done, failed and, once known, in total) every half second and at the end.
        beam_options: Beam's own options, as flags, such as `["--runner=FlinkRunner"]`.

    Returns:
        The record of the dataset, as it stands in `run.json`.

    Raises:
        ArgumentError: for arguments that cannot be, before any work starts.
        ModelError: if the model cannot be used, likewise.
        OutputError: if the output folder cannot be used, likewise.
        PipelineError: if the pipeline failed; finished chunks are kept.
        TooManyFailuresError: if it is done, but more of the images failed than
            `max_failure_ratio`; the dataset stays, and the error has its record.
    """
    arguments = {
        name: value
        for name, value in locals().items()
        if name not in ("progress", "beam_options") and value is not None
    }
    return run_extraction(make_config(arguments), beam_options, Observer(progress))
