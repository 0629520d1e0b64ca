"""Colours: profiles that are applied when that is asked for, and formats of the extras."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms, UnidentifiedImageError

import samples
from beamvec.transforms.decoding.pixels import decode_image
from beamvec.transforms.decoding.resize import Resizing

SRGB = Resizing(16, color_profile="srgb")


def swapped_profile() -> bytes:
    """Return a profile whose red is sRGB's green and whose green is sRGB's red."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    tags = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_profile_is_applied_only_if_asked_for(format_):
    options = {"PNG": {}, "JPEG": {"quality": 100}, "TIFF": {}, "WEBP": {"lossless": True}}
    image = Image.new("RGB", (32, 24), (200, 30, 30))
    data = samples.encode(image, format_, icc_profile=swapped_profile(), **options[format_])
    plain = decode_image(data, Resizing(16)).pixels[8, 8].astype(int)
    converted = decode_image(data, SRGB).pixels[8, 8].astype(int)
    assert np.abs(plain - [200, 30, 30]).max() <= 2
    assert np.abs(converted - [30, 200, 30]).max() <= 3


def test_transparent_pictures_are_converted_too():
    image = Image.new("RGBA", (32, 24), (200, 30, 30, 255))
    data = samples.encode(image, "PNG", icc_profile=swapped_profile())
    assert np.abs(decode_image(data, SRGB).pixels[8, 8].astype(int) - [30, 200, 30]).max() <= 3


def test_srgb_itself_changes_next_to_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = samples.encode(samples.make_image(3, 64, 48), "PNG", icc_profile=profile)
    difference = (
        decode_image(data, SRGB).pixels.astype(int) - decode_image(data, Resizing(16)).pixels
    )
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("profile", [b"", b"garbage" * 50, swapped_profile()[:300]])
def test_a_broken_profile_is_ignored(mode, profile):
    data = samples.encode(samples.make_image(3).convert(mode), "TIFF", icc_profile=profile)
    np.testing.assert_array_equal(
        decode_image(data, SRGB).pixels.astype(int), decode_image(data, SRGB).pixels
    )
    plain = decode_image(data, Resizing(16)).pixels.astype(int)
    assert np.abs(decode_image(data, SRGB).pixels.astype(int) - plain).max() <= 2


def test_it_is_a_setting_of_the_dataset(extract, dataset, photos):
    flags = ["--input", photos / "group0"]
    assert extract(*flags, "--color-profile", "srgb") == 0
    assert dataset().run.spec.color_profile == "srgb"
    assert extract(*flags) == 2  # Other settings.
    assert extract(*flags, "--overwrite") == 0
    assert dataset().run.spec.color_profile == "ignore"


def encode_extra(format_: str, image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    if format_ == "HEIF":
        heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
        heif.from_pillow(image).save(buffer, quality=-1)
    else:
        pytest.importorskip("pillow_jxl", reason="needs the extra jxl")
        image.save(buffer, "JXL", lossless=True)
    return buffer.getvalue()


@pytest.mark.parametrize("format_", ["HEIF", "JXL"])
def test_formats_of_extras_are_decoded_in_the_decoders(format_, extract, dataset, tmp_path):
    image = samples.make_image(6, 90, 60)
    data = encode_extra(format_, image)
    decoded = decode_image(data, Resizing(30))
    expected = np.asarray(image.resize((30, 30), Image.Resampling.BILINEAR), int)
    assert np.abs(decoded.pixels - expected).mean() < 3
    assert (decoded.width, decoded.height, decoded.format) == (90, 60, format_)
    (tmp_path / f"a.{'heic' if format_ == 'HEIF' else 'jxl'}").write_bytes(data)
    assert extract("--input", f"{tmp_path}/a.*") == 0
    [row] = dataset().read_embeddings(["format", "width"]).to_pylist()
    assert row == {"format": format_, "width": 90}


@pytest.mark.parametrize(("format_", "package"), [("HEIF", "pillow_heif"), ("JXL", "pillow_jxl")])
def test_without_its_extra_a_format_is_refused_by_name(format_, package, tmp_path):
    file = tmp_path / "image"
    file.write_bytes(encode_extra(format_, samples.make_image(6, 90, 60)))
    code = (
        "import sys\n"
        f"sys.modules[{package!r}] = None\n"
        "from beamvec.transforms.decoding.pixels import decode_image\n"
        "from beamvec.transforms.decoding.resize import Resizing\n"
        "try:\n"
        f"    decode_image(open({str(file)!r}, 'rb').read(), Resizing(8))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(UnidentifiedImageError.__name__)
    assert f"install beamvec[{'heif' if format_ == 'HEIF' else 'jxl'}]" in done.stdout


def test_a_limit_of_pixels_can_be_raised_and_lowered(extract, dataset, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    samples.make_image(1, 100, 100).save(folder / "small.png")
    # More than Pillow itself takes; a flat picture is quick.
    Image.new("1", (15_000, 12_000)).save(folder / "large.png")
    flags = ["--input", folder, "--max-failure-ratio", "1"]
    assert extract(*flags) == 0
    [failure] = dataset().read_failures().to_pylist()
    assert "is more than the 178,956,970 pixels of --max-pixels" in failure["message"]
    assert extract(*flags, "--max-pixels", "200000000", "--overwrite") == 0
    assert dataset().run.counts.embeddings == 2
    assert extract(*flags, "--max-pixels", "9999", "--overwrite") == 0
    assert dataset().run.counts.failures == 2
    assert dataset().run.settings.max_pixels == 9999


def test_bars_are_black_in_every_mode():
    for mode in ("RGB", "L", "CMYK"):
        data = samples.encode(Image.new("RGB", (40, 20), "white").convert(mode), "JPEG")
        for profile in ("ignore", "srgb"):
            pixels = decode_image(data, Resizing(8, "pad", color_profile=profile)).pixels
            assert (pixels[2:6] == 255).all()
            assert not pixels[:2].any()
