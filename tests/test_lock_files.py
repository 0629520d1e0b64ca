"""The lock files agree: what developers, recipes and GPUs add changes no version of the users'."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def read_pins(name: str) -> dict[str, set[str]]:
    """Return the lines of a lock file by the package's name: some have one a version of Python."""
    pins: dict[str, set[str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            pins.setdefault(line.partition("==")[0], set()).add(line)
    return pins


def test_developers_have_the_versions_of_users_and_more():
    users, developers = read_pins("requirements.lock"), read_pins("requirements-dev.lock")
    assert users.items() <= developers.items()
    assert {"pytest", "mypy", "ruff", "playwright", "moto", "onnxruntime"} <= developers.keys()
    assert not {"pytest", "mypy", "ruff", "playwright", "moto", "onnxruntime"} & users.keys()


def test_users_have_what_the_first_page_needs():
    needed = {"tensorflow", "apache-beam", "scikit-image", "scikit-learn", "jinja2", "openvino"}
    assert needed <= read_pins("requirements.lock").keys()


@pytest.mark.parametrize("name", ["requirements-recipes.lock", "requirements-gpu.lock"])
def test_what_is_added_keeps_the_versions(name):
    developers = read_pins("requirements-dev.lock")
    for package, lines in read_pins(name).items():
        versions = {line.partition(" ;")[0] for line in lines}
        known = {line.partition(" ;")[0] for line in developers.get(package, lines)}
        assert versions <= known, package
