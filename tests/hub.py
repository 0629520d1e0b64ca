"""A server that answers as TF-Hub does, or as a broken one."""

from __future__ import annotations

import io
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def pack(folder: str | Path) -> bytes:
    """Pack a SavedModel as a hub does."""
    buffer = io.BytesIO()
    root = Path(folder)
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path in sorted(root.rglob("*")):  # In one order: what half of it has is no chance.
            archive.add(path, arcname=f"./{path.relative_to(root)}", recursive=False)
    return buffer.getvalue()


class Hub(ThreadingHTTPServer):
    """A server that answers as TF-Hub does, or as a broken one."""

    daemon_threads = True

    def __init__(
        self, status: int = 200, body: bytes = b"", silent: bool = False, only: str | None = None
    ):
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.status, self.body, self.silent = status, body, silent
        self.only = only  # The path that has the model; all others are forbidden.
        self.requests: list[str] = []
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/google/imagenet/resnet/1"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self.shutdown()
        super().__exit__(*error)


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if self.server.silent:
            self.server.closing.wait(60)
            return
        here = self.server.only in (None, self.path.split("?")[0])
        self.send_response(self.server.status if here else 403)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *args: object) -> None:
        pass
