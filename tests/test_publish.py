"""Publishing on stores by a process that is stopped while another one takes the folder."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from beamvec.embeddings import RunRecord
from beamvec.embeddings.layout import TABLE_DIRS, Layout, part_name, success_content
from beamvec.embeddings.run_record import FileRecord
from beamvec.embeddings.settings import Settings
from beamvec.errors import LostOutputError, OutputError
from beamvec.pipeline.run.claim import Claim, Publication, read_claim
from beamvec.pipeline.run.publish import forget, list_parts, publish
from beamvec.transforms.files import storage
from beamvec.transforms.files.storage import ConflictError
from object_stores import STORES, enter, leave

PART = part_name(0, 1)


@pytest.fixture(scope="module", params=STORES)
def server(request):
    server = STORES[request.param]()
    yield server
    server.stop()


@pytest.fixture
def layout(server, tmp_path, monkeypatch):
    # A process is stopped with all its threads: here it has only one that publishes.
    monkeypatch.setattr("beamvec.pipeline.run.publish._THREADS", 1)
    enter(server, tmp_path, monkeypatch)
    yield Layout(f"{server.scheme}://bucket/out")
    leave(server)


def nobody_asks() -> None:
    pass


def make_record(name: str) -> RunRecord:
    content = name.encode()
    file = FileRecord(len(content), hashlib.sha256(content).hexdigest())
    files = {f"{table}/{PART}": file for table in TABLE_DIRS}
    return RunRecord(Settings("f" * 64), name, 3, files=files)


def commit(layout: Layout, name: str, *, overwrites: bool) -> Claim:
    """Do all of a run up to the moment when it is to be published."""
    run, token = make_record(name), name[0] * 32
    found = read_claim(layout)
    version = found.version if found else ""
    claim = Claim(run, token, "overwrite", version=version).write(layout)
    for file in run.files:
        storage.write_file(f"{layout.staged(token).path}/{file}", name.encode())
    # The dataset before had a part more.
    removed = (*run.files, f"failures/{part_name(1, 2)}") if overwrites else ()
    return replace(claim, publication=Publication(tuple(run.files), removed)).write(layout)


def run_whole(layout: Layout, name: str) -> None:
    """End what somebody else has committed, then replace it."""
    found = read_claim(layout)
    if found and found.publication:
        publish(layout, found, nobody_asks)
        forget(layout, found)
    mine = commit(layout, name, overwrites=True)
    publish(layout, mine, nobody_asks)
    # A part that the one before would remove, as it had one of that name.
    storage.write_file(f"{layout.table('failures')}/{part_name(1, 2)}", name.encode())
    forget(layout, mine)


def read_all(layout: Layout) -> dict[str, bytes]:
    paths = [entry.path for entry in storage.list_tree(layout.path)]
    return {path.removeprefix(f"{layout.path}/"): storage.read_bytes(path) for path in paths}


def begin(layout: Layout) -> Claim:
    """Make a dataset, and commit a run that is to replace it."""
    old = commit(layout, "old", overwrites=False)
    publish(layout, old, nobody_asks)
    forget(layout, old)
    storage.write_file(f"{layout.table('failures')}/{part_name(1, 2)}", b"old")
    return commit(layout, "a run that is stopped", overwrites=True)


def test_a_run_that_is_stopped_at_any_moment_harms_no_other(layout):
    moments = 0

    def count() -> None:
        nonlocal moments
        moments += 1

    stopped = begin(layout)
    publish(layout, stopped, count)
    forget(layout, stopped)
    assert moments > 6
    for moment in range(moments):
        for path in read_all(layout):
            storage.delete(f"{layout.path}/{path}")
        stopped, left = begin(layout), [moment]

        def stop(left=left) -> None:
            if left[0] == 0:  # It has just been told that the folder is its own.
                run_whole(layout, "the one that went on")
            elif left[0] < 0:
                raise LostOutputError("another holds the folder")
            left[0] -= 1

        try:
            publish(layout, stopped, stop)
            forget(layout, stopped)
        except (ConflictError, LostOutputError):
            pass
        run = make_record("the one that went on").to_json().encode()
        parts = dict.fromkeys(make_record("").files, b"the one that went on")
        parts[f"failures/{part_name(1, 2)}"] = b"the one that went on"
        expected = {**parts, "run.json": run, "_SUCCESS": success_content(run)}
        assert read_all(layout) == expected, moment


def test_a_run_that_lost_the_folder_before_it_committed_commits_nothing(layout):
    early = Claim(make_record("early"), "e" * 32).write(layout)
    run_whole(layout, "the one that went on")
    before = read_all(layout)
    with pytest.raises(ConflictError):
        replace(early, publication=Publication(())).write(layout)
    assert read_all(layout) == before


def test_a_part_that_is_gone_is_named_before_anything_is_touched(layout):
    stopped = begin(layout)
    storage.delete(f"{layout.staged(stopped.token).path}/embeddings/{PART}")
    storage.delete(f"{layout.path}/embeddings/{PART}")
    before = read_all(layout)
    with pytest.raises(OutputError, match=f"embeddings/{PART} is missing"):
        publish(layout, stopped, nobody_asks)
    assert read_all(layout) == before


def test_publishing_again_changes_nothing(layout):
    stopped = begin(layout)
    publish(layout, stopped, nobody_asks)
    before = read_all(layout)
    publish(layout, stopped, nobody_asks)
    assert read_all(layout) == before
    assert set(list_parts(layout)) == set(make_record("").files)
