"""Google Cloud Storage: `GcsStore`, which speaks its JSON API.

The client library of Google tries again by rules of its own, and keeps an upload's state to itself;
what is used of it is how one is known to the store.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import quote

from beamvec.transforms.files import retrying
from beamvec.transforms.files.errors import conflict
from beamvec.transforms.files.gcs_session import GcsSession, check, os_errors
from beamvec.transforms.files.gcs_upload import ResumableUpload, with_checksum
from beamvec.transforms.files.object_store import (
    ABSENT,
    Block,
    Found,
    Upload,
    split_object,
    split_uri,
    to_seconds,
)
from beamvec.transforms.files.storage import ListedFile


class GcsStore:
    """Objects in Google Cloud Storage.

    Args:
        credentials: of google-auth.
        headers: that go with every request.
    """

    def __init__(self, credentials: Any, headers: dict[str, str]):
        self._session = GcsSession(credentials, headers)

    def read(
        self, uri: str, start: int = 0, size: int | None = None, version: str | None = None
    ) -> Block:
        """Read an object from a place on, of that version if one is given."""
        # As it is stored: the store would unpack what is marked as gzip, and ranges with it.
        headers = {"Accept-Encoding": "gzip"}
        if size is not None:
            headers["Range"] = f"bytes={start}-{start + size - 1}"
        params = {"alt": "media", **({"ifGenerationMatch": version} if version else {})}

        def read_once() -> Block:
            response = self._download(uri, params, headers)
            if response.status_code == 416:  # Nothing is there to range over.
                response = self._download(uri, params, {})
            with os_errors(uri), check(response, uri):
                data = response.raw.read(decode_content=False)
            span = re.fullmatch(r"bytes .*/(\d+)", response.headers.get("Content-Range", ""))
            total = int(span[1]) if span else len(data)
            return Block(data, total, response.headers["X-Goog-Generation"])

        return retrying.call(read_once)

    def _download(self, uri: str, params: dict[str, str], headers: dict[str, str]) -> Any:
        with os_errors(uri):
            return self._session.send(
                "GET", _object(uri), params=params, headers=headers, stream=True
            )

    def write(self, uri: str, content: bytes, version: str | None = None) -> str:
        """Write a whole object and return its version."""
        bucket, key = split_object(uri)
        params = {"uploadType": "multipart", "name": key, **_condition(version)}
        path = f"/upload/storage/v1/b/{bucket}/o"
        body, kind = with_checksum(content)
        try:
            headers = {"Content-Type": kind}
            answer = self._session.ask(uri, "POST", path, params=params, data=body, headers=headers)
        except FileNotFoundError:
            if not version:
                raise
            raise conflict(uri) from None
        return str(answer.json()["generation"])

    def begin(self, uri: str) -> Upload:
        """Begin to write a large object."""
        bucket, key = split_object(uri)
        params = {"uploadType": "resumable", "name": key}
        path = f"/upload/storage/v1/b/{bucket}/o"
        headers = {"X-Upload-Content-Type": "application/octet-stream"}
        answer = self._session.ask(uri, "POST", path, params=params, headers=headers, json={})
        url = answer.headers["Location"]
        return ResumableUpload(self._session, uri, url, lambda: self._describe(uri))

    def look_up(self, uri: str) -> Found | None:
        """Return what the store tells of an object, None if there is none."""
        found = self._describe(uri)
        if found is None:
            return None
        return Found(int(found["size"]), _seconds(found["updated"]), found["generation"])

    def _describe(self, uri: str) -> dict[str, Any] | None:
        params = {"fields": "size,updated,generation,md5Hash"}
        try:
            found: dict[str, Any] = self._session.ask(
                uri, "GET", _object(uri), params=params
            ).json()
        except FileNotFoundError:
            return None
        return found

    def delete(self, uri: str, version: str | None = None) -> None:
        """Delete an object, of that version if one is given; none is no error."""
        with suppress(FileNotFoundError):
            self._session.ask(uri, "DELETE", _object(uri), params=_condition(version))

    def copy(self, source: str, target: str) -> None:
        """Copy an object of any size within the store, in as many requests as it wants."""
        path = f"{_object(source)}/rewriteTo{_object(target).removeprefix('/storage/v1')}"
        params: dict[str, str] = {}
        while True:
            answer = self._session.ask(source, "POST", path, params=params).json()
            if answer["done"]:
                return
            params["rewriteToken"] = answer["rewriteToken"]

    def list(self, prefix: str) -> Iterator[ListedFile]:
        """Yield the objects whose URIs begin so."""
        bucket, key = split_uri(prefix)
        params = {"prefix": key, "fields": "items(name,size,updated),nextPageToken"}
        while True:
            page = self._session.ask(
                prefix, "GET", f"/storage/v1/b/{bucket}/o", params=params
            ).json()
            for item in page.get("items", ()):
                uri = f"gs://{bucket}/{item['name']}"
                yield ListedFile(uri, int(item["size"]), _seconds(item["updated"]))
            if not page.get("nextPageToken"):
                return
            params["pageToken"] = page["nextPageToken"]


def _object(uri: str) -> str:
    bucket, key = split_object(uri)
    return f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}"


def _condition(version: str | None) -> dict[str, str]:
    if version is None:
        return {}
    return {"ifGenerationMatch": "0" if version == ABSENT else version}


def _seconds(time: str) -> float:
    whole, _, fraction = time.rstrip("Z").partition(".")
    padded = f"{whole}.{fraction:0<6.6}+00:00"  # Python 3.10 wants all six digits.
    return to_seconds(datetime.fromisoformat(padded))
