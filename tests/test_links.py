"""Links to images: quoted by bytes, and to nothing but local files and URLs."""

from __future__ import annotations

import os

import pytest

import samples
from beamvec.pipeline.originals import Originals
from beamvec.pipeline.pages.links import find_links
from beamvec.transforms.files.readers import path_of


@pytest.mark.parametrize("name", [b"a b#1 50%?.png", b"caf\xe9.png", "é\n&<.png".encode()])
def test_links_lead_to_the_file_whatever_its_name(name, tmp_path, extract, dataset):
    path = os.path.join(os.fsencode(tmp_path), b"in", name)
    (tmp_path / "in").mkdir()
    with open(path, "wb") as file:
        file.write(samples.encode(samples.make_image(0), "PNG"))
    assert extract("--input", tmp_path / "in") == 0
    (link,) = find_links(dataset().read_uris(), Originals(dataset())).values()
    assert link.isascii()
    assert not set("# ?&<\n") & set(link)
    assert os.fsencode(path_of(link)) == path


@pytest.mark.parametrize(
    "uri", ["javascript:alert(1)", "file://host/share/a.png", "s3://bucket/a.png", "nowhere.png"]
)
def test_what_no_browser_should_follow_has_no_link(uri):
    assert find_links([uri], Originals()) == {}


def test_urls_are_their_own_links():
    assert find_links(["https://h/a.png"], Originals()) == {"https://h/a.png": "https://h/a.png"}
