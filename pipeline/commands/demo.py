"""What `make demo` runs: the main job on photographs, and a look at the result."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shlex
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from beamvec.embeddings import Dataset, open_dataset
from beamvec.errors import BeamvecError, InputError, ModelError
from beamvec.pipeline.commands.main import main as beamvec
from beamvec.pipeline.commands.search import find_nearest
from beamvec.pipeline.terminal import show, warn
from beamvec.transforms.export.efficientnet_lite import export_efficientnet_lite0
from beamvec.transforms.export.keras_models import export_model
from beamvec.transforms.inference import hub
from beamvec.transforms.inference.config import DEFAULT_MODEL
from beamvec.transforms.inference.model_files import ModelFiles

OUTPUT = Path("demo-output")

# Photographs that packages carry, by package and folder.
_PHOTOGRAPHS = {
    ("skimage", "data"): (
        "astronaut.png brick.png camera.png cell.png chelsea.png coffee.png coins.png grass.png"
        " gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png"
        " motorcycle_right.png page.png retina.jpg rocket.jpg text.png"
    ),
    ("sklearn", "datasets/images"): "china.jpg flower.jpg",
}
_LONGEST_SIDE = 640
_SHOWN = 8
_NEIGHBOURS = 4  # As many as a photograph has views.
_ANSWER_TIMEOUT_S = 5.0
_KERAS_HOST = "storage.googleapis.com"


def main() -> int:
    """Embed photographs, show the summary and some nearest neighbours."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--images", metavar="DIR", help="your own; else some that packages carry")
    args = parser.parse_args()
    try:
        images = args.images or write_photographs(OUTPUT / "photographs")
        model = find_model()
    except BeamvecError as error:
        warn(f"beamvec: {error}")
        return 2
    dataset = str(OUTPUT / "dataset")
    command = ["extract", "--input", images, "--model", model, "--output", dataset]
    show(f"beamvec {shlex.join(command)}")
    code = beamvec([*command, "--overwrite"])
    if code <= 1:
        show(*describe_neighbours(open_dataset(dataset)))
        page = str(OUTPUT / "report.html")
        show(f"beamvec {shlex.join(['report', dataset, '--html', page])}")
        beamvec(["report", dataset, "--html", page])
    return code


def find_photographs() -> list[Path]:
    """Return the photographs that the packages of the extra `demo` carry."""
    found = []
    for (package, folder), names in _PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            paths = [Path(spec.origin).parent / folder / name for name in names.split()]
            found += [path for path in paths if path.exists()]
    return found


def make_views(image: Image.Image) -> dict[str, Image.Image]:
    """Return what else one might have photographed there, so that a photograph has neighbours.

    Args:
        image: RGB.

    Returns:
        By name: its left and its right, each two thirds as wide, its middle, two thirds as wide and
        as high, and the whole seen from the other side at dusk, mirrored and half as bright.
    """
    width, height = image.size
    return {
        "left": image.crop((0, 0, width * 2 // 3, height)),
        "right": image.crop((width // 3, 0, width, height)),
        "middle": image.crop((width // 6, height // 6, width * 5 // 6, height * 5 // 6)),
        "dusk": ImageEnhance.Brightness(ImageOps.mirror(image)).enhance(0.5),
    }


def write_photographs(folder: Path) -> str:
    """Write the photographs and views of them into a folder, say so, and return the folder.

    Each has a sub-folder, which is its label: for a probe, and for the colours of a map.

    Raises:
        InputError: if the packages that carry them are not installed.
    """
    found = find_photographs()
    if not found:
        raise InputError("the photographs are those of packages: `pip install 'beamvec[demo]'`")
    for path in found:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        motif = folder / path.stem
        motif.mkdir(parents=True, exist_ok=True)
        for view, made in {"whole": image, **make_views(image)}.items():
            made.save(motif / f"{view}.jpg", quality=90)
    show(
        f"{len(found)} photographs of scikit-image and scikit-learn are in {folder}, each in a "
        "folder with four views made of it: its left, right and middle, and mirrored at dusk"
    )
    return str(folder)


def find_model() -> str:
    """Return the first of the demo's models that can be had; say which, and why none before it.

    All are trained on ImageNet. Without a network it takes some seconds to know.

    Raises:
        ModelError: if not even the package with weights is installed.
    """
    choices: tuple[tuple[str, Callable[[], str]], ...] = (
        ("ResNet-v2-50 of TF-Hub or Kaggle", _fetch_from_hub),
        ("ResNet50V2 of Keras", _export_keras),
        ("EfficientNet-Lite0 of a Python package", _export_lite0),
    )
    misses: list[str] = []
    for name, find in choices:
        try:
            handle = find()
        except ModelError as error:
            misses.append(f"{name}: {str(error).removesuffix(f'; {hub.ADVICE}')}")
            continue
        show(f"the model is {name}" + (f"; not {'; not '.join(misses)}" if misses else ""))
        return handle
    raise ModelError(f"there is no model; not {'; not '.join(misses)}")


def _fetch_from_hub() -> str:
    if hub.find_cached(DEFAULT_MODEL) is None:
        _require_answer(str(urlsplit(url).hostname) for url in hub.list_addresses(DEFAULT_MODEL))
        ModelFiles.fetch(DEFAULT_MODEL)
    return DEFAULT_MODEL


def _export_keras() -> str:
    def export(path: str) -> None:
        _require_answer([_KERAS_HOST])
        with hub.socket_timeout(hub.DOWNLOAD_TIMEOUT_S):
            export_model("ResNet50V2", "imagenet", path)

    return _export_once("resnet50_v2", export)


def _export_lite0() -> str:
    return _export_once("efficientnet_lite0", export_efficientnet_lite0)


def _export_once(name: str, export: Callable[[str], object]) -> str:
    """Return the folder of a model, which an earlier demo may have made; half of one is none."""
    folder = OUTPUT / name
    if not folder.exists():
        temporary = OUTPUT / f"{name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        OUTPUT.mkdir(exist_ok=True)
        export(str(temporary))
        temporary.rename(folder)
    return str(folder)


def _require_answer(hosts: Iterable[str]) -> None:
    """Raise `ModelError` where none of these hosts answers anything within some seconds.

    They are asked at once, on threads that are left alone: no time limit ends a look-up of a name.
    """
    names = list(dict.fromkeys(hosts))
    answered = threading.Event()
    threads = [threading.Thread(target=_ask, args=(name, answered), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _ANSWER_TIMEOUT_S
    while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
        if answered.wait(0.1):
            break
    if not answered.is_set():
        raise ModelError(f"no answer from {', '.join(names)}")


def _ask(host: str, answered: threading.Event) -> None:
    request = urllib.request.Request(f"https://{host}/", method="HEAD")
    try:
        with contextlib.suppress(urllib.error.HTTPError):  # An answer, too.
            urllib.request.urlopen(request, timeout=_ANSWER_TIMEOUT_S).close()
    except (OSError, HTTPException):
        return
    answered.set()


def describe_neighbours(dataset: Dataset) -> list[str]:
    """List the nearest images, by cosine, of some images spread over a dataset."""
    uris = dataset.read_uris()
    root = os.path.commonprefix(uris).rfind("/") + 1  # noqa: RUF071 It is cut at a slash.
    names = [os.path.splitext(uri[root:])[0] for uri in uris]
    width = max(map(len, names))
    shown = np.linspace(0, len(names) - 1, min(_SHOWN, len(names))).astype(int)
    found = find_nearest(dataset, dataset.take(shown).vectors, shown.tolist(), _NEIGHBOURS)
    lines = ["nearest neighbours by cosine"]
    for row, matches in zip(shown, found, strict=True):
        near = ", ".join(f"{names[m['row']]} {m['cosine']:.3f}" for m in matches)
        lines.append(f"  {names[row]:<{width}}  {near}")
    return lines


if __name__ == "__main__":
    from beamvec.pipeline.silence import silence

    silence()
    sys.exit(main())
