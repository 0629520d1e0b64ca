"""Ray Data: read_images, one actor with the model, write_parquet.

All of it on this machine; nothing is sent anywhere.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import numpy as np

from command import Job, read_job

BATCH_SIZE = 32
NOT_INSTALLED = 77


class Embedder:
    """Holds the model in an actor."""

    def __init__(self, model: str):
        import tensorflow as tf

        self._constant = tf.constant
        self._loaded = tf.saved_model.load(model)
        self._signature = self._loaded.signatures["serving_default"]
        (self._name,) = self._signature.structured_input_signature[1]

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Embed a batch."""
        images = batch["image"].astype(np.float32) / 255
        outputs = self._signature(**{self._name: self._constant(images)})
        features = outputs.get("feature_vector", next(iter(outputs.values())))
        return {"uri": batch["path"], "embedding": features.numpy()}


def main(job: Job) -> None:
    """Embed all images."""
    import ray

    ray.init(num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False, log_to_driver=False)
    size = (job.size, job.size)
    images = ray.data.read_images(job.paths, size=size, mode="RGB", include_paths=True)
    embedded = images.map_batches(
        Embedder,
        fn_constructor_args=(job.model,),
        batch_size=BATCH_SIZE,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    embedded.write_parquet(job.output)
    ray.shutdown()


if __name__ == "__main__":
    try:
        import ray.data  # noqa: F401
    except ImportError:
        print("ray is not installed (pip install '.[bench]')", file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    main(read_job())
