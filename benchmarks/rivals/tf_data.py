"""A tf.data loop, no framework around it: read, decode and resize in parallel, call, write."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from command import Job, read_job


def main(job: Job) -> None:
    """Embed all images."""
    signature = tf.saved_model.load(job.model).signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]

    def load(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, (job.size, job.size)) / 255.0

    images = (
        tf.data.Dataset.from_tensor_slices(job.paths)
        .map(load, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(32)
        .prefetch(tf.data.AUTOTUNE)
    )
    features = []
    for batch in images:
        outputs = signature(**{name: batch})
        features.append(outputs.get("feature_vector", next(iter(outputs.values()))).numpy())
    vectors = np.concatenate(features)
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = pa.table({"uri": job.paths, "embedding": embedding})
    pq.write_table(table, os.path.join(job.output, "embeddings.parquet"))


if __name__ == "__main__":
    main(read_job())
