"""Images at URLs: `UrlReader`, which reads all others as files. Nothing heavy is imported here."""

from __future__ import annotations

import errno
import importlib
import re
import threading
from dataclasses import dataclass
from typing import Any

from beamvec import __version__
from beamvec.errors import InputError
from beamvec.transforms.files import retrying
from beamvec.transforms.files.errors import StoreError
from beamvec.transforms.files.readers import FILES, place_of
from beamvec.transforms.files.storage import ReadResult
from beamvec.transforms.records.images import ImageRef

DEFAULT_USER_AGENT = f"beamvec/{__version__} (the beamvec project; batch image embeddings)"
DEFAULT_CONNECTIONS = 16
DEFAULT_FETCH_TIMEOUT_S = 60.0

_AGENT = re.compile(r"[!-~][ -~]*", re.ASCII)
_MAX_CONNECTIONS = 1024


def is_url(place: str) -> bool:
    """Tell whether something is read over http or https.

    >>> is_url("HTTPS://host/a.jpg"), is_url("s3://bucket/a.jpg")
    (True, False)
    """
    return place[:8].lower().startswith(("http://", "https://"))


@dataclass(frozen=True)
class UrlSettings:
    """How images are read over http and https.

    Attributes:
        user_agent: what hosts are told.
        allow_private_hosts: whether to connect to addresses that are not public.
        ignore_robots_tag: whether to read what its owner refuses to models.
        connections_per_host: how many there are at a time, over all threads of a process.
        fetch_timeout_s: how long an image may take, redirects included.
        connect_timeout_s: how long connecting to an address may take.
        silence_timeout_s: how long a host may stay silent.
    """

    user_agent: str = DEFAULT_USER_AGENT
    allow_private_hosts: bool = False
    ignore_robots_tag: bool = False
    connections_per_host: int = DEFAULT_CONNECTIONS
    fetch_timeout_s: float = DEFAULT_FETCH_TIMEOUT_S
    connect_timeout_s: float = 10.0
    silence_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if not _AGENT.fullmatch(self.user_agent):
            raise InputError("`user_agent` takes printable ASCII characters in one line")
        count, timeout_s = self.connections_per_host, self.fetch_timeout_s
        if not 1 <= count <= _MAX_CONNECTIONS:
            allowed = f"it takes 1 to {_MAX_CONNECTIONS}"
            raise InputError(f"`connections_per_host={count}` is out of range; {allowed}")
        if not 0 < timeout_s <= threading.TIMEOUT_MAX:
            raise InputError(f"`fetch_timeout={timeout_s}` is out of range; it takes seconds")


@dataclass(frozen=True)
class UrlReader:
    """Reads images over http and https, and files; picklable.

    Attributes:
        settings: how.
        needs_place: whether images are named by ids: one without a place is nowhere then.
        guard: a `http_guard.Guard`, None for the one that belongs to the settings.
    """

    settings: UrlSettings = UrlSettings()
    needs_place: bool = False
    guard: Any = None

    def read(self, ref: ImageRef, limit_bytes: int | None = None) -> ReadResult:
        """Read what is at the place of an image."""
        place = place_of(ref)
        if self.needs_place and ref.place is None:
            reason = "the input no longer tells where this image is"
            return ReadResult(b"", StoreError(errno.ENOENT, reason), 0)
        if not is_url(place):
            return FILES.read(ref, limit_bytes)
        fetcher = _find_fetcher(self.settings, self.guard)
        with retrying.counted() as retries:
            try:
                return ReadResult(fetcher.read(place, limit_bytes), None, retries())
            except OSError as error:
                return ReadResult(b"", error, retries())

    def local_path(self, ref: ImageRef) -> str | None:
        """Return the path of an image that is a local file."""
        is_nowhere = self.needs_place and ref.place is None
        return None if is_nowhere or is_url(place_of(ref)) else FILES.local_path(ref)


_turn = threading.Lock()
_fetchers: dict[tuple[UrlSettings, Any], Any] = {}


def _find_fetcher(settings: UrlSettings, guard: Any) -> Any:
    """Return the one `Fetcher` of this process for some settings: limits are for all its threads.

    Readers are unpickled for each worker thread.
    """
    with _turn:
        if (settings, guard) not in _fetchers:
            module = importlib.import_module("beamvec.transforms.files.http_fetch")
            _fetchers[settings, guard] = module.Fetcher(settings, guard)
        return _fetchers[settings, guard]
