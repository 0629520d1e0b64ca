"""Links from a page to the images themselves, where a browser can follow them."""

from __future__ import annotations

from collections.abc import Sequence

from beamvec.pipeline.originals import Originals
from beamvec.transforms.files.readers import as_file_uri
from beamvec.transforms.files.urls import is_url


def find_links(uris: Sequence[str], originals: Originals) -> dict[str, str]:
    """Return a link for each image that is a local file, or at an http or https URL, by uri.

    Images of stores and those inside containers have none: no browser opens them.
    """
    links = {uri: uri for uri in uris if is_url(uri)}
    paths = originals.locate([uri for uri in uris if uri not in links])
    return {**links, **{uri: make_link(path) for uri, path in paths.items()}}


def make_link(path: str) -> str:
    r"""Return the link to a local file, quoted by its bytes.

    Two slashes in front would name another machine: a page must not lead there.

    >>> make_link("/a b/50%#1?.jpg"), make_link("//host/\udce9.jpg")
    ('file:///a%20b/50%25%231%3F.jpg', 'file:///host/%E9.jpg')
    """
    return as_file_uri("/" + path.lstrip("/"))
