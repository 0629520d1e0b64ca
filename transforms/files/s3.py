"""S3 and stores with its interface, by boto3: `S3Store`."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import boto3
import urllib3
from botocore import exceptions as boto
from botocore.config import Config

from beamvec.transforms.files import retrying
from beamvec.transforms.files.errors import (
    NoStoreError,
    StoreError,
    ThrottledError,
    TransientError,
    conflict,
    error_of_status,
)
from beamvec.transforms.files.object_store import (
    ABSENT,
    CONNECT_TIMEOUT_S,
    CONNECTIONS,
    READ_TIMEOUT_S,
    Block,
    Found,
    Upload,
    split_object,
    split_uri,
    to_seconds,
)
from beamvec.transforms.files.storage import ListedFile

COPY_BYTES = 512 << 20
"""What is copied in one request: the store would take 5 GB, but takes long over them."""

_ADVICE = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_CREDENTIAL_ERRORS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.SSOError,
    boto.TokenRetrievalError,
    boto.ProfileNotFound,
)
_BROKEN = (boto.HTTPClientError, boto.IncompleteReadError, urllib3.exceptions.HTTPError)
_EXPIRED = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "ExpiredTokenException")
_THROTTLED = ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded")
_T = TypeVar("_T")


@contextmanager
def _os_errors(uri: str) -> Iterator[None]:
    """Turn what boto3 raises into an `OSError`."""
    try:
        yield
    except boto.ClientError as error:
        raise _error_of_answer(error, uri) from error
    except _BROKEN as error:
        raise TransientError(errno.EIO, _one_line(error), uri) from error
    except _CREDENTIAL_ERRORS as error:
        raise PermissionError(errno.EACCES, f"{_one_line(error)}; {_ADVICE}", uri) from error
    except (boto.ParamValidationError, ValueError) as error:
        raise OSError(errno.EINVAL, _one_line(error), uri) from error
    except boto.BotoCoreError as error:
        raise StoreError(errno.EIO, _one_line(error), uri) from error


def _error_of_answer(error: boto.ClientError, uri: str) -> OSError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code in _THROTTLED:
        return ThrottledError(errno.EIO, _one_line(error), uri)
    if code == "RequestTimeout":  # Of a request that the store has waited for, with 400.
        return TransientError(errno.EIO, _one_line(error), uri)
    return error_of_status(403 if code in _EXPIRED else status, _one_line(error), uri)


def _one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _ask(uri: str, function: Callable[[], _T]) -> _T:
    def try_once() -> _T:
        with _os_errors(uri):
            return function()

    return retrying.call(try_once)


class S3Store:
    """Objects in S3, or a store with its interface.

    Args:
        options: of Beam, by their names without `s3_`; those that are None do not count.

    Raises:
        NoStoreError: if there are no credentials.
    """

    def __init__(self, options: dict[str, Any]):
        try:
            session = boto3.session.Session()
            if not (options.get("aws_access_key_id") or session.get_credentials()):
                raise NoStoreError(f"no credentials for s3://; {_ADVICE}")
            config = Config(
                retries={"total_max_attempts": 1, "mode": "standard"},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                max_pool_connections=CONNECTIONS,
                tcp_keepalive=True,
            )
            self._client = session.client("s3", config=config, **options)
        except (boto.BotoCoreError, ValueError) as error:
            message = f"no credentials for s3://: {_one_line(error)}; {_ADVICE}"
            if not isinstance(error, _CREDENTIAL_ERRORS):
                message = f"s3:// cannot be used: {_one_line(error)}"
            raise NoStoreError(message) from error

    def read(
        self, uri: str, start: int = 0, size: int | None = None, version: str | None = None
    ) -> Block:
        """Read an object from a place on, of that version if one is given."""
        place = _place(uri)
        if version is not None:
            place["IfMatch"] = version
        if size is not None:
            place["Range"] = f"bytes={start}-{start + size - 1}"

        def read_once() -> Block:
            try:
                answer = self._client.get_object(**place)
            except boto.ClientError as error:
                if error.response.get("Error", {}).get("Code") != "InvalidRange":
                    raise
                answer = self._client.get_object(**_place(uri))  # Nothing is there to range over.
            with answer["Body"] as body:
                data = body.read()
            span = re.fullmatch(r"bytes .*/(\d+)", answer.get("ContentRange", ""))
            return Block(data, int(span[1]) if span else len(data), answer["ETag"])

        return _ask(uri, read_once)

    def write(self, uri: str, content: bytes, version: str | None = None) -> str:
        """Write a whole object and return its version."""
        options: dict[str, Any] = {}
        if version is not None:
            options = {"IfNoneMatch": "*"} if version == ABSENT else {"IfMatch": version}
        place = {**_place(uri), "Body": content, **options}
        try:
            return str(_ask(uri, lambda: self._client.put_object(**place))["ETag"])
        except FileNotFoundError:
            if "IfMatch" not in options:
                raise
            raise conflict(uri) from None

    def begin(self, uri: str) -> Upload:
        """Begin to write a large object."""
        return _MultipartUpload(self._client, uri)

    def look_up(self, uri: str) -> Found | None:
        """Return what the store tells of an object, None if there is none."""
        try:
            answer = _ask(uri, lambda: self._client.head_object(**_place(uri)))
        except FileNotFoundError:
            return None
        modified_s = to_seconds(answer["LastModified"])
        return Found(answer["ContentLength"], modified_s, answer["ETag"])

    def delete(self, uri: str, version: str | None = None) -> None:
        """Delete an object, of that version if one is given; none is no error."""
        place = _place(uri)
        if version is not None:
            # Not every store obeys the condition of the request itself.
            found = self.look_up(uri)
            if found is None:
                return
            if found.version != version:
                raise conflict(uri)
        try:
            match = {} if version is None else {"IfMatch": version}
            with suppress(FileNotFoundError):
                _ask(uri, lambda: self._client.delete_object(**place, **match))
        except StoreError as error:
            if version is None or error.errno != errno.ENOTSUP:
                raise
            _ask(uri, lambda: self._client.delete_object(**place))

    def copy(self, source: str, target: str) -> None:
        """Copy an object of any size within the store."""
        found = self.look_up(source)
        if found is None:
            raise error_of_status(404, "", source)
        origin = {"CopySource": _place(source), "CopySourceIfMatch": found.version}
        if found.size_bytes <= COPY_BYTES:
            _ask(target, lambda: self._client.copy_object(**_place(target), **origin))
            return
        upload = _MultipartUpload(self._client, target)
        try:
            for start in range(0, found.size_bytes, COPY_BYTES):
                upload.copy(origin, start, min(start + COPY_BYTES, found.size_bytes))
            upload.complete()
        except BaseException:
            upload.abort()
            raise

    def list(self, prefix: str) -> Iterator[ListedFile]:
        """Yield the objects whose URIs begin so."""
        bucket, key = split_uri(prefix)
        page: dict[str, Any] = {"Bucket": bucket, "Prefix": key}
        while True:
            answer = _ask(prefix, lambda: self._client.list_objects_v2(**page))
            for item in answer.get("Contents", ()):
                modified_s = to_seconds(item["LastModified"])
                yield ListedFile(f"s3://{bucket}/{item['Key']}", item["Size"], modified_s)
            if not answer.get("NextContinuationToken"):
                return
            page["ContinuationToken"] = answer["NextContinuationToken"]


def _place(uri: str) -> dict[str, Any]:
    bucket, key = split_object(uri)
    return {"Bucket": bucket, "Key": key}


class _MultipartUpload:
    """A large object that appears when all its parts are there."""

    def __init__(self, client: Any, uri: str):
        self._client, self._uri = client, uri
        answer = _ask(uri, lambda: client.create_multipart_upload(**_place(uri)))
        self._place = {**_place(uri), "UploadId": answer["UploadId"]}
        self._parts: list[dict[str, Any]] = []
        self._size = 0

    def send(self, part: bytes) -> None:
        """Send the next part."""
        number = len(self._parts) + 1
        request = {**self._place, "PartNumber": number, "Body": part}
        answer = _ask(self._uri, lambda: self._client.upload_part(**request))
        self._add(number, answer["ETag"], len(part))

    def copy(self, origin: dict[str, Any], start: int, end: int) -> None:
        """Let the store take the next part from another object."""
        number = len(self._parts) + 1
        span = f"bytes={start}-{end - 1}"
        request = {**self._place, **origin, "PartNumber": number, "CopySourceRange": span}
        answer = _ask(self._uri, lambda: self._client.upload_part_copy(**request))
        self._add(number, answer["CopyPartResult"]["ETag"], end - start)

    def _add(self, number: int, etag: str, size: int) -> None:
        self._parts.append({"PartNumber": number, "ETag": etag})
        self._size += size

    def finish(self, rest: bytes) -> None:
        """Send what is left, and let the object appear."""
        if rest:
            self.send(rest)
        self.complete()

    def complete(self) -> None:
        """Let the object appear."""
        request = {**self._place, "MultipartUpload": {"Parts": self._parts}}
        try:
            _ask(self._uri, lambda: self._client.complete_multipart_upload(**request))
        except FileNotFoundError:
            # The upload is over. If it was ours whose answer was lost, the object is there.
            if not self._is_there():
                raise

    def _is_there(self) -> bool:
        try:
            head = _ask(self._uri, lambda: self._client.head_object(**_place(self._uri)))
        except FileNotFoundError:
            return False
        count = f"-{len(self._parts)}"
        return head["ContentLength"] == self._size and head["ETag"].strip('"').endswith(count)

    def abort(self) -> None:
        """Throw away what was sent; a store's own rules do it where that fails."""
        with suppress(OSError):
            _ask(self._uri, lambda: self._client.abort_multipart_upload(**self._place))
