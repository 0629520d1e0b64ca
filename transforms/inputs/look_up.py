"""From a URI to an `ImageRef`: what can be told of an image without reading it."""

from __future__ import annotations

import os

from beamvec.transforms.files import storage
from beamvec.transforms.files.readers import as_file_uri
from beamvec.transforms.records.images import ImageRef


def look_up(uri: str, columns: tuple[object, ...] = ()) -> ImageRef:
    """Return the ref of an image, with size and modification time where the file is local.

    URIs are not looked up one by one in an object store, which would cost a request an image.
    """
    size_bytes, modified_s = None, None
    if storage.is_local(uri):
        try:
            status = os.stat(uri)
            size_bytes, modified_s = status.st_size, status.st_mtime
        except (OSError, ValueError):
            pass  # Reading it tells why, in a failure row.
    return ImageRef(_name(uri), size_bytes, modified_s, columns)


def _name(uri: str) -> str:
    r"""Return what Parquet can hold: of a path that is no UTF-8, its URI, which no other path has.

    >>> _name("caf\udce9.jpg")
    'file://caf%E9.jpg'
    """
    if uri.isascii():
        return uri
    try:
        uri.encode()
    except UnicodeEncodeError:
        # No object of a store has such a name; escaped, it ends as a failure row.
        escaped = uri.encode("utf-8", "backslashreplace").decode()
        return as_file_uri(uri) if storage.is_local(uri) else escaped
    return uri
