"""Batched inference: what becomes of a chunk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import samples
from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.features import ExtractFeatures, FeatureModelHandler, embed_chunk
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.records.chunks import Chunk, DecodedChunk, Effort
from beamvec.transforms.records.images import Failure, ImageInfo, ImageRef


def test_a_worker_refuses_a_model_that_changed_since_the_launch(model_path):
    with pytest.raises(ModelError, match="has changed since the launch"):
        FeatureModelHandler(ModelConfig(model_path), "0" * 64, ModelSpec()).load_model()


def test_nan_features_are_failures_of_stage_infer(extract, dataset, tmp_path):
    Image.new("RGB", (50, 50), (255, 0, 0)).save(tmp_path / "red.png")
    samples.make_image(1).save(tmp_path / "good.png")
    assert extract("--input", tmp_path / "*.png") == 1
    made = dataset()
    assert [Path(uri).name for uri in made.read_embeddings()["uri"].to_pylist()] == ["good.png"]
    failure = made.read_failures().to_pylist()[0]
    assert (failure["stage"], Path(failure["uri"]).name) == ("infer", "red.png")


@dataclass(frozen=True)
class Mean:
    """Stands for a model: an image's mean colour, NaN for a black one."""

    load_id: str = "load"

    def embed_timed(self, pixels, on_batch):
        on_batch(len(pixels))
        means = pixels.mean(axis=(1, 2)).astype(np.float32)
        means[means.sum(axis=1) == 0] = np.nan
        return means, 0.5


def decoded(values: list[int], failures: int = 0) -> DecodedChunk:
    """Return a chunk of grey images, and of some that could not be decoded."""
    refs = [ImageRef(f"{i:02d}.jpg") for i in range(len(values) + failures)]
    good, bad = refs[: len(values)], refs[len(values) :]
    pixels = np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    return DecodedChunk(
        Chunk(0, 0, "ab", tuple(refs)),
        pixels,
        [ImageInfo(ref, "", 4, 4, "PNG", 9) for ref in good],
        [Failure(ref, "decode", "OSError", "broken", 9) for ref in bad],
        Effort(decode_s=1.0),
    )


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(0, 3))
def test_every_image_of_a_chunk_is_a_row_or_a_failure(values, failures):
    embedded = embed_chunk(decoded(values, failures), Mean())
    names = [image.ref.uri for image in embedded.images]
    failed = [failure.ref.uri for failure in embedded.failures]
    assert sorted(names + failed) == [ref.uri for ref in embedded.chunk.refs]
    assert failed == sorted(failed)
    kept = [value for value in values if value]
    np.testing.assert_array_equal(embedded.features, np.repeat(kept, 3).reshape(-1, 3))
    stages = [failure.stage for failure in embedded.failures]
    assert (stages.count("infer"), stages.count("decode")) == (values.count(0), failures)
    assert (embedded.load_id, embedded.effort) == ("load", Effort(decode_s=1.0, infer_s=0.5))


def test_a_handler_takes_chunks_as_they_are():
    handler = FeatureModelHandler(ModelConfig("m"), "0" * 64, ModelSpec())
    assert handler.batch_elements_kwargs() == {"min_batch_size": 1, "max_batch_size": 1}
    assert handler.get_num_bytes([decoded([1, 2]), decoded([3])]) == 3 * 4 * 4 * 3
    (embedded,) = handler.run_inference([decoded([1, 0])], Mean())
    assert len(embedded.features) == 1


def test_features_of_a_chunk_in_beam_are_those_of_the_model(model_path):
    spec = ModelConfig(model_path, batch_size=4)
    model = load_model(spec)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    chunk = replace(decoded([1] * 6), pixels=pixels)
    handler = FeatureModelHandler(spec, model.fingerprint, model.spec)
    with TestPipeline(runner="FnApiRunner") as pipeline:
        embedded = pipeline | beam.Create([chunk]) | ExtractFeatures(handler)
        features = embedded | beam.Map(lambda one: one.features.tolist())
        assert_that(features, equal_to([model.embed_pixels(pixels).tolist()]))
