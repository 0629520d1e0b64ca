"""The textbook pipeline: one element an image, stock RunInference, WriteToParquet.

The stock TFModelHandler loads models through Keras 3, which refuses SavedModels, so a handler of
some lines loads this one (https://github.com/apache/beam/issues/30288). The runner is the
FnApiRunner with its own defaults, which is what `DirectRunner` comes to without a network: it first
tries to download Prism.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.ml.inference.base import (
    KeyedModelHandler,
    ModelHandler,
    PredictionResult,
    RunInference,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from PIL import Image

from command import Job, read_job


class DecodeImage(beam.DoFn):
    """Path -> (path, float32 [S, S, 3] RGB in [0, 1])."""

    def __init__(self, size: int):
        self.size = size

    def process(self, path: str) -> Iterable[tuple[str, np.ndarray]]:
        """Read, decode and resize."""
        with beam.io.filesystems.FileSystems.open(path) as file, Image.open(file) as image:
            resized = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        yield path, np.asarray(resized, np.float32) / 255


class SavedModelHandler(ModelHandler[np.ndarray, PredictionResult, Any]):
    """Calls the signature serving_default of a SavedModel on batches of up to 32 images."""

    def __init__(self, path: str):
        self.path = path

    def load_model(self) -> Any:
        """Load the SavedModel."""
        return tf.saved_model.load(self.path)

    def run_inference(
        self, batch: Sequence[np.ndarray], model: Any, inference_args: dict[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        """Embed a batch."""
        signature = model.signatures["serving_default"]
        (name,) = signature.structured_input_signature[1]
        outputs = signature(**{name: tf.constant(np.stack(batch))}, **(inference_args or {}))
        features = outputs.get("feature_vector", next(iter(outputs.values())))
        return [PredictionResult(x, y) for x, y in zip(batch, features.numpy(), strict=True)]

    def batch_elements_kwargs(self) -> dict[str, Any]:
        """Return the largest batch; the rest is Beam's default."""
        return {"max_batch_size": 32}


def to_row(result: tuple[str, PredictionResult]) -> dict[str, Any]:
    """Return a row for WriteToParquet."""
    path, prediction = result
    return {"uri": path, "embedding": prediction.inference}


def main(job: Job) -> None:
    """Run the pipeline."""
    schema = pa.schema([("uri", pa.string()), ("embedding", pa.list_(pa.float32()))])
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        (
            pipeline
            | beam.Create(job.paths)
            | beam.ParDo(DecodeImage(job.size))
            | RunInference(KeyedModelHandler(SavedModelHandler(job.model)))
            | beam.Map(to_row)
            | beam.io.WriteToParquet(
                os.path.join(job.output, "part"), schema, file_name_suffix=".parquet"
            )
        )


if __name__ == "__main__":
    main(read_job())
