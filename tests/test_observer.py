"""Who starts a run and looks on."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from beamvec.embeddings.layout import Layout
from beamvec.pipeline.commands.extract import Terminal
from beamvec.pipeline.run.observer import Observer
from beamvec.pipeline.run.progress import ChunkWatcher, Progress


@pytest.fixture
def work():
    """A piece of work that takes a moment."""
    thread = threading.Thread(target=time.sleep, args=(0.1,))
    thread.start()
    yield thread
    thread.join()


@pytest.fixture
def watcher(tmp_path):
    return ChunkWatcher(Layout(str(tmp_path)))


def test_a_program_is_told_by_a_log(monkeypatch, capsys):
    heard = []
    monkeypatch.setattr(logging.getLogger("beamvec"), "info", heard.append)
    observer = Observer()
    observer.tell("a note")
    observer.busy("loading")
    observer.conclude("nothing to do")
    assert heard == ["a note", "nothing to do"]
    assert capsys.readouterr() == ("", "")


def test_a_program_may_hear_of_progress(watcher, work):
    heard: list[Progress] = []
    Observer(heard.append).watch(watcher, work, 0.02)
    assert not work.is_alive()
    assert len(heard) >= 2
    assert set(heard) == {Progress()}


def test_a_program_that_does_not_want_to_hear_waits(watcher, work, capsys):
    Observer().watch(watcher, work, 0.02)
    assert not work.is_alive()
    assert capsys.readouterr() == ("", "")


def test_a_program_may_show_what_a_terminal_shows(watcher, work, monkeypatch, capsys):
    monkeypatch.setattr("beamvec.pipeline.run.progress.LINE_EVERY_S", 0.02)
    Observer(True).watch(watcher, work, 0.02)
    assert set(capsys.readouterr().err.splitlines()) == {"listing images"}


def test_a_terminal_is_told_beside_the_result(capsys):
    terminal = Terminal(verbose=True)
    assert terminal.verbose
    terminal.tell("a note")
    terminal.busy("loading")  # For a terminal only, which this is not.
    terminal.conclude("nothing to do")
    assert capsys.readouterr() == ("nothing to do\n", "a note\n")


@pytest.mark.parametrize(
    ("local", "told"),
    [(True, "the same command goes on from them"), (False, "the job itself goes on until")],
)
def test_leaving_a_terminal_ends_the_process_with_130(local, told, monkeypatch, capsys):
    codes = []
    monkeypatch.setattr("os._exit", codes.append)
    Terminal(verbose=False).leave(local)
    assert codes == [130]
    assert told in capsys.readouterr().err
