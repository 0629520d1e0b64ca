"""Images and models for the tests, made on the spot."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from beamvec.embeddings import RunRecord, layout, schema
from beamvec.embeddings.failure_count import FailureCount
from beamvec.embeddings.run_record import Counts, FileRecord
from beamvec.embeddings.settings import Settings
from beamvec.transforms.inference.model_files import import_tensorflow

SIZE = 32
DIMENSION = 16  # Fills vector registers, so that no kernel rounds by an image's place in the batch.


def make_image(seed: int, width: int = 60, height: int = 40) -> Image.Image:
    """Return an image with coarse random structure, RGB."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, format_: str, **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def make_folder(folder: Path) -> None:
    """Write 23 images, two of them broken, in two levels, and two files that are no images."""
    for seed in range(21):
        name, format_ = [("jpg", "JPEG"), ("PNG", "PNG"), ("webp", "WEBP")][seed % 3]
        file = folder / f"group{seed % 2}" / f"{seed:02d}.{name}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encode(make_image(seed), format_))
    (folder / "broken.jpg").write_bytes(encode(make_image(90), "JPEG")[:700])
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    (folder / "group0" / "README").write_text("no image")


def save_model(path: str, call: Any, shape: tuple[int | None, ...] = (None, SIZE, SIZE, 3)) -> None:
    """Save `call`, images -> features, as a SavedModel with only a signature serving_default."""
    tf = import_tensorflow()
    root = tf.train.Checkpoint()
    spec = tf.TensorSpec(shape, tf.float32, name="inputs")
    root.serving_default = tf.function(call, input_signature=[spec])
    tf.saved_model.save(root, path, signatures={"serving_default": root.serving_default})


def save_tiny_model(path: str, seed: int = 0) -> None:
    """Save a small convolutional model with the TF-Hub feature vector interface.

    It returns NaN for an image that is pure red, so that failures of stage infer can be made.
    """
    tf = import_tensorflow()
    random = np.random.default_rng(seed)
    values = random.normal(size=(5, 5, 3, DIMENSION)).astype(np.float32)
    # Of mean zero, so that embeddings differ from image to image.
    kernel = tf.Variable(values - values.mean(axis=(0, 1, 2)))
    root = tf.train.Checkpoint(kernel=kernel)

    @tf.function
    def call(inputs: Any, training: bool = False) -> Any:
        features = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(inputs, kernel, 4, "SAME")), [1, 2])
        noise = 1.0 if training else 0.0  # Tells a call with training=True apart.
        means = tf.reduce_mean(inputs, [1, 2])
        is_red = tf.reduce_all(tf.equal(means, [1.0, 0.0, 0.0]), axis=1, keepdims=True)
        return tf.where(is_red, float("nan"), features + noise)

    spec = tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="inputs")
    for training in (False, True):
        call.get_concrete_function(spec, training=training)
    root.__call__ = call
    root.serving_default = tf.function(lambda inputs: {"default": call(inputs)}, [spec])
    tf.saved_model.save(root, path, signatures={"serving_default": root.serving_default})
    # It is as on TF-Hub, and says so.
    Path(path, "beamvec.json").write_text(json.dumps({"scale": 1 / 255}))


def write_dataset(
    folder: Path,
    vectors: np.ndarray,
    uris: list[str] | None = None,
    parts: int = 3,
    failures: int = 0,
) -> list[str]:
    """Write a finished dataset of some embeddings, float32 [N, D]; return the uris in row order.

    The failures are in the first part.
    """
    uris = uris or [f"{i:05d}.jpg" for i in range(len(vectors))]
    record = RunRecord(
        settings=Settings("f" * 64, format_version=schema.FORMAT_VERSION),
        model="m",
        dimension=vectors.shape[1],
        counts=Counts(len(uris) + failures, len(uris), failures),
        failures=(FailureCount("read", "OSError", failures, "gone"),) if failures else (),
    )
    embedding_schema, failure_schema = (
        schema.with_metadata(schema.table_schema(table), record.file_metadata())
        for table in ("embeddings", "failures")
    )
    order: list[str] = []
    for part in range(parts):
        rows = sorted(range(part, len(uris), parts), key=uris.__getitem__)
        order += [uris[row] for row in rows]
        table = pa.table(
            [
                [uris[row] for row in rows],
                [vectors[row] for row in rows],
                [f"{row:064x}" for row in rows],
                *[[1] * len(rows)] * 2,
                ["JPEG"] * len(rows),
                [100] * len(rows),
            ],
            schema=embedding_schema,
        )
        _write_part(folder / "embeddings", part, parts, table)
        rows = range(0 if part else failures)
        errors = [[text] * len(rows) for text in ("read", "OSError", "gone")]
        failed = [[f"gone{row}.jpg" for row in rows], *errors, [None] * len(rows)]
        _write_part(folder / "failures", part, parts, pa.table(failed, schema=failure_schema))
        inputs = table.select(["uri", "size_bytes"])
        inputs = inputs.append_column("modified_s", pa.nulls(len(table), pa.float64()))
        inputs = inputs.cast(schema.table_schema("_inputs"))
        _write_part(folder / "_inputs", part, parts, inputs)
    write_record(folder, dataclasses.replace(record, files=measure_parts(folder)))
    return order


def measure_parts(folder: Path) -> dict[str, FileRecord]:
    """Return what `run.json` tells of the parts of a dataset, as they are."""
    files = {}
    for path in sorted(folder.glob("*/*.parquet")):
        content = path.read_bytes()
        written = FileRecord(len(content), hashlib.sha256(content).hexdigest())
        files[f"{path.parent.name}/{path.name}"] = written
    return files


def write_record(folder: Path, record: RunRecord | Mapping[str, Any] | bytes) -> None:
    """Write `run.json`, and the `_SUCCESS` that belongs to it."""
    if isinstance(record, RunRecord):
        record = record.to_json().encode()
    content = record if isinstance(record, bytes) else json.dumps(record).encode()
    (folder / "run.json").write_bytes(content)
    (folder / "_SUCCESS").write_bytes(layout.success_content(content))


def sign(folder: Path) -> None:
    """Make the record of a dataset that was changed tell of the parts as they are."""
    record = RunRecord.from_json((folder / "run.json").read_bytes(), "run.json")
    write_record(folder, dataclasses.replace(record, files=measure_parts(folder)))


def _write_part(folder: Path, part: int, parts: int, table: pa.Table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    options = schema.parquet_options(table.schema)
    pq.write_table(
        table,
        folder / layout.part_name(part, parts),
        row_group_size=schema.ROW_GROUP_ROWS,
        **options,
    )
