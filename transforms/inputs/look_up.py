"""From a URI to an `ImageRef`: what can be told of an image without reading it."""

from __future__ import annotations

import os

from beamvec.transforms.files import storage
from beamvec.transforms.files.readers import as_file_uri, path_of
from beamvec.transforms.records.images import ImageRef


def look_up(uri: str, columns: tuple[object, ...] = (), folder: str = "") -> ImageRef:
    """Return the ref of an image, with size and modification time where the file is local.

    URIs are not looked up one by one in an object store, which would cost a request an image.

    Args:
        uri: as it is written.
        columns: the user's own.
        folder: where relative paths count from; empty for the working folder.
    """
    size_bytes, modified_s = None, None
    place = locate(uri, folder)
    if storage.is_local(place):
        try:
            status = os.stat(place)
            size_bytes, modified_s = status.st_size, status.st_mtime
        except (OSError, ValueError):
            pass  # Reading it tells why, in a failure row.
    name = _name(uri)
    is_there = place == path_of(name)
    return ImageRef(name, size_bytes, modified_s, columns, None if is_there else place)


def locate(uri: str, folder: str = "") -> str:
    """Return where an image is that a list or a manifest names.

    >>> locate("a.jpg", "/photos"), locate("a.jpg", "s3://bucket/photos")
    ('/photos/a.jpg', 's3://bucket/photos/a.jpg')
    >>> locate("file:///photos/a%20b.jpg", "/else"), locate("s3://bucket/a.jpg", "/else")
    ('/photos/a b.jpg', 's3://bucket/a.jpg')
    """
    path = path_of(uri)
    if not storage.is_local(path):
        return path
    path = os.path.expanduser(path)
    return path if os.path.isabs(path) or not folder else storage.join(folder, path)


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
