"""What reaches a terminal: never the escapes of somebody else's names."""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import samples
from beamvec.embeddings import open_dataset
from beamvec.pipeline.commands.main import main
from beamvec.pipeline.terminal import make_printable, show, show_json, warn

EVIL = "a\x1b]0;owned\x07\x1b[2J\x9b1m\u202ecod\n  verified 9 file(s)\r\x7f\ud800.jpg"
ROOT = Path(__file__).parents[1]


def is_harmless(text: str) -> bool:
    return all(char.isprintable() for line in text.split("\n") for char in line)


@pytest.fixture
def made(tmp_path):
    """A dataset whose names and record hold all that a terminal may take for an order."""
    folder = tmp_path / "dataset"
    uri = EVIL.replace("\ud800", "")
    uris = [f"{kind}{i}/{uri}" for kind in "ab" for i in range(6)]
    samples.write_dataset(folder, np.ones((12, 3), np.float32), uris, parts=1, failures=1)
    record = open_dataset(folder).run
    errors = tuple(
        dataclasses.replace(each, error_type=EVIL, example=EVIL) for each in record.failures
    )
    samples.write_record(
        folder, dataclasses.replace(record, model=EVIL, runner=EVIL, failures=errors, version=EVIL)
    )
    (folder / f"x{uri.replace('/', '')}").write_text("no part of it")
    return folder, uris


def test_no_command_prints_what_a_terminal_obeys(made, tmp_path, capsys):
    folder, uris = made
    page = ["--html", str(tmp_path / "page.html")]
    for command in (
        ["inspect", str(folder)],
        ["inspect", str(folder), "--verify"],
        ["search", str(folder), "--uri", uris[0]],
        ["search", str(folder), "--uri", EVIL],
        ["search", str(folder), "--image", "x.png"],
        ["duplicates", str(folder)],
        ["probe", str(folder), "--labels", "parent-folder", "--folds", "2"],
        ["report", str(folder), *page],
        ["inspect", EVIL],
        ["doctor", "--input", EVIL, "--output", EVIL, "--model", EVIL],
        ["extract", "--input", EVIL, "--output", str(tmp_path / "out"), "--model", EVIL],
        ["inspect", str(folder), EVIL],
    ):
        main(command)
        shown = capsys.readouterr()
        assert is_harmless(shown.out), command
        assert is_harmless(shown.err), command
        assert "\n  verified 9" not in shown.out + shown.err
    assert "<b>12</b> embedded" in (tmp_path / "page.html").read_text()


def test_json_stays_json(made, capsys):
    folder, uris = made
    for command in (["search", str(folder), "--uri", uris[0]], ["duplicates", str(folder)]):
        assert main([*command, "--json"]) == 0
        text = capsys.readouterr().out
        assert is_harmless(text)
        assert uris[1] in collect(json.loads(text))
    show_json([EVIL])
    assert json.loads(capsys.readouterr().out) == [EVIL]


def collect(value) -> set[str]:
    """Return all strings in a JSON value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(collect, value))
    return {value} if isinstance(value, str) else set()


def test_lines_stay_lines_and_characters_that_an_encoding_lacks_are_escaped(monkeypatch):
    for name, print_ in (("stdout", show), ("stderr", warn)):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, name, stream)
        print_("caf\u00e9 \u00b1", "one\ntwo", EVIL)
        stream.flush()
        text = stream.buffer.getvalue().decode()
        assert text.splitlines()[:2] == [r"caf\xe9 \xb1", r"one\ntwo"]
        assert text.count("\n") == 3
    assert make_printable("caf\u00e9 \u65e5\u672c") == "caf\u00e9 \u65e5\u672c"


def test_nothing_else_prints():
    for file in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and file.name != "terminal.py":
                name = ast.unparse(node.func)
                assert name != "print", file
                assert not name.startswith(("sys.stdout.write", "sys.stderr.write")), file
                assert not name.startswith("traceback.print"), file
