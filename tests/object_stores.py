"""Object stores on loopback: servers that others wrote, and a proxy before them that fails."""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
import struct
import threading
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

import boto3
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gcp_storage_emulator.server import create_server
from google.cloud import storage as gcs
from moto.server import ThreadedMotoServer

BUCKET = "bucket"
FAULTS = ("unavailable", "half", "slow")
_SLOW_S = 0.1
_GCS_OBJECT = re.compile(
    r"(/upload|/download)?/storage/v1/b/(?P<bucket>[^/]+)/o"
    r"(/(?P<key>[^/?]+)([?]|$)|[?](?=.*\bname=))"
)


class Fault(NamedTuple):
    """What goes wrong with the next requests of a kind.

    Attributes:
        kind: see `_ProxyHandler`.
        method: of the request.
        name: what its path contains.
    """

    kind: str
    method: str
    name: str


class Proxy:
    """Passes requests on to a server, one at a time, and spoils some.

    Those that `inject` names, and, where a ratio is set, the first GET of some photographs: which
    ones follows from the object's name, not from the order of requests, and the next GET of the
    same object is left alone.

    Attributes:
        conditions: whether the store obeys them. The server for GCS does not, so it is done here.
    """

    def __init__(self, target: str):
        self.target = urlsplit(target).netloc
        self.fault_ratio = 0.0
        self.accepts_tokens = True
        self.conditions = True
        self.turn = threading.Lock()
        self.injected: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.completed: set[str] = set()
        self.stopped = threading.Event()
        self._faults: list[Fault] = []
        self._spoiled: set[str] = set()
        handler = type("Handler", (_ProxyHandler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def inject(self, kind: str, method: str, name: str = "", times: int = 1) -> None:
        """Spoil the next requests of a method whose path contains a name; no kind spoils none."""
        self._faults += [Fault(kind, method, name)] * times

    def forget(self) -> None:
        """Be as new."""
        self.fault_ratio, self.accepts_tokens, self.conditions = 0.0, True, True
        self._faults.clear()
        self.injected.clear()
        self.requests.clear()

    def choose_fault(self, method: str, path: str) -> str | None:
        """Return what is to go wrong with a request."""
        name = unquote(path)
        with self.turn:
            self.requests.append((method, name))
            for fault in self._faults:
                if fault.method == method and fault.name in name:
                    self._faults.remove(fault)
                    self.injected[fault.kind] += 1
                    return fault.kind
        return self._choose_by_name(method, urlsplit(name).path)

    def _choose_by_name(self, method: str, name: str) -> str | None:
        dice = random.Random(f"0 {name}")
        if method != "GET" or "/photos/" not in name or name in self._spoiled:
            return None
        if dice.random() >= self.fault_ratio:
            return None
        self._spoiled.add(name)
        fault = dice.choice(FAULTS)
        self.injected[fault] += 1
        return fault

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # With the default of 5, connections wait for a second.

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that gave up have closed their connection."""


_SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
_ANSWERS = {
    "unavailable": (503, b""),
    "slow_down": (503, _SLOW_DOWN),
    "failed": (500, b""),
    "denied": (403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"),
}


class _ProxyHandler(BaseHTTPRequestHandler):
    """Answers a request, or lets it fail.

    unavailable, slow_down, failed, denied: the store answers so. reset: the connection breaks
    before the store has heard of it. lost: it breaks when the store has done it. half: half a body
    comes. stalled: half a body comes, and then nothing more. slow: the answer comes late.
    """

    proxy: Proxy
    protocol_version = "HTTP/1.1"  # Of an older server boto3 waits a second before each upload.
    disable_nagle_algorithm = True

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/token":
            self._give_token()
            return
        fault = self.proxy.choose_fault(self.command, self.path)
        if fault in _ANSWERS:
            status, content = _ANSWERS[fault]
            self._answer(status, {}, content)
            return
        if fault == "reset":
            self._reset()
            return
        if fault == "slow":
            threading.Event().wait(_SLOW_S)
        with self.proxy.turn:
            status, headers, content = self._ask_server(body)
        if fault == "lost":
            self._reset()
        else:
            self._answer(status, headers, content, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _pass_on  # noqa: N815

    def _ask_server(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self.command == "POST" and "uploadId=" in self.path:
            # Some stores know nothing of an upload that is over, not even that it succeeded.
            if self.path in self.proxy.completed:
                return 404, {}, b"<Error><Code>NoSuchUpload</Code></Error>"
            self.proxy.completed.add(self.path)
        headers = dict(self.headers)
        if not self.proxy.conditions:
            headers = {name: headers[name] for name in headers if not name.startswith("If-")}
        generation = None
        if place := _GCS_OBJECT.match(self.path):
            query = parse_qs(urlsplit(self.path).query)
            key = place["key"] or quote(query["name"][0], safe="")
            generation = self._read_generation(f"/storage/v1/b/{place['bucket']}/o/{key}")
            wanted = query.get("ifGenerationMatch", [generation])[0]
            if self.proxy.conditions and wanted != generation:
                missing = generation == "0" and self.command != "POST"
                return (404 if missing else 412), {}, b""
        status, answered, content = self._forward(self.command, self.path, body, headers)
        if generation and self.command == "GET":
            answered["X-Goog-Generation"] = generation
        if status == 308 and answered.get("Range") == "bytes=0-0":
            del answered["Range"]  # Nothing has come yet, which the server for GCS tells so.
        return status, answered, content

    def _read_generation(self, path: str) -> str:
        status, _, content = self._forward("GET", path, b"", {})
        return json.loads(content)["generation"] if status == 200 else "0"

    def _forward(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection(self.proxy.target)
        upstream.request(method, path, body, headers)
        response = upstream.getresponse()
        content = response.read()
        upstream.close()
        return response.status, dict(response.getheaders()), content

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)  # With this, closing it is a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True

    def _give_token(self) -> None:
        accepted = {"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}
        refused = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        ok = self.proxy.accepts_tokens
        content = json.dumps(accepted if ok else refused).encode()
        self._answer(200 if ok else 400, {"Content-Type": "application/json"}, content)

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, fault: str | None = None
    ) -> None:
        cut = fault in ("half", "stalled")
        self.send_response_only(status)
        kept = {name.title(): value for name, value in headers.items()}
        for name in ("Connection", "Transfer-Encoding"):
            kept.pop(name, None)
        kept.setdefault("Content-Length", str(len(content)))
        for name, value in kept.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if fault == "stalled":
            self.proxy.stopped.wait()
        self.close_connection = cut

    def log_message(self, *_: object) -> None:
        pass


class S3Store:
    """S3, by moto."""

    scheme = "s3"
    extra = "aws"
    write = "PUT"

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self._url = "http://{}:{}".format(*self._server.get_host_and_port())
        # What others have written in this process, moto keeps for all of its servers.
        urllib.request.urlopen(f"{self._url}/moto-api/reset", b"").close()
        self.proxy = Proxy(self._url)
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        place = {"region_name": "us-east-1", "endpoint_url": self._url}
        self._client = boto3.client("s3", **place, **keys)
        self._client.create_bucket(Bucket=BUCKET)

    def environment(self, folder: Path) -> dict[str, str]:
        """What points the store's own tools here, with credentials."""
        return {
            "AWS_ENDPOINT_URL": self.proxy.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(folder / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
        }

    def upload(self, key: str, content: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def names(self, prefix: str) -> list[str]:
        listing = self._client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for item in listing.get("Contents", [])]

    def download(self, prefix: str) -> dict[str, bytes]:
        get = self._client.get_object
        return {key: get(Bucket=BUCKET, Key=key)["Body"].read() for key in self.names(prefix)}

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=BUCKET, Key=key)

    def deny(self, denied: bool) -> None:
        """Refuse all credentials, or accept all."""
        calls = b"0" if denied else b"1000000000"
        request = urllib.request.Request(f"{self._url}/moto-api/reset-auth", calls)
        request.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(request).close()

    def stop(self) -> None:
        self.proxy.stop()
        self._server.stop()


class GcsStore:
    """Google Cloud Storage, by gcp-storage-emulator; the proxy hands out the tokens."""

    scheme = "gs"
    extra = "gcp"
    write = "POST"

    def __init__(self) -> None:
        self._server = create_server("127.0.0.1", 0, in_memory=True)
        self._server.start()
        port = self._server._api._httpd.server_port
        self.proxy = Proxy(f"http://127.0.0.1:{port}")
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._client = gcs.Client.create_anonymous_client()
        self._client._connection.API_BASE_URL = f"http://127.0.0.1:{port}"
        self._bucket = self._client.create_bucket(BUCKET, project="project")

    def environment(self, folder: Path) -> dict[str, str]:
        """What points the store's own tools here, with credentials."""
        key = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        account = {
            "type": "service_account",
            "project_id": "project",
            "private_key_id": "1",
            "private_key": key.decode(),
            "client_email": "test@project.invalid",
            "token_uri": f"{self.proxy.url}/token",
        }
        (folder / "account.json").write_text(json.dumps(account))
        return {
            "STORAGE_EMULATOR_HOST": self.proxy.url,
            "CLOUD_STORAGE_EMULATOR_ENDPOINT": self.proxy.url,
            "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "account.json"),
            "NO_GCE_CHECK": "true",
        }

    def upload(self, key: str, content: bytes) -> None:
        self._bucket.blob(key).upload_from_string(content)

    def names(self, prefix: str) -> list[str]:
        return [blob.name for blob in self._client.list_blobs(self._bucket, prefix=prefix)]

    def download(self, prefix: str) -> dict[str, bytes]:
        blobs = self._client.list_blobs(self._bucket, prefix=prefix)
        return {blob.name: blob.download_as_bytes() for blob in blobs}

    def delete(self, key: str) -> None:
        self._bucket.delete_blob(key)

    def deny(self, denied: bool) -> None:
        """Refuse all credentials, or accept all."""
        self.proxy.accepts_tokens = not denied

    def stop(self) -> None:
        self.proxy.stop()
        self._server.stop()


STORES = {"s3": S3Store, "gs": GcsStore}


def enter(store: S3Store | GcsStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let all that asks for the store find it, and return the bucket's URI.

    In each folder the environment is another one, so that clients are made anew.
    """
    for name, value in store.environment(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return f"{store.scheme}://{BUCKET}"


def leave(store: S3Store | GcsStore, prefix: str = "") -> None:
    """Heal the store, and delete what was written there."""
    store.deny(False)
    store.proxy.forget()
    for key in store.names(prefix):
        store.delete(key)
