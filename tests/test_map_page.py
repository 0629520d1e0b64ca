"""The map in a real browser, 20,000 dots: colour, zoom, selection, neighbours, search, keys."""

from __future__ import annotations

import base64
import gzip
import json
import re

import numpy as np
import pytest
from playwright.sync_api import expect

import samples
from beamvec.embeddings import open_dataset
from beamvec.pipeline.commands.map import make_page
from beamvec.pipeline.pages import map as drawing
from beamvec.pipeline.pages import map_projection
from beamvec.pipeline.pages.map_sample import read_sample

GROUPS = 40
ROWS = 20_000
EVIL = "/in/group07/<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset of 40 groups of 500 rows, a folder each; some of its images are there."""
    root = tmp_path_factory.mktemp("map")
    random = np.random.default_rng(0)
    groups = np.arange(ROWS) % GROUPS
    vectors = random.normal(size=(GROUPS, 16))[groups] + 0.3 * random.normal(size=(ROWS, 16))
    uris = [f"/in/group{group:02d}/{i:05d}.png" for i, group in enumerate(groups)]
    uris[7] = EVIL
    for i in (0, 40, 80):
        (root / "images").mkdir(exist_ok=True)
        uris[i] = str(root / "images" / f"{i}.png")
        samples.make_image(i).save(uris[i])
    samples.write_dataset(root / "dataset", vectors.astype(np.float32), uris)
    return root


@pytest.fixture(scope="module")
def drawn(made):
    """The page of it, and what is in it. Few steps: the tests do not look at islands."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ANCHORS": 1_000, "_STEPS": 25, "_SETTLING_STEPS": 2}.items():
            patch.setattr(map_projection, name, value)
        dataset = open_dataset(str(made / "dataset"))
        sample = read_sample(dataset, ROWS)
        there = [i for i, uri in enumerate(sample.uris) if "/images/" in uri]
        patch.setattr(drawing, "spread_over_map", lambda *_: np.array([*there, 0, 1]))
        map_ = drawing.make_map(dataset, sample, ROWS)
    page = made / "map.html"
    page.write_text(make_page(dataset, map_))
    return page, Drawn(map_.data)


class Drawn:
    """What the page's script has, unpacked."""

    def __init__(self, data):
        def unpack(text):
            return gzip.decompress(base64.b64decode(text))

        self.uris = json.loads(unpack(data["uris"]))
        at = np.frombuffer(unpack(data["positions"]), "<u2").reshape(2, -1) / 65535
        self.x, self.y = at[0], 1 - at[1]
        self.pictures = data["pictures"]

    def find(self, page, i):
        """Return where a dot is in the window while the whole map is shown."""
        box = page.locator("#map").bounding_box()
        spans, sides = (np.ptp(self.x), np.ptp(self.y)), (box["width"], box["height"])
        least = max(40, min(sides) - 48)
        room = min((side - 48) / span for side, span in zip(sides, spans, strict=True))
        scale = max(least, min(room, 3 * least))
        x, y = (
            side / 2 + scale * (axis[i] - (axis.max() + axis.min()) / 2)
            for side, axis in zip(sides, (self.x, self.y), strict=True)
        )
        return box["x"] + x, box["y"] + y


@pytest.fixture
def page(browser, drawn):
    """The page, opened; afterwards nothing may have been logged, requested or run."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    seen = []
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda asked: seen.append(asked.url))
    page.goto(drawn[0].as_uri())
    page.wait_for_selector("#map-frame[data-ready]")
    settle(page)
    yield page
    context.close()
    assert [entry for entry in seen if not entry.startswith(("file:", "data:"))] == []


def settle(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def look(page):
    settle(page)
    return page.evaluate("document.getElementById('map').toDataURL()")


def read_uris(page):
    return page.input_value("#sheet-uris").split("\n")


def test_colours_change_with_legend_and_dots(page):
    folders = look(page)
    assert page.locator("#map-legend button").count() == GROUPS + 1
    assert "group03" in page.inner_text("#map-legend")
    options = page.locator("#map-color option").all_inner_texts()
    assert options == ["parent folder", "island", "format", "width", "height", "size_bytes"]
    page.select_option("#map-color", label="format")
    assert page.inner_text("#map-legend").split() == ["JPEG", f"{ROWS:,}"]
    assert look(page) != folders
    page.select_option("#map-color", label="parent folder")
    assert look(page) == folders


def test_zoom_and_move_and_back(page):
    whole = look(page)
    page.click("#zoom-in")
    near = look(page)
    page.focus("#map")
    page.keyboard.press("-")
    assert look(page) == whole != near
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.wheel(0, -300)
    wheeled = look(page)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 230)
    page.mouse.up()
    assert len({whole, wheeled, look(page)}) == 3
    page.click("#zoom-fit")
    page.mouse.move(0, 0)
    page.focus("#map")
    page.keyboard.press("Escape")
    assert "Some images of the map" in page.inner_text("#sheet-title")


@pytest.mark.parametrize("tool", ["box", "lasso"])
def test_a_selection_has_a_contact_sheet_and_uris(page, drawn, tool):
    _, map_ = drawn
    page.check(f"input[value={tool}]", force=True)
    x, y = map_.find(page, np.arange(ROWS))
    middle = np.median(x), np.median(y)
    ways = [(-80, -60), (80, -60), (80, 60), (-80, 60)]
    page.mouse.move(middle[0] + ways[0][0], middle[1] + ways[0][1])
    page.mouse.down()
    for dx, dy in [ways[2]] if tool == "box" else ways[1:]:
        page.mouse.move(middle[0] + dx, middle[1] + dy, steps=9)
    page.mouse.up()
    inside = (np.abs(x - middle[0]) < 80) & (np.abs(y - middle[1]) < 60)
    assert inside.sum() > 100
    expected = {map_.uris[i] for i in np.flatnonzero(inside)}
    assert len(set(read_uris(page)) ^ expected) <= 3  # On the very edge.
    count = len(read_uris(page))
    assert page.inner_text("#sheet-title") == f"{count:,} images selected"
    assert "have no picture in this page" in page.inner_text("#sheet-note")
    assert page.locator("#sheet-tiles .tile").count() == 60
    page.click("#sheet-more")
    assert page.locator("#sheet-tiles .tile").count() == 120
    page.click("#sheet-copy")
    expect(page.locator("#sheet-copied")).to_have_text(f"{count:,} uris copied")
    page.click("#sheet-clear")
    assert page.inner_text("#sheet-title") == "Some images of the map"


def test_a_click_shows_the_ten_nearest(page, drawn, made):
    _, map_ = drawn
    i = next(i for i, uri in enumerate(map_.uris) if uri.endswith("images/40.png"))
    page.mouse.click(*(float(at) for at in map_.find(page, i)))
    clicked = page.text_content("#pointed-note")
    shown = read_uris(page)
    assert shown[0] == clicked
    dataset = open_dataset(str(made / "dataset"))
    vectors = dataset.read_vectors(normalize=True)
    cosines = vectors @ vectors[map_.uris.index(clicked)]
    cosines[map_.uris.index(clicked)] = -2
    exact = np.sort(cosines)[::-1][:10]
    assert np.allclose([cosines[map_.uris.index(uri)] for uri in shown[1:]], exact, atol=2e-3)
    page.locator("#sheet-tiles .tile").nth(3).click()
    assert read_uris(page)[0] == shown[3] == page.text_content("#pointed-note")


def test_pictures_are_shown_where_there_are_some(page):
    page.fill("#map-search", "images 0.PNG")
    expect(page.locator("#sheet-tiles .tile")).to_have_count(3)
    assert page.inner_text("#sheet-note") == ""
    for picture in page.locator("#sheet-tiles img").all():
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
    page.locator("#sheet-tiles .tile").first.click()
    assert page.get_attribute("#pointed-image", "src").startswith("data:image/")
    assert page.get_attribute("#pointed-link", "href").startswith("file:///")


def test_pictures_can_be_shown_on_the_map(page):
    dots = look(page)
    page.check("#map-pictures")
    expect(page.locator("#map-pictures")).to_be_checked()
    page.wait_for_timeout(200)
    assert look(page) != dots
    page.uncheck("#map-pictures")
    assert look(page) == dots


def test_names_are_text(page):
    page.fill("#map-search", "onerror")
    expect(page.locator("#sheet-tiles .tile")).to_have_count(1)
    page.locator("#sheet-tiles .tile").click()
    assert page.text_content("#pointed-note") == EVIL
    assert "group07/<img src=x" in page.inner_text("#sheet-title")
    assert page.locator("img[onerror]").count() == 0


def test_all_of_it_works_with_keys(page):
    page.focus("#map")
    seen = set()
    for key in ["ArrowRight"] * 5 + ["ArrowUp"] * 5 + ["ArrowLeft"] * 3 + ["ArrowDown"] * 3:
        page.keyboard.press(key)
        seen.add(page.text_content("#pointed-note"))
    assert len(seen) > 8
    page.keyboard.press("Enter")
    assert len(read_uris(page)) == 11
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert page.inner_text("#sheet-title") == "2 images selected"
    page.keyboard.press("Space")
    assert page.inner_text("#sheet-title") == "1 image selected"
    page.keyboard.press("Escape")
    page.locator("#map-legend button").first.focus()
    page.keyboard.press("Enter")
    assert re.fullmatch(r"500 images with parent folder group\d\d", page.inner_text("#sheet-title"))
    page.locator("#sheet-tiles .tile").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.className") == "tile"


def test_the_page_is_small_without_its_pictures(drawn):
    path, map_ = drawn
    pictures = sum(len(picture) for picture in map_.pictures.values())
    assert path.stat().st_size - pictures < 1_500_000
