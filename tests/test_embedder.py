"""`beamvec.load_model` and `.embed`: images in memory, without Beam."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import beamvec
import samples
from beamvec.transforms.embedding import embedder


@pytest.fixture(scope="module")
def model(model_path):
    return beamvec.load_model(model_path)


def test_files_have_the_embeddings_of_a_dataset(model, extract, dataset, photos):
    extract("--input", photos, "--max-failure-ratio", "1")
    vectors = model.embed(dataset().read_uris())
    np.testing.assert_array_equal(vectors, dataset().read_vectors())
    assert model.fingerprint == dataset().settings.fingerprint


@pytest.mark.parametrize("name", ["group0/00.jpg", "group1/01.PNG", "group0/02.webp"])
def test_every_form_of_an_image_has_the_same_embedding(model, photos, name):
    path = photos / name
    image = Image.open(path)
    pixels = np.asarray(image.convert("RGB"))
    forms = [str(path), path, path.read_bytes(), bytearray(path.read_bytes()), image, pixels]
    vectors = model.embed(forms)
    assert vectors.shape == (6, samples.DIMENSION)
    assert vectors.dtype == np.float32
    for vector in vectors[1:]:
        np.testing.assert_array_equal(vector, vectors[0])


def test_paths_at_home_are_found(model, photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos))
    vectors = model.embed(["~/group0/00.jpg", Path("~/group0/00.jpg"), photos / "group0/00.jpg"])
    assert len(np.unique(vectors, axis=0)) == 1


def test_one_image_gives_one_row(model, photos):
    path = photos / "group0/00.jpg"
    pixels = np.asarray(Image.open(path))
    for one in (path, str(path), path.read_bytes(), Image.open(path), pixels, pixels[None]):
        assert model.embed(one).shape == (1, samples.DIMENSION)
    assert model.embed(np.stack([pixels] * 3)).shape == (3, samples.DIMENSION)
    assert model.embed([]).shape == (0, samples.DIMENSION)


def test_orientation_of_a_pillow_image_counts(model, tmp_path):
    image = samples.make_image(3)
    exif = Image.Exif()
    exif[274] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    expected = model.embed(tmp_path / "turned.png")
    np.testing.assert_array_equal(model.embed(Image.open(tmp_path / "turned.png")), expected)
    assert not np.array_equal(model.embed(image), expected)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F", "I", "HSV", "PA"]
)
def test_pillow_images_of_every_mode_are_taken(model, mode):
    image = samples.make_image(1)
    if mode == "PA":
        image = image.convert("P").convert("PA")
    elif mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    assert np.isfinite(model.embed(image)).all()


def test_a_mode_that_nothing_converts_is_refused(model):
    image = samples.make_image(1).convert("LA").convert("La")
    with pytest.raises(beamvec.ArgumentError, match="mode La"):
        model.embed(image)


def test_what_cannot_be_embedded_is_named(model, photos):
    good = photos / "group0/00.jpg"
    with pytest.raises(beamvec.ImageError, match="image 1 cannot be embedded: read: FileNot") as at:
        model.embed([good, "/nowhere.jpg", b"no image", good])
    assert [failure[:2] for failure in at.value.failures] == [(1, "read"), (2, "decode")]


@pytest.mark.parametrize(
    "image", [3, None, np.zeros((4, 4, 3), np.float32), np.zeros(4, np.uint8), object()]
)
def test_what_is_no_image_is_refused(model, image):
    with pytest.raises(beamvec.ArgumentError, match="an image is"):
        model.embed([image])


def test_resize_changes_what_the_model_sees(model_path, photos):
    wide = photos / "group0/00.jpg"
    vectors = [
        beamvec.load_model(model_path, resize=resize).embed(wide)
        for resize in ("stretch", "crop", "pad")
    ]
    assert not np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


def test_a_model_is_loaded_once(model_path):
    first, second = (beamvec.load_model(model_path) for _ in range(2))
    assert first.model is second.model
    assert (first.input_size, first.dimension) == (samples.SIZE, samples.DIMENSION)


@pytest.mark.parametrize(
    "options", [{"resize": "no"}, {"engine": "no"}, {"precision": "no"}, {"batch_size": 1}]
)
def test_arguments_that_cannot_be_are_refused(model_path, options):
    with pytest.raises(beamvec.ArgumentError):
        beamvec.load_model(model_path, **options)


def test_a_model_that_is_not_there_is_a_model_error(tmp_path):
    with pytest.raises(beamvec.ModelError, match="no such folder"):
        beamvec.load_model(Path(tmp_path / "nothing"))


def test_many_images_are_not_all_decoded_before_the_first_is_embedded(model, photos, monkeypatch):
    """Ten thousand in one call would take 1.5 GB of pixels."""
    files = sorted((photos / "group0").glob("*.jpg"))
    assert len(files) == 4
    wanted = model.embed(files)
    rows = []
    decode = embedder.decode_chunk

    def note(*args):
        decoded = decode(*args)
        rows.append(len(decoded.pixels))
        return decoded

    monkeypatch.setattr(embedder, "decode_chunk", note)
    monkeypatch.setattr(embedder, "PIXEL_BYTES", 3 * 3 * samples.SIZE**2)
    np.testing.assert_array_equal(model.embed(files), wanted)
    assert rows == [3, 1]
    assert model.embed([]).shape == (0, model.dimension)
    bad = [files[0], b"first", *files, b"second"]
    with pytest.raises(beamvec.ImageError) as caught:
        model.embed(bad)
    assert [failure[0] for failure in caught.value.failures] == [1, 6]
