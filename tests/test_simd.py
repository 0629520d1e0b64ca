"""Resizing by SIMD, against Pillow."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import samples
from beamvec.transforms.decoding import simd
from beamvec.transforms.decoding.decode import DecodeImages
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.resize import (
    RESIZE_MODES,
    ResizerError,
    Resizing,
    choose_resizer,
    make_resizing,
    require_resizer,
)
from beamvec.transforms.embedding.embedder import load_model

cykooz_resizer = pytest.importorskip("cykooz_resizer", reason="it has no wheel for this machine")

BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


@st.composite
def pictures(draw: st.DrawFn) -> Image.Image:
    """Photographs nearly, noise, and the hardest edges, from one pixel to some hundred."""
    size = draw(st.tuples(st.integers(1, 700), st.integers(1, 700)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["smooth", "noise", "edges"]))
    if kind == "smooth":
        small = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize(size, BICUBIC)
    else:
        values = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        image = Image.fromarray(values if kind == "noise" else (values // 128) * 255)
    return image.convert(draw(st.sampled_from(["RGB", "RGB", "L", "CMYK"])))


def measure_difference(one: np.ndarray, other: np.ndarray) -> int:
    """Return by how many grey levels two images differ at the most."""
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@given(
    pictures(),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.sampled_from(Image.Resampling),
    st.tuples(*[st.floats(0, 0.4)] * 4),
)
@settings(max_examples=150, deadline=None)
def test_no_value_is_more_than_one_grey_level_from_pillows(picture, size, filter_, cut):
    width, height = picture.size
    box = (cut[0] * width, cut[1] * height, (1 - cut[2]) * width, (1 - cut[3]) * height)
    if simd.can_resize(picture, size, box, filter_):
        found = np.asarray(simd.resize(picture, size, box, filter_))
        assert measure_difference(found, np.asarray(picture.resize(size, filter_, box))) <= 1
    else:
        assert filter_ != BILINEAR or height > 100 * width


@given(
    pictures(),
    st.sampled_from(RESIZE_MODES),
    st.integers(8, 256),
    st.sampled_from(["bilinear", "bicubic", "lanczos", "box", "hamming", "nearest"]),
    st.integers(1, 8),
    st.sampled_from(["ignore", "srgb"]),
)
@settings(max_examples=60, deadline=None)
def test_every_file_becomes_the_same_square(picture, mode, size, interpolation, turn, profile):
    exif = Image.Exif()
    exif[0x0112] = turn
    data = samples.encode(picture, "JPEG", quality=95, exif=exif)
    one, other = (
        decode_image(data, Resizing(size, mode, interpolation, True, 0.875, profile, resizer))
        for resizer in ("pillow", "simd")
    )
    assert one[1:] == other[1:]
    # A profile may spread one grey level.
    assert measure_difference(one.pixels, other.pixels) <= (3 if profile == "srgb" else 1)


@pytest.mark.parametrize("size", [(3000, 2), (2, 3000), (1, 1), (5, 400)])
@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_thin_and_tiny_images_too(size, mode):
    data = samples.encode(samples.make_image(3, *size), "PNG")
    ways = [decode_image(data, Resizing(64, mode, resizer=way)) for way in ("pillow", "simd")]
    assert measure_difference(ways[0].pixels, ways[1].pixels) <= 1


@given(pictures(), st.tuples(st.integers(1, 300), st.integers(1, 300)))
@settings(max_examples=60, deadline=None)
def test_every_instruction_set_gives_the_same_bytes(picture, size):
    options = cykooz_resizer.ResizeOptions(
        cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.bilinear), use_alpha=False
    )
    usual = cykooz_resizer.Resizer()
    results = set()
    # This machine's best and all below; `none` is plain code, which runs anywhere.
    for level in range(cykooz_resizer.CpuExtensions.none.value, usual.cpu_extensions.value + 1):
        resizer = cykooz_resizer.Resizer()
        resizer.cpu_extensions = cykooz_resizer.CpuExtensions(level)
        target = Image.new(picture.mode, size)
        resizer.resize_pil(picture, target, options)
        results.add(target.tobytes())
    assert len(results) == 1


def test_an_image_in_several_blocks_of_memory_is_resized():
    # From 16 MiB on Pillow keeps rows in blocks that do not lie behind each other.
    image = samples.make_image(5, 2600, 2500)
    box = (0, 0, *image.size)
    found = np.asarray(simd.resize(image, (224, 224), box, BILINEAR))
    assert measure_difference(found, np.asarray(image.resize((224, 224), BILINEAR))) <= 1


@pytest.mark.skipif(sys.platform != "linux", reason="Linux lists the threads of a process")
def test_it_starts_no_threads():
    code = (
        "import os\nfrom PIL import Image\n"
        "from beamvec.transforms.decoding import simd\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "image = Image.new('RGB', (3000, 3000))\n"
        "simd.resize(image, (224, 224), (0, 0, 3000, 3000), Image.Resampling.BILINEAR)\n"
        "assert len(os.listdir('/proc/self/task')) == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_embeddings_are_those_of_pillows_pixels(model_path, tmp_path):
    files = []
    for seed in range(12):
        files.append(str(tmp_path / f"{seed}.jpg"))
        samples.make_image(seed, 500 - 9 * seed, 375).save(files[-1])
    embedder = load_model(model_path)
    assert embedder.resizer == "simd"
    found, wanted = (type(embedder)(embedder.model, way).embed(files) for way in ("simd", "pillow"))
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    assert ((found * wanted).sum(axis=1) / lengths).min() >= 0.9999


def test_the_fastest_that_is_there_is_chosen(monkeypatch):
    assert choose_resizer() == make_resizing(load_spec()).resizer == "simd"
    monkeypatch.setattr(simd, "is_available", lambda: False)
    assert choose_resizer() == make_resizing(load_spec()).resizer == "pillow"
    assert make_resizing(load_spec(), "simd").resizer == "simd"


def load_spec():
    from beamvec.model_spec import ModelSpec

    return ModelSpec(size=8)


def test_a_library_that_does_not_fit_pillow_is_not_used(monkeypatch):
    def blacken(self, source, target, options=None):  # noqa: ARG001 They are the library's.
        target.paste(0, (0, 0, *target.size))

    simd.is_available.cache_clear()
    monkeypatch.setattr(cykooz_resizer.Resizer, "resize_pil", blacken)
    assert not simd.is_available()
    monkeypatch.undo()
    simd.is_available.cache_clear()
    assert simd.is_available()


def test_a_worker_that_lacks_it_says_so_instead_of_resizing_otherwise(monkeypatch):
    monkeypatch.setattr(simd, "is_available", lambda: False)
    require_resizer("pillow")
    with pytest.raises(ResizerError, match="resized by simd, and this machine has no cykooz"):
        require_resizer("simd")
    import apache_beam as beam

    with pytest.raises(Exception, match="this machine has no cykooz"), beam.Pipeline() as pipeline:
        pipeline | beam.Create([1]) | DecodeImages(Resizing(8, resizer="simd"))
