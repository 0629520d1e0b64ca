"""Batched inference: `ExtractFeatures`, on Beam's RunInference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.pvalue import PCollection

from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.model import FeatureModel, load_model
from beamvec.transforms.records.chunks import DecodedChunk, Effort, EmbeddedChunk
from beamvec.transforms.records.coders import InProcessCoder
from beamvec.transforms.records.images import Failure
from beamvec.transforms.records.tally import EMBEDDED


def embed_chunk(decoded: DecodedChunk, model: FeatureModel) -> EmbeddedChunk:
    """Embed a chunk's images; rows that hold NaN or infinity become failures of stage infer."""
    features, infer_s = model.embed_timed(decoded.pixels, EMBEDDED.add)
    finite = np.asarray(np.isfinite(features).all(axis=1))
    effort = decoded.effort + Effort(infer_s=infer_s)
    broken = [
        Failure(
            image.ref,
            "infer",
            "NotFiniteError",
            "the model returned NaN or infinity for this image",
            image.size_bytes,
        )
        for image, is_finite in zip(decoded.images, finite, strict=True)
        if not is_finite
    ]
    return EmbeddedChunk(
        chunk=decoded.chunk,
        features=features if finite.all() else features[finite],
        images=[image for image, ok in zip(decoded.images, finite, strict=True) if ok],
        failures=sorted([*decoded.failures, *broken], key=lambda failure: failure.ref.uri),
        effort=effort,
        load_id=model.load_id,
    )


class FeatureModelHandler(ModelHandler[DecodedChunk, EmbeddedChunk, FeatureModel]):
    """Runs a `FeatureModel`: one `DecodedChunk` in, one `EmbeddedChunk` out.

    Args:
        config: which model is run, and how.
        fingerprint: what the model's fingerprint must be: every worker computes with the model
            that was checked at launch, or not at all.
        spec: what its contract must be, likewise.
    """

    def __init__(self, config: ModelConfig, fingerprint: str, spec: ModelSpec):
        self._config = config
        self._fingerprint = fingerprint
        self._spec = spec
        self._embedded = Metrics.counter("beamvec", "images_embedded")

    def load_model(self) -> FeatureModel:
        """Load the model, once per process."""
        model = load_model(self._config, (self._fingerprint, self._spec))
        if model.fingerprint != self._fingerprint:
            raise ModelError(
                f"the model {self._config.handle} has changed since the launch: its fingerprint is "
                f"{model.fingerprint}, expected {self._fingerprint}"
            )
        if model.spec != self._spec:
            raise ModelError(
                f"what is said of the model {self._config.handle} ({model.source}) has changed "
                f"since the launch: it is {model.spec}, expected {self._spec}"
            )
        return model

    def run_inference(
        self,
        batch: Sequence[DecodedChunk],
        model: FeatureModel,
        inference_args: dict[str, Any] | None = None,  # noqa: ARG002 RunInference passes it.
    ) -> Iterable[EmbeddedChunk]:
        """Embed each chunk of a batch."""
        embedded = [embed_chunk(decoded, model) for decoded in batch]
        self._embedded.inc(sum(len(chunk.images) for chunk in embedded))
        return embedded

    def batch_elements_kwargs(self) -> dict[str, Any]:
        """Return that a chunk is a batch already."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def get_num_bytes(self, batch: Sequence[DecodedChunk]) -> int:
        """Return the bytes of the pixels; the default pickles them."""
        return sum(decoded.pixels.nbytes for decoded in batch)


class ExtractFeatures(beam.PTransform[Any, Any]):
    """Embed: `DecodedChunk` -> `EmbeddedChunk` with float32 [n, D] features."""

    def __init__(self, handler: FeatureModelHandler):
        super().__init__()
        self._handler = handler

    def expand(self, decoded: PCollection[DecodedChunk]) -> PCollection[EmbeddedChunk]:
        """Apply the transform."""
        infer = RunInference(self._handler).with_output_types(EmbeddedChunk)
        return decoded | "Infer" >> infer


beam.coders.registry.register_coder(EmbeddedChunk, InProcessCoder)
