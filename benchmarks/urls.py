"""URLs against files: the same photographs from a web server that thinks before each answer.

    python benchmarks/urls.py [--images DIR] [--model DIR] [--rounds 3]

The server is a process of its own on this machine, on the loopback interface, and answers after
50 ms; what it computes is taken from the pipeline. Both are measured in turn, each in a process of
its own, in their steady state: what the images take by which a long run exceeds a short one.
"""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import inputs
import processes
from inputs import Setup
from measure import Goal, Report, take_turns

_COUNT = 1_024
_SHORT_RUN = 4  # The long run has so many times the images of the short one.
_LATENCY_S = 0.05


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    photos = setup.photos(setup.scaled(_COUNT))
    report = Report("urls", "images/s of the whole pipeline from files and from URLs")
    report.notes.append(f"{len(photos)} images; the server answers after {_LATENCY_S * 1000:g} ms")
    with _serve() as port:
        names = {"files": photos, "URLs": [_url(port, photo) for photo in photos]}
        variants = {name: functools.partial(_measure, setup, each) for name, each in names.items()}
        results = take_turns(variants, setup.rounds, report)
    for name, rates in results.items():
        report.add(f"{name}: steady state", "images/s", rates)
    if results.keys() == names.keys():
        report.add_ratio("URLs / files", results["URLs"], results["files"], Goal(">=", 0.9))
    return report


def _url(port: int, photo: str) -> str:
    return f"http://127.0.0.1:{port}{urllib.parse.quote(photo)}"


def _measure(setup: Setup, names: list[str]) -> float:
    lists = []
    for each in (names, names[::_SHORT_RUN]):
        path = setup.work / f"urls-{len(each)}.txt"
        path.write_text("".join(f"{name}\n" for name in each))
        lists.append(str(path))
    output = str(setup.work / "urls")
    return float(processes.call_script("urls.py", "--child", *lists, setup.model, output))


def measure_rate(listed: str, few: str, model: str, output: str) -> float:
    """Return the images/s of the pipeline in its steady state."""
    from steady import run_pipeline

    flags = ["--model", model, "--output", output, "--overwrite", "--allow-private-hosts"]
    short_s, short = run_pipeline([*flags, "--input-list", few])
    long_s, long = run_pipeline([*flags, "--input-list", listed])
    return (long - short) / (long_s - short_s)


class _Slow(http.server.BaseHTTPRequestHandler):
    """Answers with local files, after a while."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        time.sleep(_LATENCY_S)
        content = Path(urllib.parse.unquote(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


@contextmanager
def _serve() -> Iterator[int]:
    """Run the server in a process of its own in the block; yields its port."""
    command = processes.script_command("urls.py", "--serve")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def _serve_forever() -> None:
    with _Server(("127.0.0.1", 0), _Slow) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve_forever()
    if sys.argv[1:2] == ["--child"]:
        sys.exit(processes.answer(measure_rate, sys.argv[2:]))
    sys.exit(inputs.run_alone(run, __doc__))
