"""What kinds of input have in common whose images may be at URLs: `UrlSource`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from beamvec.transforms.files.urls import (
    DEFAULT_CONNECTIONS,
    DEFAULT_FETCH_TIMEOUT_S,
    DEFAULT_USER_AGENT,
    UrlReader,
    UrlSettings,
)
from beamvec.transforms.inputs.source import Option, Source

URL_OPTIONS = (
    Option("user_agent", "TEXT", f"what web hosts are told ({DEFAULT_USER_AGENT})"),
    Option(
        "allow_private_hosts",
        None,
        "fetch URLs from private networks and this machine too; only for lists that you trust",
    ),
    Option("ignore_robots_tag", None, "fetch URLs also where X-Robots-Tag says noai or noimageai"),
    Option(
        "connections_per_host",
        "N",
        f"connections to a web host at a time, of a process ({DEFAULT_CONNECTIONS})",
        int,
    ),
    Option(
        "fetch_timeout",
        "SECONDS",
        f"how long fetching a URL may take ({DEFAULT_FETCH_TIMEOUT_S:g})",
        float,
    ),
)


@dataclass(frozen=True)
class UrlSource(Source):
    """An input whose images may be at http:// and https:// URLs, beside files.

    Attributes:
        user_agent: see `UrlSettings`, as for the others.
        allow_private_hosts: whether to connect to addresses that are not public.
        ignore_robots_tag: whether to read what its owner refuses to models.
        connections_per_host: how many there are at a time.
        fetch_timeout: how long an image may take, in seconds.
    """

    user_agent: str = DEFAULT_USER_AGENT
    allow_private_hosts: bool = False
    ignore_robots_tag: bool = False
    connections_per_host: int = DEFAULT_CONNECTIONS
    fetch_timeout: float = DEFAULT_FETCH_TIMEOUT_S

    options: ClassVar[tuple[Option, ...]] = URL_OPTIONS

    def __post_init__(self) -> None:
        super().__post_init__()
        self.url_settings  # noqa: B018 Checks the values.

    @property
    def url_settings(self) -> UrlSettings:
        """How URLs are read."""
        return UrlSettings(*(getattr(self, option.name) for option in URL_OPTIONS))

    @property
    def reader(self) -> UrlReader:
        """What reads the images that are listed."""
        return UrlReader(self.url_settings)
