"""Make docs/map.webp, the picture of a map in the README, of the photographs of `make demo`.

    python docs/picture.py

Needs Chromium (on the path, or BEAMVEC_CHROMIUM), and the extras `demo`, `explore` and `dev`. Of
each photograph several views are embedded by the demo's model: crops of a third to all of its
width and height, some mirrored, some darker.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from playwright.sync_api import sync_playwright

from beamvec.pipeline.commands.demo import find_model, find_photographs
from beamvec.pipeline.commands.main import main as beamvec

HERE = Path(__file__).resolve().parent
_VIEWS = 24
_LONGEST_SIDE = 640
_WIDTH = 1280
_SHOWN = "chelsea/00"
_MOST_BYTES = 300_000


def main() -> int:
    """Embed views of the photographs, open their map, and take a picture of it."""
    with tempfile.TemporaryDirectory() as work:
        images, dataset, page = (str(Path(work) / name) for name in ("views", "data", "map.html"))
        write_views(Path(images))
        flags = ["--input", images, "--model", find_model(), "--output", dataset]
        if code := beamvec(["extract", *flags]) or beamvec(["map", dataset, "--html", page]):
            return code
        shot = Path(work) / "map.png"
        take_picture(page, str(shot))
        with Image.open(shot) as picture:
            picture.convert("RGB").save(HERE / "map.webp", quality=82, method=6)
    size = (HERE / "map.webp").stat().st_size
    return int(size > _MOST_BYTES)


def write_views(folder: Path) -> None:
    """Write views of each photograph into a folder of its own."""
    random = np.random.default_rng(0)
    for path in find_photographs():
        (folder / path.stem).mkdir(parents=True)
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        for number in range(_VIEWS):
            view = image if number == 0 else make_view(image, random)
            view.save(folder / path.stem / f"{number:02d}.jpg", quality=90)


def make_view(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return a part of an image, mirrored or not, as bright or darker."""
    share = random.uniform(1 / 3, 1)
    width, height = (int(side * share) for side in image.size)
    left, top = (int(random.uniform(0, side * (1 - share))) for side in image.size)
    view = image.crop((left, top, left + width, top + height))
    if random.random() < 0.5:
        view = ImageOps.mirror(view)
    return ImageEnhance.Brightness(view).enhance(float(random.uniform(0.6, 1)))


def take_picture(page: str, file: str) -> None:
    """Write a PNG of a page's map, with the nearest of one dot shown."""
    browser = os.environ.get("BEAMVEC_CHROMIUM") or shutil.which("chromium")
    if not browser:
        raise SystemExit("needs Chromium on the path, or BEAMVEC_CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        window = chromium.new_page(viewport={"width": _WIDTH, "height": 1400})
        window.goto(Path(page).as_uri())
        window.wait_for_selector("#map-frame[data-ready]")
        window.check("#map-pictures")
        window.fill("#map-search", _SHOWN)
        window.wait_for_timeout(500)
        window.locator("#sheet-tiles .tile").first.click()
        window.mouse.move(0, 0)
        # The folder is a temporary one.
        window.add_style_tag(content="#pointed-note, #pointed a { display: none !important }")
        window.evaluate("document.activeElement.blur()")
        window.wait_for_timeout(500)
        top = window.locator(".bar").bounding_box()["y"] - 12
        tile = window.locator("#sheet-tiles .tile").first.bounding_box()
        height = tile["y"] + tile["height"] + 12 - top
        window.screenshot(
            path=file, clip={"x": 60, "y": top, "width": _WIDTH - 120, "height": height}
        )
        chromium.close()


if __name__ == "__main__":
    sys.exit(main())
