"""README.md and docs/ as a site: no dead link, every page reached from the index, and back."""

from __future__ import annotations

import pytest

import pages

GUIDES = sorted((pages.ROOT / "deploy").rglob("README.md"))
ALL = [pages.README, *pages.DOCS, *GUIDES, pages.ROOT / "CONTRIBUTING.md"]


def name(page):
    return str(page.relative_to(pages.ROOT))


@pytest.mark.parametrize("page", ALL, ids=name)
def test_links_and_pictures_lead_somewhere(page):
    for target, heading in pages.find_links(page):
        assert target.exists(), f"{name(page)} names {target}"
        if heading:
            assert heading in pages.find_anchors(target), f"{name(page)} names {target}#{heading}"


@pytest.mark.parametrize("page", [*pages.DOCS, *GUIDES], ids=name)
def test_the_index_leads_to_each_page_and_each_page_to_the_index(page):
    if page != pages.INDEX:
        assert page in {target for target, _ in pages.find_links(pages.INDEX)}
        assert pages.INDEX in {target for target, _ in pages.find_links(page)}


def test_the_first_page_leads_to_the_index():
    assert pages.INDEX in {target for target, _ in pages.find_links(pages.README)}


def test_the_first_command_comes_within_25_lines():
    assert "beamvec extract" in "\n".join(pages.README.read_text().splitlines()[:25])
