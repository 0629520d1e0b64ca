"""Which store a URI leads to, and errors of Beam's other filesystems."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import disk_filesystem
import pyarrow as pa
import pytest
from apache_beam.io.filesystem import BeamIOError, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from beamvec.pipeline.commands.main import main
from beamvec.transforms.files import beam_files, retrying, storage, stores
from beamvec.transforms.files.storage import NoStoreError, StoreError

URI = "disk://bucket/key"


def raised(error: Exception) -> Exception:
    """Return what becomes of an error in a block of `os_errors`."""
    try:
        with beam_files.os_errors(URI):
            raise error
    except OSError as found:
        return found


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (BeamIOError("x", {"a": 404}), FileNotFoundError, "No such object or bucket"),
        (BeamIOError("x", {"a": 403}), PermissionError, "Access denied (the store answered 403)"),
        (BeamIOError("x", {"a": 401}), PermissionError, "Access denied"),
        (BeamIOError("x", {"a": 503}), StoreError, "the store answered 503"),
        (BeamIOError("x", {"a": BeamIOError("y", {"b": 404})}), FileNotFoundError, "No such"),
        (RuntimeError("two\n lines"), StoreError, "two lines"),
        (NameError(), StoreError, "NameError"),
        (ValueError("no such name"), OSError, "no such name"),
    ],
)
def test_every_error_is_an_os_error_that_names_the_uri(error, kind, told):
    found = raised(error)
    assert type(found) is kind
    assert found.filename == URI
    assert told in str(found)
    assert found.__cause__ is error


def test_an_os_error_comes_through_as_it_is():
    error = TimeoutError(errno.ETIMEDOUT, "too slow")
    assert raised(error) is error
    assert raised(BeamIOError("x", {"a": error})) is error


@pytest.mark.parametrize(("scheme", "extra"), [("s3", "aws"), ("gs", "gcp")])
def test_missing_packages_are_named(scheme, extra, monkeypatch):
    monkeypatch.setenv("AWS_MISSING_PACKAGES", "")  # Another environment, another client.
    monkeypatch.setattr(storage, "is_installed", lambda _: False)
    with pytest.raises(NoStoreError, match=rf"{scheme}:// needs more .*'beamvec\[{extra}\]'"):
        stores.check(f"{scheme}://bucket/key")


@pytest.mark.parametrize("scheme", ["azfs", "abfs", "abfss", "az", "wasb", "wasbs"])
def test_azure_is_refused_and_told_what_to_do_instead(scheme):
    with pytest.raises(NoStoreError, match=r"Azure Blob Storage.* mount the container .*azcopy"):
        stores.check(f"{scheme}://account/container/a.jpg")


BAD_URIS = {
    "s3://": "No bucket is named",
    "s3:///x": "No bucket is named",
    "s3://bu cket/x": "'bu cket' is no bucket's name",
    "gs://": "No bucket is named",
    "gs://\u00fc/x": "is no bucket's name",
    "://": "no filesystem for ://",
    "hdfs://": "hdfs://",
    "azfs://": "Azure",
}


@pytest.fixture
def keys(monkeypatch):
    """Credentials that nobody asks."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.mark.parametrize(("uri", "told"), BAD_URIS.items())
@pytest.mark.usefixtures("keys")
def test_uris_that_no_store_can_have_are_told_from_others(uri, told):
    for ask in (storage.check_store, storage.read_bytes):
        with pytest.raises(OSError, match=r".") as error:
            ask(uri)
        assert told in str(error.value)
    assert storage.try_read(uri).retries == 0


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "gs://bucket", "gs://bucket/"])
@pytest.mark.usefixtures("keys")
def test_a_bucket_is_no_file_but_may_be_a_folder(uri):
    storage.check_store(uri)
    for ask in (storage.read_bytes, storage.exists, storage.delete):
        with pytest.raises(OSError, match="Names a bucket, and no object in it"):
            ask(uri)


@pytest.mark.parametrize("uri", [*BAD_URIS, "s3://bucket", "gs://bucket"])
@pytest.mark.parametrize("flag", ["--input", "--input-list", "--manifest", "--model", "--output"])
@pytest.mark.usefixtures("keys")
def test_a_uri_that_leads_nowhere_ends_with_2(uri, flag, photos, model_path, capsys, monkeypatch):
    monkeypatch.setattr(retrying, "TRANSIENT_S", 0.0)  # Nobody is at the endpoint.
    values = {"--input": str(photos), "--model": model_path, "--output": "/nonexistent", flag: uri}
    if flag in ("--input-list", "--manifest"):
        del values["--input"]
    assert main(["extract", *(word for pair in values.items() for word in pair)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("beamvec: ")
    assert uri in error
    assert error.count("\n") == 1


@pytest.mark.usefixtures("keys")
def test_uris_in_a_list_that_lead_nowhere_are_failure_rows(extract, dataset, tmp_path):
    uris = [*BAD_URIS, "s3://bucket", "gs://bucket/"]
    (tmp_path / "list.txt").write_text("\n".join(uris))
    assert extract("--input-list", tmp_path / "list.txt", "--max-failure-ratio", "1") == 0
    rows = dataset().read_failures().to_pylist()
    assert {row["uri"] for row in rows} == set(uris)
    for row in rows:
        assert row["stage"] == "read"
        assert BAD_URIS.get(row["uri"], "Names a bucket, and no object") in row["message"]


@pytest.mark.usefixtures("keys")
def test_options_of_beam_reach_the_stores(monkeypatch):
    flags = ["--s3_endpoint_url=http://127.0.0.1:7", "--s3_access_key_id=a", "--s3_verify=/x"]
    monkeypatch.setattr(FileSystems, "_pipeline_options", PipelineOptions(flags))
    given: list[dict] = []
    monkeypatch.setitem(stores._MAKERS, "s3", lambda options: given.append(options))
    stores.check("s3://bucket/key")
    assert given == [
        {"s3_endpoint_url": "http://127.0.0.1:7", "s3_access_key_id": "a", "s3_verify": "/x"}
    ]


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "root", tmp_path)
    return tmp_path


def test_markers_of_folders_are_not_listed(bucket, monkeypatch):
    (bucket / "a").write_text("1")
    marker = FileMetadata("disk://folder/", 0, 1.0)
    files = [FileMetadata("disk://a", 1, 0.0), marker]
    result = SimpleNamespace(metadata_list=files)
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "match", lambda *_: [result])
    assert storage.match("disk://**") == [("disk://a", 1, None)]


def test_listings_tell_size_and_time(bucket):
    (bucket / "a").write_text("12")
    (file,) = storage.match("disk://*")
    assert file == ("disk://a", 2, (bucket / "a").stat().st_mtime)
    assert storage.modified_s("disk://a") == file.modified_s
    assert storage.modified_s("disk://b") is None


def test_deleting_what_is_not_there_is_no_error(bucket):
    storage.delete("disk://nothing")
    (bucket / "a").write_text("")
    storage.delete_files(["disk://nothing", "disk://a"], "disk://")
    assert not storage.exists("disk://a")


def test_what_a_reader_raises_is_its_own(bucket):
    (bucket / "a").write_text("")
    with pytest.raises(pa.ArrowInvalid), storage.open_file("disk://a"):
        raise pa.ArrowInvalid("not Parquet")
