"""From a URI to an `ImageRef`: what can be told of an image without reading it."""

from __future__ import annotations

import os

from beamvec.transforms.files import storage
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
    # A name that is no UTF-8 cannot be written to Parquet; escaped, it ends as a failure row.
    return ImageRef(
        uri.encode("utf-8", "backslashreplace").decode(), size_bytes, modified_s, columns
    )
