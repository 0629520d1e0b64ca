"""A run that is killed before any of its file operations, and what comes after it."""

from __future__ import annotations

import itertools
import json
import os
import shutil

import pytest
from conftest import hash_files
from crashes import Crash

from beamvec.embeddings import open_dataset
from beamvec.pipeline.run import lease
from object_stores import STORES, enter, leave

MOMENTS = 5
"""Of each kind of run, spread over it; `BEAMVEC_CRASHES=all` kills before every operation."""

LENIENT = ("--max-failure-ratio", "1", "--chunk-size", "8", "--direct_num_workers=1")
KINDS = {
    "first": [],
    "append": ["--append"],
    "overwrite": ["--overwrite", "--resize", "crop"],
    "append that embeds nothing": ["--append"],
}


def describe(output):
    """Return what must not depend on kills: all files, and the runs that made them."""
    runs = json.loads((output / "run.json").read_text())
    counts = [run["counts"] for run in (runs, *runs["appended"])]
    for count in counts:
        count["taken_over"] = 0
    return hash_files(output), sorted(os.listdir(output)), counts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", ["the same", "something else"])
def test_a_run_killed_at_any_moment(extract, photos, tmp_path, kind, after, capsys):
    start, whole = tmp_path / "start", tmp_path / "whole"
    start.mkdir()
    before = ["--input", photos / "group0", "--input", photos / "broken.jpg", *LENIENT]
    inputs = before if kind == "append that embeds nothing" else ["--input", photos, *LENIENT]
    if kind != "first":
        assert extract(*before, output=start) == 0
    command = [*inputs, *KINDS[kind]]
    shutil.copytree(start, whole)
    with Crash(whole).watch() as crash:
        assert extract(*command, output=whole) == 0
    other = ["--input", photos / "group1", "--overwrite", "--resize", "pad", *LENIENT]
    wanted, again = whole, command
    if after == "something else":
        wanted, again = tmp_path / "other", other
        assert extract(*other, output=wanted) == 0
    expected = describe(wanted)
    step = 1 if os.environ.get("BEAMVEC_CRASHES") == "all" else max(1, crash.count // MOMENTS)
    # Always the last ones too, when the run reads as finished.
    moments = sorted({*range(0, crash.count, step), *range(crash.count - 5, crash.count)})
    for at in moments:
        output = tmp_path / f"out{at}"
        shutil.copytree(start, output)
        with Crash(output, at).watch() as killed:
            code = extract(*command, output=output)
        assert killed.is_dead or code == 0
        if kind != "first" and not (output / "chunks" / "run.json").exists():
            open_dataset(str(output))  # The one before or the new one, but a whole one.
        capsys.readouterr()
        assert extract(*again, output=output) == 0, (at, capsys.readouterr().err)
        assert describe(output) == expected, at
        shutil.rmtree(output)


def test_a_run_killed_twice(extract, photos, tmp_path):
    """The second time while it ends what the first one began."""
    command = ["--input", photos, "--append", *LENIENT]
    start = tmp_path / "start"
    assert extract("--input", photos / "group0", *LENIENT, output=start) == 0
    shutil.copytree(start, tmp_path / "whole")
    with Crash(tmp_path / "whole").watch() as crash:
        assert extract(*command, output=tmp_path / "whole") == 0
    expected = describe(tmp_path / "whole")
    last = range(crash.count - 12, crash.count - 6, 2)
    for first, second in itertools.product(last, (1, 3, 5)):
        output = tmp_path / f"out{first}-{second}"
        shutil.copytree(start, output)
        for at in (first, second):
            with Crash(output, at).watch():
                extract(*command, output=output)
        assert extract(*command, output=output) == 0
        assert describe(output) == expected, (first, second)


@pytest.fixture(scope="module", params=STORES)
def server(request):
    server = STORES[request.param]()
    yield server
    server.stop()


def describe_stored(server):
    files = server.download("out/")
    runs = json.loads(files["out/run.json"])
    parts = {name: content for name, content in files.items() if name.endswith(".parquet")}
    return parts, sorted(files), len(runs["appended"]), runs["counts"]["inputs"]


@pytest.mark.parametrize("flags", [["--append"], ["--overwrite", "--resize", "crop"]])
def test_a_run_killed_at_any_moment_on_a_store(
    extract, photos, tmp_path, monkeypatch, server, flags
):
    output = f"{enter(server, tmp_path, monkeypatch)}/out"
    begin = ["--input", photos / "group0", "--input", photos / "broken.jpg", *LENIENT]
    command = ["--input", photos / "group1", *flags, *LENIENT]

    def start():
        leave(server)
        assert extract(*begin, output=output) == 0

    start()
    with Crash(output).watch() as crash:
        assert extract(*command, output=output) == 0
    expected = describe_stored(server)
    step = 1 if os.environ.get("BEAMVEC_CRASHES") == "all" else max(1, crash.count // 3)
    for at in sorted({*range(0, crash.count, step), *range(crash.count - 3, crash.count)}):
        start()
        with Crash(output, at).watch():
            extract(*command, output=output)
        with monkeypatch.context() as patch:
            patch.setattr(lease, "LEASE_S", -1.0)  # The lease of the dead run is over.
            assert extract(*command, output=output) == 0
        assert describe_stored(server) == expected, at
    leave(server)
