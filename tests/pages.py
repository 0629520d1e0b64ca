"""What the Markdown pages of the project hold: blocks of code, links, headings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
INDEX = ROOT / "docs" / "README.md"


class Block(NamedTuple):
    """A block of code.

    Attributes:
        language: such as `sh` or `python`.
        needs: what running it takes that the tests lack, as the fence says: ```sh needs=network.
        code: its lines.
    """

    language: str
    needs: str
    code: str


def find_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    found = re.findall(r"^```(\w*) *(\S*)\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [Block(language, needs.removeprefix("needs="), code) for language, needs, code in found]


def find_links(page: Path) -> list[tuple[Path, str]]:
    """Return where a page leads within the project, pictures too: file, and heading or nothing."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    targets = [t for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t]
    parts = [target.partition("#") for target in targets]
    return [((page.parent / name).resolve() if name else page, part) for name, _, part in parts]


def find_anchors(page: Path) -> set[str]:
    """Return the headings of a page, in the form that links have."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
