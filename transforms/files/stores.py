"""Which store a URI leads to: S3 and Google Cloud Storage, or another filesystem of Beam's."""

from __future__ import annotations

import importlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, BinaryIO, cast

from beamvec.transforms.files import storage
from beamvec.transforms.files.errors import NoStoreError
from beamvec.transforms.files.object_files import ObjectFiles
from beamvec.transforms.files.object_store import split_uri

_AZURE = ("abfs", "abfss", "az", "azfs", "wasb", "wasbs")
_PACKAGES = {"s3": (("boto3",), "aws"), "gs": (("google.auth", "requests"), "gcp")}
_VARIABLES = ("AWS_", "GOOGLE_", "CLOUDSDK_", "STORAGE_EMULATOR_HOST")
_BUFFER_BYTES = 1 << 20
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


def check(uri: str) -> None:
    """Raise an `OSError` if a URI leads to no store, saying what to install or to set."""
    if isinstance(find(uri), ObjectFiles):
        split_uri(uri)


def find(uri: str) -> ObjectFiles | ModuleType:
    """Return what does for a URI all that `storage` offers.

    Raises:
        NoStoreError: if there is no such store, or its packages or credentials are missing.
    """
    scheme = uri.partition("://")[0]
    return _find_known(scheme) if scheme in _MAKERS else _find_other(scheme)


@contextmanager
def open_compressed(uri: str) -> Iterator[BinaryIO]:
    """Open a file, local or not, whose compression its name tells."""
    from apache_beam.io.filesystem import CompressedFile, CompressionTypes

    from beamvec.transforms.files.beam_files import name_errors

    kind = CompressionTypes.detect_compression_type(uri)
    with storage.open_as_stored(uri) as stored:
        unpacked = name_errors(uri, CompressedFile(stored, kind))
        yield cast(BinaryIO, io.BufferedReader(unpacked, _BUFFER_BYTES))


_turn = threading.Lock()
_made: dict[tuple[str, str], ObjectFiles | NoStoreError] = {}


def _find_known(scheme: str) -> ObjectFiles:
    """Return the one client of this process for a store, which its threads share.

    There is another one for other options and another environment, such as credentials that were
    set after the first try.
    """
    options = _read_options(scheme)
    environment = [item for item in os.environ.items() if item[0].startswith(_VARIABLES)]
    key = scheme, repr((options, environment))
    with _turn:
        if key not in _made:
            try:
                _made[key] = _make(scheme, options)
            except NoStoreError as error:  # To find that out may take seconds.
                _made[key] = error
        found = _made[key]
    if isinstance(found, NoStoreError):
        raise NoStoreError(*found.args)
    return found


def _make(scheme: str, options: dict[str, Any]) -> ObjectFiles:
    packages, extra = _PACKAGES[scheme]
    if not all(map(storage.is_installed, packages)):
        raise NoStoreError(f"{scheme}:// needs more packages: pip install 'beamvec[{extra}]'")
    return ObjectFiles(_MAKERS[scheme](options))


def _make_s3(options: dict[str, Any]) -> Any:
    names = {
        "s3_access_key_id": "aws_access_key_id",
        "s3_secret_access_key": "aws_secret_access_key",
        "s3_session_token": "aws_session_token",
        "s3_endpoint_url": "endpoint_url",
        "s3_region_name": "region_name",
        "s3_api_version": "api_version",
        "s3_verify": "verify",
    }
    given = {name: options[option] for option, name in names.items() if options.get(option)}
    if options.get("s3_disable_ssl"):
        given["use_ssl"] = False
    return importlib.import_module("beamvec.transforms.files.s3").S3Store(given)


def _make_gcs(options: dict[str, Any]) -> Any:
    session = importlib.import_module("beamvec.transforms.files.gcs_session")
    scopes = options.get("gcp_oauth_scopes") or _SCOPES
    credentials = session.find_credentials(scopes, options.get("impersonate_service_account"))
    headers = dict(options.get("gcs_custom_audit_entries") or {})
    if options.get("job_name"):
        headers.setdefault("x-goog-custom-audit-job", options["job_name"])
    gcs = importlib.import_module("beamvec.transforms.files.gcs")
    return gcs.GcsStore(credentials, headers)


_MAKERS: dict[str, Callable[[dict[str, Any]], Any]] = {"s3": _make_s3, "gs": _make_gcs}


def _read_options(scheme: str) -> dict[str, Any]:
    """Return those of Beam's options that are about a store, none unless Beam has been given some.

    Beam need not be imported for that: whoever gives it options has done so.
    """
    filesystems = sys.modules.get("apache_beam.io.filesystems")
    options = filesystems and filesystems.FileSystems._pipeline_options
    if not options:
        return {}
    known, given = _parsed.get(scheme, (None, {}))
    if known is not options:  # To parse them takes milliseconds; this is asked for every file.
        from apache_beam.options.pipeline_options import GoogleCloudOptions, S3Options

        kind = S3Options if scheme == "s3" else GoogleCloudOptions
        given = options.view_as(kind).get_all_options(drop_default=True)
        _parsed[scheme] = options, given
    return given


_parsed: dict[str, tuple[Any, dict[str, Any]]] = {}
"""The options of Beam that were parsed last for a scheme, and what came of it."""


def _find_other(scheme: str) -> ModuleType:
    if scheme in _AZURE:
        raise NoStoreError(
            f"{scheme}:// is Azure Blob Storage, which beamvec does not read or write; mount the "
            "container as a folder (blobfuse2), or copy it to s3://, gs:// or a disk (azcopy)"
        )
    if scheme.lower() in ("http", "https"):
        raise NoStoreError(
            f"{scheme}:// is fetched for images that `input_list` or `manifest` names, and for "
            "nothing else"
        )
    from apache_beam.io.filesystem import FileSystem
    from apache_beam.io.filesystems import FileSystems

    if scheme not in {kind.scheme() for kind in FileSystem.get_all_subclasses()}:
        raise NoStoreError(f"no filesystem for {scheme}://; use a local path, gs:// or s3://")
    try:
        FileSystems.get_filesystem(f"{scheme}://")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NoStoreError(f"{scheme}:// cannot be used: {reason}") from error
    return importlib.import_module("beamvec.transforms.files.beam_files")
