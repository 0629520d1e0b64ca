"""What a command is busy with."""

from __future__ import annotations

import sys
import time

import pytest

from beamvec.pipeline import status
from beamvec.pipeline.status import Status


@pytest.fixture
def written(monkeypatch):
    """What is written, by a status that ticks fast."""
    monkeypatch.setattr(status, "TICK_S", 0.01)
    monkeypatch.setattr(status, "LINE_EVERY_S", 0.01)
    return []


def wait_for(written, text):
    while not any(text in line for line, _ in written):
        time.sleep(0.005)


def test_on_a_terminal_the_line_goes_when_it_is_over(written, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    shown = Status(lambda *line: written.append(line))
    shown.begin("loading")
    wait_for(written, "loading, 0 s")
    shown.begin("comparing")
    wait_for(written, "comparing, 0 s")
    shown.end()
    assert {end for _, end in written} == {"\r"}
    assert written[-1][0].isspace()
    count = len(written)
    time.sleep(0.05)
    assert len(written) == count


def test_elsewhere_there_are_lines(written, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    shown = Status(lambda *line: written.append(line))
    shown.begin("loading")
    wait_for(written, "loading, 0 s")
    shown.end()
    shown.begin("loading again")
    wait_for(written, "loading again, 0 s")
    shown.end()
    assert {end for _, end in written} == {"\n"}


def test_what_is_over_at_once_is_not_told(written):
    shown = Status(lambda *line: written.append(line))
    shown.begin("blinking")
    shown.end()
    shown.end()
    assert written == []
