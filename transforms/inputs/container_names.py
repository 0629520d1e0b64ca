"""Which files hold many images each, by their names."""

from __future__ import annotations

EXTENSIONS = {
    ".parquet": "input_parquet",
    ".pq": "input_parquet",
    ".tar": "input_tar",
    ".tfrecord": "input_tfrecord",
    ".tfrecords": "input_tfrecord",
    ".zip": "input_zip",
}
"""The argument that takes containers of a name."""

_COMPRESSED = (
    ".tar.gz",
    ".tgz",
    ".tar.bz2",
    ".tar.xz",
    ".tar.zst",
    ".tfrecord.gz",
    ".tfrecords.gz",
)


def find_argument(name: str) -> str | None:
    """Return the argument that a file should be given to, None if it is no container.

    >>> find_argument("s3://bucket/train-000.TAR"), find_argument("a.jpg")
    ('input_tar', None)
    """
    lower = name.lower()
    found = (kind for end, kind in EXTENSIONS.items() if lower.endswith(end))
    return next(found, None)


def is_compressed(name: str) -> bool:
    """Tell whether a container is compressed as a whole, so that nothing in it has a place.

    >>> is_compressed("shard.tar.gz"), is_compressed("shard.tar")
    (True, False)
    """
    return name.lower().endswith(_COMPRESSED)
