"""A Beam filesystem that behaves as an object store does, on a local folder: disk://bucket/key.

It has no folders: a key is there or not, and a listing is of all keys with a prefix.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from pathlib import Path

from apache_beam.io.filesystem import CompressionTypes, FileMetadata, FileSystem

ROOT = Path(os.environ.get("DISK_FILESYSTEM_ROOT", "/nonexistent"))


class CutFile:
    """A connection that breaks half way through a file."""

    def __init__(self, file):
        self._file = file

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self._file.close()

    def read(self, *_):
        raise TimeoutError(errno.ETIMEDOUT, "the connection was cut", self._file.name)


class DiskFileSystem(FileSystem):
    root = ROOT
    faults: random.Random | None = None
    """Where set, one of twenty reads fails: at its opening, or half way through."""

    @classmethod
    def scheme(cls):
        return "disk"

    def _local(self, path):
        return self.root / path.removeprefix("disk://")

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path):
        return path.rpartition("/")[::2]

    def mkdirs(self, path):
        pass

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        for file in sorted(self.root.rglob("*")):
            uri = f"disk://{file.relative_to(self.root)}"
            if file.is_file() and uri.startswith(dir_or_prefix):
                yield self.metadata(uri)

    def create(self, path, mime_type="", compression_type=CompressionTypes.AUTO):  # noqa: ARG002
        self._local(path).parent.mkdir(parents=True, exist_ok=True)
        return self._local(path).open("wb")

    def open(self, path, mime_type="", compression_type=CompressionTypes.AUTO):  # noqa: ARG002
        file = self._local(path).open("rb")
        if self.faults and "/chunks/" not in path and self.faults.random() < 0.05:
            if self.faults.random() < 0.5:
                file.close()
                raise ConnectionResetError(errno.ECONNRESET, "connection reset by peer", path)
            return CutFile(file)
        return file

    def copy(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            shutil.copy(self._local(source), self._local(target))

    def rename(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            self._local(target).parent.mkdir(parents=True, exist_ok=True)
            self._local(source).rename(self._local(target))

    def exists(self, path):
        return self._local(path).is_file()

    def size(self, path):
        return self._local(path).stat().st_size

    def last_updated(self, path):
        return self._local(path).stat().st_mtime

    def checksum(self, path):
        return str(self.last_updated(path))

    def metadata(self, path):
        return FileMetadata(path, self.size(path), self.last_updated(path))

    def delete(self, paths):
        for path in paths:
            self._local(path).unlink()
