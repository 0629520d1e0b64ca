"""Who starts a run and looks on."""

from __future__ import annotations

import json
import logging
import threading
import time

import pytest

from beamvec.embeddings.layout import Layout
from beamvec.pipeline.commands.watching import Terminal
from beamvec.pipeline.run.observer import Observer
from beamvec.pipeline.run.progress import ChunkWatcher, FailedImage, Progress


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
    monkeypatch.setattr("beamvec.pipeline.run.show_progress.LINE_EVERY_S", 0.02)
    Observer(True).watch(watcher, work, 0.02)
    assert set(capsys.readouterr().err.splitlines()) == {"listing images"}


def test_a_terminal_is_told_beside_the_result(capsys):
    terminal = Terminal(verbose=True)
    assert terminal.verbose
    terminal.tell("a note")
    terminal.busy("loading")  # For a terminal only, which this is not.
    terminal.conclude("nothing to do")
    assert capsys.readouterr() == ("nothing to do\n", "a note\n")


def test_a_quiet_terminal_shows_what_is_wrong_only(watcher, work, capsys):
    terminal = Terminal(quiet=True)
    terminal.busy("loading")
    terminal.watch(watcher, work, 0.02)
    terminal.detail("a detail")
    terminal.conclude("nothing to do")
    terminal.tell("WARNING: look")
    assert capsys.readouterr() == ("", "WARNING: look\n")


def test_a_terminal_names_flags_as_they_are_typed(capsys):
    Terminal(flags={"append": "--append"}).conclude("add `append=True`")
    assert capsys.readouterr().out == "add --append\n"


def test_a_log_of_json_has_a_line_each(watcher, work, monkeypatch, capsys):
    monkeypatch.setattr("beamvec.pipeline.run.show_progress.LINE_EVERY_S", 0.02)
    terminal = Terminal(verbose=True, as_json=True)
    terminal.tell("WARNING: look")
    terminal.detail("this\nand that")
    terminal.fail(FailedImage("a.jpg", "read", "OSError", "gone"))
    terminal.fail(FailedImage("a.jpg", "read", "OSError", "gone"))
    terminal.watch(watcher, work, 0.02)
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.err.splitlines()]
    assert shown.out == ""
    assert all({"time", "level", "event", "message"} <= line.keys() for line in lines)
    kinds = [(line["event"], line["level"]) for line in lines]
    assert kinds[:3] == [("note", "warning"), ("detail", "info"), ("failed", "warning")]
    assert lines[2]["uri"] == "a.jpg"
    assert set(kinds[3:]) == {("progress", "info")}


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
