"""Chunks made for tests, with embeddings that mean nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from beamvec.transforms.records.chunks import Chunk, Effort, EmbeddedChunk
from beamvec.transforms.records.images import Failure, ImageInfo, ImageRef

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)


@st.composite
def embedded_chunks(draw):
    uris = sorted(draw(st.sets(words, min_size=1, max_size=12)))
    refs = [ImageRef(uri) for uri in uris]
    good = [draw(st.booleans()) for _ in refs]
    images = [
        ImageInfo(ref, "0" * 64, 4, 3, "PNG", 9) for ref, ok in zip(refs, good, strict=True) if ok
    ]
    failures = [
        Failure(ref, draw(st.sampled_from(["read", "decode", "infer"])), "E", draw(words), None)
        for ref, ok in zip(refs, good, strict=True)
        if not ok
    ]
    features = np.arange(len(images) * 3, dtype=np.float32).reshape(-1, 3)
    chunk = Chunk(0, 0, f"{draw(st.integers(0, 2**64)):064x}", tuple(refs))
    return EmbeddedChunk(chunk, features, images, failures, Effort(), "load")


def make_chunk(digest: str, good: int, bad: int = 0, **changes) -> EmbeddedChunk:
    """Return a chunk of some images with embeddings and some failures of stage read."""
    refs = [ImageRef(f"{digest}{i:03d}.jpg", 1, 1.0) for i in range(good + bad)]
    images = [ImageInfo(ref, "", 1, 1, "PNG", 1) for ref in refs[:good]]
    failures = [Failure(ref, "read", "OSError", "gone", None) for ref in refs[good:]]
    chunk = Chunk(0, 0, digest, tuple(refs))._replace(**changes)
    return EmbeddedChunk(chunk, np.zeros((good, 2), np.float32), images, failures, Effort(), "load")
