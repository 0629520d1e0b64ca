"""The pages in a real browser: nothing from a network, an empty console, names as text."""

from __future__ import annotations

import re
import shutil

import pytest

import samples
from beamvec.pipeline.commands.main import main

EVIL = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def pages(model_path, tmp_path_factory):
    """All pages of a dataset of 40 images in four folders, one of them with an evil name."""
    root = tmp_path_factory.mktemp("pages")
    for i in range(40):
        folder = root / "in" / ["a", "b", "<b>c", "d & d"][i % 4]
        folder.mkdir(parents=True, exist_ok=True)
        samples.make_image(i // 4 * 2 + i % 2).save(folder / f"{i:02d}.png")
    (root / "in" / "a" / "00.png").rename(root / "in" / "a" / EVIL)
    shutil.copy(root / "in" / "a" / EVIL, root / "in" / "a" / "copy.png")
    (root / "in" / "a" / f"broken{EVIL}").write_bytes(b"none")
    dataset = str(root / "dataset")
    flags = ["--model", model_path, "--output", dataset, "--max-failure-ratio", "1"]
    assert main(["extract", "--input", str(root / "in"), *flags]) == 0
    for name, command in {
        "report": ["report", dataset],
        "search": ["search", dataset, "--uri", str(root / "in" / "a" / EVIL)],
        "probe": ["probe", dataset, "--labels", "parent-folder"],
        "duplicates": ["duplicates", dataset, "--threshold", "1"],
        "map": ["map", dataset],
    }.items():
        assert main([*command, "--html", str(root / f"{name}.html")]) == 0
    return root


@pytest.fixture(params=["light", "dark"])
def open_page(browser, pages, request):
    """Open a page; afterwards nothing may have been logged, requested or run."""
    context = browser.new_context(color_scheme=request.param)
    seen = []

    def open_(name):
        page = context.new_page()
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda asked: seen.append(asked.url))
        page.goto((pages / f"{name}.html").as_uri())
        return page

    yield open_
    context.close()
    assert [entry for entry in seen if not entry.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("name", ["report", "search", "probe", "duplicates", "map"])
def test_names_are_text(open_page, name):
    page = open_page(name)
    assert page.locator("img[onerror]").count() == 0
    assert page.locator("figcaption b").count() == 0
    if name not in ("probe", "map"):  # Which show a few of them.
        assert EVIL in page.inner_text("body")
    for picture in page.locator("figure img").all():
        assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_report_has_a_map(open_page):
    page = open_page("report")
    page.wait_for_selector("#map-frame[data-ready]")
    assert page.get_attribute("#map", "aria-label") == "Map of 41 images"
    page.focus("#map")
    seen = set()
    for key in ["ArrowRight"] * 6 + ["ArrowUp"] * 6 + ["ArrowLeft"] * 3 + ["ArrowDown"] * 3:
        page.keyboard.press(key)
        seen.add(page.text_content("#pointed-note"))
        assert page.get_attribute("#pointed-image", "src").startswith("data:image/")
    assert len(seen) > 6
    page.keyboard.press("Enter")
    assert page.locator("#sheet-tiles .tile img").count() == 11


def test_charts_have_tables_and_labels(open_page):
    page = open_page("report")
    for name in ("throughput", "sizes"):
        assert page.locator(f"#{name} rect").count() > 0
        assert page.get_attribute(f"#{name}", "aria-label")
    assert page.locator("table.bars .length").count() > 2
    assert page.locator("details table").count() == 2
    assert "42 inputs = 41 embedded + 1 failed + 0 named twice" in page.inner_text(".account")


def test_a_report_is_small(pages):
    page = (pages / "report.html").read_text()
    assert len(page) - sum(map(len, re.findall(r"data:image/[^\"]+", page))) < 150_000


def test_colours_follow_the_system(browser, pages):
    grounds = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto((pages / "report.html").as_uri())
        grounds.append(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
        page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
        grounds.append(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
        page.close()
    assert grounds[0] == grounds[3] != grounds[1] == grounds[2]
