"""Errors of object stores, which are those of local files here."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import disk_filesystem
import pytest
from apache_beam.io.aws.clients.s3.messages import S3ClientError
from apache_beam.io.filesystem import BeamIOError, FileMetadata
from google.api_core import exceptions as google

from beamvec.transforms.files import storage, stores
from beamvec.transforms.files.storage import NoStoreError, StoreError

URI = "s3://bucket/key"


def raised(error: Exception) -> Exception:
    """Return what becomes of an error in a block of `os_errors`."""
    try:
        with stores.os_errors(URI):
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
        (google.GoogleAPIError("two\n lines"), StoreError, "two lines"),
        (google.GoogleAPIError(), StoreError, "GoogleAPIError"),
        (BeamIOError("x", {"a": BeamIOError("y", {"b": 404})}), FileNotFoundError, "No such"),
        (google.NotFound("x"), FileNotFoundError, "No such object"),
        (google.Forbidden("not yours"), PermissionError, "Access denied (not yours)"),
        (google.InternalServerError("it failed"), StoreError, "it failed"),
        (S3ClientError("no bucket", 404), FileNotFoundError, "No such object"),
        (S3ClientError("slow down", 503), StoreError, "slow down"),
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


def test_what_is_no_error_of_a_store_is_left_alone():
    with pytest.raises(ZeroDivisionError), stores.os_errors(URI):
        raise ZeroDivisionError


@pytest.mark.parametrize(("scheme", "extra"), [("s3", "aws"), ("gs", "gcp")])
def test_missing_packages_are_named(scheme, extra, monkeypatch):
    stores.check_scheme.cache_clear()
    monkeypatch.setattr(storage, "is_installed", lambda _: False)
    with pytest.raises(NoStoreError, match=rf"{scheme}:// needs more .*'beamvec\[{extra}\]'"):
        stores.check_scheme(scheme)
    stores.check_scheme.cache_clear()


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
    assert stores.match("disk://**", None) == [("disk://a", 1, None)]


def test_listings_tell_size_and_time(bucket):
    (bucket / "a").write_text("12")
    (file,) = stores.match("disk://*", None)
    assert file == ("disk://a", 2, (bucket / "a").stat().st_mtime)


def test_deleting_what_is_not_there_is_no_error(bucket):
    stores.delete("disk://nothing")
    (bucket / "a").write_text("")
    stores.delete("disk://a")
    assert not stores.exists("disk://a")
