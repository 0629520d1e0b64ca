"""The commands and programs of README.md and docs/, run as they stand, in order, in one folder.

Those of README.md come first, and make what the pages of docs/ go on with. A block that needs what
the tests lack says so on its fence, as in `sh needs=network`, and is in `NOT_RUN`. No host is
reached.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pages

pytestmark = pytest.mark.timeout(900)  # Of the fixture, which makes the demo.

# By page: what the blocks that are not run need.
NOT_RUN = {
    "inputs.md": ["store", "network", "network"],
    "install.md": ["network"],
    "models.md": ["network"],
    "recipes.md": ["viewers", "cloud"],
    "stores.md": ["store"],
    "transfer.md": ["yours", "time", "time"],
}
# Their programs are run by tests of their own, which know what should come out.
ELSEWHERE = {"recipes.md": "test_recipes.py", "reading.md": "test_reading.py"}


def write_script(page: Path) -> str:
    """Return a script of bash with all of a page that can be run; what is Python is one program."""
    lines = ["set -e", ". .venv/bin/activate"]
    blocks = pages.find_blocks(page)
    lines += [block.code for block in blocks if block[:2] == ("sh", "")]
    program = "".join(block.code for block in blocks if block.language == "python")
    if program and page.name not in ELSEWHERE:
        lines += [f"cat > {page.stem}_program.py <<'END'", f"{program}END"]
        lines += [f"python {page.stem}_program.py"]
    return "\n".join(lines)


TO_RUN = [page for page in pages.DOCS if write_script(page).count("\n") > 1]


def run(folder: Path, script: str) -> str:
    """Run a script in a folder; return what it shows."""
    nowhere = "http://127.0.0.1:9"
    environment = {
        **os.environ,
        "HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TFHUB_CACHE_DIR": str(folder / "home" / "cache"),
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere),
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A folder as after `git clone` and `make setup`: the environment is the one of the tests."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "home").mkdir()
    for file in ("Makefile", "setup.py", *(path.name for path in pages.ROOT.glob("*.lock"))):
        shutil.copy(pages.ROOT / file, folder)  # Older than .done: nothing is installed.
    environment = Path(sys.prefix)
    if not (environment / "bin" / "activate").exists():
        pytest.skip("the tests run in no virtual environment")
    (folder / ".venv").mkdir()
    for path in environment.iterdir():
        if path.name != ".done":
            (folder / ".venv" / path.name).symlink_to(path)
    (folder / ".venv" / ".done").touch()
    return folder


@pytest.fixture(scope="module")
def shown(clone: Path) -> str:
    """What README.md's commands showed; photos, lite0 and dataset are in the folder then."""
    pytest.importorskip("skimage", reason="the extra demo has the photographs")
    return run(clone, write_script(pages.README))


def test_the_commands_of_the_first_page_show_what_it_says(shown):
    def generalize(text: str) -> list[str]:
        return re.sub(r"\S*/dataset\b", "dataset", re.sub(r"[\d.,]+", "N", text)).splitlines()

    blocks = [block for block in pages.find_blocks(pages.README) if block.language == "console"]
    assert blocks
    for line in generalize("".join(block.code for block in blocks)):
        assert line in generalize(shown)
    assert re.search(r"^decode +\S+/photos/torn.jpg ", shown, re.M)
    assert "linear" in shown
    assert "wrote report.html" in shown


@pytest.mark.parametrize("page", TO_RUN, ids=lambda page: page.name)
@pytest.mark.usefixtures("shown")
def test_the_pages_go_on_where_the_first_one_ends(page, clone):
    assert run(clone, write_script(page))


@pytest.mark.usefixtures("shown")
def test_what_recipes_look_for_is_there(clone):
    page = (pages.ROOT / "docs" / "recipes.md").read_text()
    for name in set(re.findall(r"photos/[\w/]+\.jpg", page)):
        assert (clone / name).exists()


def test_what_is_not_run_is_listed():
    assert not any(block.needs for block in pages.find_blocks(pages.README))
    found = {
        page.name: [block.needs for block in pages.find_blocks(page) if block.needs]
        for page in pages.DOCS
    }
    assert {name: needs for name, needs in found.items() if needs} == NOT_RUN
    for file in ELSEWHERE.values():
        assert (pages.ROOT / "tests" / file).exists()


def test_each_fence_says_what_it_needs_in_one_way():
    for page in (pages.README, *pages.DOCS):
        for fence in re.findall(r"^```\w+ +(.*)$", page.read_text(), re.M):
            assert re.fullmatch(r"needs=(network|store|cloud|time|viewers|yours)", fence), page
