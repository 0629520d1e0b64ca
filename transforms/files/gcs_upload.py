"""Writing to Google Cloud Storage, in one request or in parts, with checksums."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from beamvec.transforms.files import retrying
from beamvec.transforms.files.errors import StoreError
from beamvec.transforms.files.gcs_session import GcsSession, check, os_errors


def with_checksum(content: bytes) -> tuple[bytes, str]:
    """Return a body that holds an object's checksum, which the store compares, and its content."""
    told = json.dumps({"md5Hash": _encode(hashlib.md5(content, usedforsecurity=False))})
    line = f"--{uuid.uuid4().hex}"
    start = (
        f"{line}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{told}\r\n"
        f"{line}\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    body = b"".join((start.encode(), content, f"\r\n{line}--".encode()))
    return body, f'multipart/related; boundary="{line[2:]}"'


def _encode(digest: Any) -> str:
    return base64.b64encode(digest.digest()).decode()


class ResumableUpload:
    """A large object that appears when its last part is there.

    After a fault the store is asked what it has, and gets the rest.

    Args:
        session: what to send with.
        uri: of the object.
        url: that the store has given for this upload.
        look_up: returns what the store tells of the object, None if there is none.
    """

    def __init__(
        self, session: GcsSession, uri: str, url: str, look_up: Callable[[], dict[str, Any] | None]
    ):
        self._session, self._uri, self._url, self._look_up = session, uri, url, look_up
        self._sent = 0
        self._digest = hashlib.md5(usedforsecurity=False)

    def send(self, part: bytes) -> None:
        """Send the next part, of a multiple of 256 KiB."""
        self._put(part, "*")

    def finish(self, rest: bytes) -> None:
        """Send what is left, and let the object appear."""
        try:
            self._put(rest, str(self._sent + len(rest)))
        except FileNotFoundError:
            # The upload is over. If it was the last answer that was lost, the object is there.
            if self._look_up() is None:
                raise
        found = self._look_up() or {}
        if found.get("md5Hash") not in (None, _encode(self._digest)):
            raise StoreError(errno.EIO, "Written by somebody else, or damaged", self._uri)

    def _put(self, part: bytes, total: str) -> None:
        self._digest.update(part)
        end = self._sent + len(part)
        tries = 0

        def put_once() -> None:
            nonlocal tries
            tries += 1
            at = self._sent if tries == 1 else self._ask_state(total)
            if at is None or (at == end and total == "*"):
                return
            rest = part[at - self._sent :]
            span = f"{at}-{end - 1}" if rest else "*"
            self._send(rest, f"bytes {span}/{total}")

        retrying.call(put_once)
        self._sent = end

    def _ask_state(self, total: str) -> int | None:
        """Return how many bytes the store has, None if the object is there."""
        response = self._send(b"", f"bytes */{total}")
        if response.status_code != 308:
            return None
        last = re.fullmatch(r"bytes=0-(\d+)", response.headers.get("Range", ""))
        return int(last[1]) + 1 if last else 0

    def _send(self, data: bytes, span: str) -> Any:
        with os_errors(self._uri):
            headers = {"Content-Range": span}
            return check(
                self._session.send("PUT", self._url, data=data, headers=headers), self._uri
            )

    def abort(self) -> None:
        """Throw away what was sent; the store does it by itself after a week."""
        with suppress(OSError), os_errors(self._uri):
            self._session.send("DELETE", self._url)
