"""Containers on S3 and GCS: read in few long reads, and what faults do to that."""

from __future__ import annotations

import pytest
from made_containers import WRITERS, make_contents, read_refs
from test_containers import failures, rows

from beamvec.pipeline.commands.main import main
from beamvec.transforms.files import ranges, retrying
from beamvec.transforms.inputs.registry import make_source
from object_stores import STORES, enter, leave


@pytest.fixture(scope="module", params=STORES)
def filled(request, tmp_path_factory):
    """A store with a container of each kind in a folder of its own."""
    store = STORES[request.param]()
    folder = tmp_path_factory.mktemp("containers")
    for kind, write in WRITERS.items():
        path = write(folder / f"a.{kind}", make_contents(60))
        store.upload(f"{kind}/in/a.{kind}", path.read_bytes())
        store.upload(f"{kind}/in/README", b"none")
    yield store, folder
    store.stop()


@pytest.fixture
def store(filled, tmp_path, monkeypatch):
    enter(filled[0], tmp_path, monkeypatch)
    yield filled
    leave(filled[0], "out")


@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_a_folder_of_a_store_gives_what_the_local_one_gives(store, kind, tmp_path, model_path):
    served, folder = store
    flags = ["--model", model_path, "--max-failure-ratio", "1"]
    remote = f"{served.scheme}://bucket/{kind}"
    for name, output in ((remote, "remote"), (str(folder / f"a.{kind}"), "local")):
        command = ["extract", f"--input-{kind}", name, "--output", str(tmp_path / output)]
        assert main([*command, *flags]) == 0
    assert rows(tmp_path / "remote") == rows(tmp_path / "local")
    assert failures(tmp_path / "remote") == failures(tmp_path / "local")


@pytest.mark.parametrize("kind", WRITERS)
def test_a_chunk_is_a_few_requests(store, kind):
    served, _ = store
    uri = f"{served.scheme}://bucket/{kind}/in/a.{kind}"
    source = make_source({f"input_{kind}": uri}).check()
    refs = list(source.list_images())
    served.proxy.forget()
    served.proxy.requests.clear()
    contents, errors = read_refs(source, refs)
    assert (len(contents), errors) == (60, {})
    # Parquet: size, footer, and a request for each of 12 row groups.
    assert len(served.proxy.requests) <= (14 if kind == "parquet" else 3)


def test_what_passes_is_tried_again_and_what_does_not_is_told(store, monkeypatch):
    served, _ = store
    uri = f"{served.scheme}://bucket/tar/in/a.tar"
    source = make_source({"input_tar": uri}).check()
    refs = list(source.list_images())
    monkeypatch.setattr(retrying, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(ranges, "BLOCK_BYTES", 1)  # A request an image.
    served.proxy.forget()
    served.proxy.inject("unavailable", "GET", "a.tar", times=2)
    assert read_refs(source, refs)[1] == {}
