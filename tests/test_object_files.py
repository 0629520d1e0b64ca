"""Objects of S3 and GCS as files, with faults of every kind between."""

from __future__ import annotations

import random
import sys
import threading

import pytest

from beamvec.transforms.files import gcs_session, object_files, retrying, s3, storage
from beamvec.transforms.files.storage import ConflictError, StoreError
from object_stores import STORES, enter, leave

BLOCK_BYTES = 64 << 10
PART_BYTES = 256 << 10
"""The least that Google Cloud Storage takes for a part; S3 takes 5 MiB."""

TIMEOUT_S = 0.3
PASSING = ("unavailable", "slow_down", "failed", "reset", "lost", "slow")


@pytest.fixture(scope="module", params=STORES)
def server(request):
    server = STORES[request.param]()
    yield server
    server.stop()


@pytest.fixture
def store(server, tmp_path, monkeypatch):
    """A store; nobody waits long for it."""
    enter(server, tmp_path, monkeypatch)
    monkeypatch.setattr(retrying, "FIRST_DELAY_S", 0.005)
    monkeypatch.setattr(retrying, "MAX_DELAY_S", 0.02)
    for module in (s3, gcs_session):
        monkeypatch.setattr(module, "READ_TIMEOUT_S", TIMEOUT_S)
    monkeypatch.setattr(object_files, "PART_BYTES", PART_BYTES)
    monkeypatch.setattr(object_files, "BLOCK_BYTES", BLOCK_BYTES)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", PART_BYTES)
    monkeypatch.setattr(s3, "COPY_BYTES", PART_BYTES)
    yield server
    leave(server)


@pytest.fixture
def root(store):
    return f"{store.scheme}://bucket"


@pytest.fixture
def large():
    """The bytes of an object that is written in three parts."""
    return random.Random(0).randbytes(2 * PART_BYTES + 1000)


NAMES = ["a", "a b", "a%2Fb", "a+b", "a?b#c", "\u00fc/\u2713", "a//b", "[a]", "a*"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_written_read_moved_and_deleted(root, name):
    uri = f"{root}/names/{name}"
    storage.write_file(uri, b"content")
    assert storage.read_bytes(uri) == b"content"
    assert storage.list_tree(f"{root}/names") == [(uri, 7, True)]
    assert [file.path for file in storage.match(storage.literal(uri))] == [uri]
    storage.rename(uri, f"{root}/moved/{name}")
    assert not storage.exists(uri)
    assert storage.read_bytes(f"{root}/moved/{name}") == b"content"
    storage.delete(f"{root}/moved/{name}")
    storage.delete(f"{root}/moved/{name}")
    assert storage.list_tree(root) == []


@pytest.mark.parametrize("content", [b"", b"1"])
def test_small_objects_are_read_as_files(root, content):
    storage.write_file(f"{root}/a", content)
    with storage.open_file(f"{root}/a") as file:
        assert file.read() == content
        assert file.seek(0) == 0
        assert file.read(5) == content
    assert storage.read_versioned(f"{root}/a", 1) == storage.read_versioned(f"{root}/a")


def test_large_objects_are_read_anywhere_copied_and_written_in_parts(store, root, large):
    with storage.open_atomically(f"{root}/a") as file:
        for at in range(0, len(large), 10_000):
            file.write(large[at : at + 10_000])
        assert file.tell() == len(large)
        assert not storage.exists(f"{root}/a")
    dice = random.Random(1)
    with storage.open_file(f"{root}/a") as file:
        for _ in range(20):
            at, size = dice.randrange(len(large) + 9), dice.randrange(2 * BLOCK_BYTES)
            file.seek(at)
            assert file.read(size) == large[at : at + size]
        file.seek(-10, 2)
        assert file.read() == large[-10:]
    storage.rename(f"{root}/a", f"{root}/b")
    assert list(store.download("")) == ["b"]
    assert storage.read_bytes(f"{root}/b") == large


def test_a_block_that_fails_leaves_the_object_as_it_was(store, root, large):
    storage.write_file(f"{root}/a", b"before")
    with pytest.raises(TypeError), storage.open_atomically(f"{root}/a") as file:
        file.writelines([large, "no bytes"])
    assert store.download("") == {"a": b"before"}
    assert "DELETE" in {method for method, _ in store.proxy.requests}


@pytest.mark.parametrize("kind", PASSING)
def test_faults_that_pass_change_nothing(store, root, large, kind):
    """Each request of all kinds fails two times in three, for a while."""
    for method in ("PUT", "POST", "GET", "HEAD", "DELETE"):
        store.proxy.inject(kind, method, times=4)
    storage.write_file(f"{root}/small", b"1")
    storage.write_file(f"{root}/large", large)
    assert storage.read_bytes(f"{root}/small") == b"1"
    with storage.open_file(f"{root}/large") as file:
        assert file.read() == large
    storage.rename(f"{root}/large", f"{root}/moved")
    assert storage.exists(f"{root}/moved")
    assert not storage.exists(f"{root}/large")
    assert [file.path for file in storage.match(f"{root}/*")] == [f"{root}/moved", f"{root}/small"]
    storage.delete_files([f"{root}/small", f"{root}/moved"], root)
    assert store.download("") == {}
    assert store.proxy.injected[kind] >= 12


def test_every_answer_of_an_upload_may_be_lost(store, root, large):
    for method in ("POST", "PUT"):
        for at in range(5):
            store.proxy.forget()
            store.proxy.inject("", method, times=at)
            store.proxy.inject("lost", method)
            storage.write_file(f"{root}/a", large)
            assert store.download("") == {"a": large}


@pytest.mark.parametrize("kind", ["half", "stalled"])
def test_a_body_that_breaks_off_is_read_again(store, root, large, kind):
    storage.write_file(f"{root}/a", large)
    store.proxy.inject(kind, "GET", times=2)
    result = storage.try_read(f"{root}/a")
    assert (result.data == large, result.error, result.retries) == (True, None, 2)
    store.proxy.inject(kind, "GET", times=2)
    with storage.open_file(f"{root}/a") as file:
        store.proxy.inject(kind, "GET", times=2)
        assert file.read() == large
    assert store.proxy.injected[kind] == 6


def test_a_store_that_asks_for_fewer_requests_is_waited_for(store, root):
    store.proxy.inject("slow_down", store.write, times=40)
    storage.write_file(f"{root}/a", b"1")
    assert store.proxy.injected["slow_down"] == 40


@pytest.mark.parametrize("kind", ["reset", "unavailable", "failed", "stalled"])
def test_a_fault_that_stays_ends_in_one_line(store, root, kind, monkeypatch):
    monkeypatch.setattr(retrying, "TRANSIENT_S", 0.1)
    monkeypatch.setattr(retrying, "THROTTLED_S", 0.1)
    storage.write_file(f"{root}/a", b"1234")
    for method in ("GET", "HEAD", store.write):
        store.proxy.inject(kind, method, times=1000)
    asked = [storage.read_bytes]
    if kind != "stalled":
        asked += [storage.exists, lambda uri: storage.write_file(uri, b"2")]
    for ask in asked:
        with pytest.raises(StoreError, match=r"tried \d+ times in") as error:
            ask(f"{root}/a")
        assert error.value.filename == f"{root}/a"
        assert "\n" not in str(error.value)


def test_what_is_denied_is_not_asked_again(store, root):
    storage.write_file(f"{root}/a", b"1")
    for method in ("GET", "HEAD", "DELETE", store.write):
        store.proxy.inject("denied", method, times=1000)
    writes = lambda uri: storage.write_file(uri, b"2")  # noqa: E731
    for ask in (storage.read_bytes, storage.exists, storage.delete, writes, storage.read_versioned):
        before = len(store.proxy.requests)
        with pytest.raises(PermissionError, match="Access denied"):
            ask(f"{root}/a")
        assert len(store.proxy.requests) == before + 1


def test_what_is_not_there_is_an_error_of_files(root):
    for ask in (storage.read_bytes, lambda uri: storage.open_file(uri).__enter__()):
        for uri in (f"{root}/nothing", f"{root}-nothing/a"):
            with pytest.raises(FileNotFoundError, match="nothing"):
                ask(uri)
    with pytest.raises(FileNotFoundError, match="nothing"):
        storage.rename(f"{root}/nothing", f"{root}/b")
    assert storage.read_versioned(f"{root}/nothing") is None
    assert storage.modified_s(f"{root}/nothing") is None


def test_an_object_that_changes_while_it_is_read_is_an_error(root, large):
    for change in (lambda uri: storage.write_file(uri, b"2"), storage.delete):
        storage.write_file(f"{root}/a", large)
        with storage.open_file(f"{root}/a") as file:
            file.read(10)
            change(f"{root}/a")
            with pytest.raises(StoreError, match="Changed while it was read"):
                file.read()


def test_only_the_version_that_was_read_is_written_or_deleted(root):
    uri = f"{root}/a"
    first = storage.write_if(uri, b"1", None)
    assert storage.read_versioned(uri) == (b"1", first)
    second = storage.write_if(uri, b"2", first)
    for version in (first, None):
        with pytest.raises(ConflictError):
            storage.write_if(uri, b"3", version)
    with pytest.raises(ConflictError):
        storage.delete_if(uri, first)
    assert storage.read_versioned(uri) == (b"2", second)
    storage.delete_if(uri, second)
    storage.delete_if(uri, second)
    with pytest.raises(ConflictError):
        storage.write_if(uri, b"3", second)
    assert not storage.exists(uri)


def test_a_lost_answer_is_no_conflict(store, root):
    uri = f"{root}/a"
    store.proxy.inject("lost", store.write)
    version = storage.write_if(uri, b"1", None)
    store.proxy.inject("lost", store.write)
    version = storage.write_if(uri, b"2", version)
    assert storage.read_versioned(uri) == (b"2", version)
    store.proxy.inject("lost", "DELETE")
    storage.delete_if(uri, version)
    assert not storage.exists(uri)


def test_a_conflict_after_a_retry_is_one(store, root):
    version = storage.write_if(f"{root}/a", b"1", None)
    storage.write_if(f"{root}/a", b"another's", version)
    store.proxy.inject("reset", store.write)
    with pytest.raises(ConflictError):
        storage.write_if(f"{root}/a", b"2", version)


def test_of_many_writers_one_wins(root):
    won: list[int] = []
    gate = threading.Barrier(8)

    def write(i: int) -> None:
        gate.wait()
        try:
            storage.write_if(f"{root}/a", b"%d" % i, None)
            won.append(i)
        except ConflictError:
            pass

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.read_bytes(f"{root}/a") == b"%d" % won[0]
    assert len(won) == 1


@pytest.mark.parametrize("obeyed", [True, False])
def test_a_store_is_asked_once_whether_it_obeys_conditions(store, root, obeyed):
    store.proxy.conditions = obeyed
    assert storage.has_conditions(f"{root}/a") is obeyed
    asked = len(store.proxy.requests)
    assert storage.has_conditions(f"{root}/b") is obeyed
    assert len(store.proxy.requests) == asked
    assert store.download("") == {}


def test_without_conditions_versions_are_compared_before(store, root):
    store.proxy.conditions = False
    storage.has_conditions(root + "/a")
    test_only_the_version_that_was_read_is_written_or_deleted(root)


def test_patterns_stay_in_folders_or_do_not(store, root):
    for name in ("b/x.jpg", "b/c/y.jpg", "b/", "b2/z.jpg", "b/x.png", "back\\slash.gif"):
        store.upload(name, b"")
    found = lambda pattern: [file.path for file in storage.match(root + pattern)]  # noqa: E731
    assert found("/b/*.jpg") == [f"{root}/b/x.jpg"]
    assert found("/b/**.jpg") == [f"{root}/b/c/y.jpg", f"{root}/b/x.jpg"]
    assert found("/b/**/*.jpg") == [f"{root}/b/c/y.jpg", f"{root}/b/x.jpg"]
    assert found("/**/z.jpg") == [f"{root}/b2/z.jpg"]
    assert found("/*slash.*") == [f"{root}/back\\slash.gif"]
    assert found("/*/?.[jp]*") == [f"{root}/b/x.jpg", f"{root}/b/x.png", f"{root}/b2/z.jpg"]
    assert storage.list_files(f"{root}/b") == [f"{root}/b/x.jpg", f"{root}/b/x.png"]
    assert len(storage.match(f"{root}/**", 2)) == 2


def test_nothing_of_beam_is_needed_to_read(root):
    """In another process, where nobody has imported it."""
    import subprocess

    storage.write_file(f"{root}/a", b"content")
    program = (
        "import sys; from beamvec.transforms.files import storage; "
        f"assert storage.read_bytes('{root}/a') == b'content'; "
        "sys.exit('apache_beam' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
