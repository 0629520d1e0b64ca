"""Folders on disk: all files below one, and those that a glob means."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from contextlib import contextmanager

from beamvec.embeddings import layout
from beamvec.transforms.files.globs import IS_GLOB, compile_glob

_Key = tuple[int, int] | str


class Folders:
    """Lists files on disk.

    A folder that cannot be read costs itself only. What beamvec writes into an output folder is
    never listed.

    Args:
        output: where beamvec writes; empty for nowhere.

    Attributes:
        unreadable: the folders that could not be read, and why.
    """

    def __init__(self, output: str = ""):
        self.unreadable: list[str] = []
        self._output = _key(output) if output and os.path.isdir(output) else None

    def walk(self, root: str) -> Iterator[str]:
        """Yield the files below a folder, dangling links included.

        Each folder is searched once, however many links lead to it: under its own name if that is
        below the root, else under the one through the fewest folders, the first of several. No list
        of all the names in a folder is held, as `os.walk` does.

        Raises:
            OSError: if the root itself cannot be read.
        """
        with os.scandir(root):
            pass
        seen: set[_Key] = set()
        links = [(0, root)]
        while links:
            _, start = heapq.heappop(links)
            folders = [start]
            while folders:
                folder = folders.pop()
                # Where no link has led to, no folder can come twice, whatever its key.
                with self._surviving(folder):
                    key = _key(folder)
                    if key in seen and start != root:
                        continue
                    seen.add(key)
                    for entry in self._scan(folder):
                        if not _is_folder(entry):
                            yield entry.path
                        elif entry.is_symlink():
                            heapq.heappush(links, (entry.path.count("/"), entry.path))
                        else:
                            folders.append(entry.path)

    def expand(self, pattern: str) -> Iterator[str]:
        """Yield the files that a glob means; through `**` each folder is searched once, see `walk`.

        A folder whose name is just what the pattern says is meant too, whatever is in that name.

        Args:
            pattern: an absolute path.
        """
        root, *segments = pattern.split("/")
        bases = [root or "/"]
        while segments and "**" not in segments[0] and len(segments) > 1:
            segment = segments.pop(0)
            bases = [folder for base in bases for folder in self._match_folders(base, segment)]
        rest = "/".join(segments)
        is_match = compile_glob(rest).fullmatch
        for base in bases:
            if "**" not in rest:
                yield from (
                    entry.path
                    for entry in self._survive(base)
                    if is_match(entry.name) and not _is_folder(entry)
                )
            elif os.path.isdir(base):
                start = len(os.path.join(base, ""))
                with self._surviving(base):
                    yield from (file for file in self.walk(base) if is_match(file[start:]))

    def _match_folders(self, base: str, segment: str) -> Iterator[str]:
        if not IS_GLOB.search(segment):
            yield os.path.join(base, segment)
            return
        is_match = compile_glob(segment).fullmatch
        for entry in self._survive(base):
            if (entry.name == segment or is_match(entry.name)) and _is_folder(entry):
                yield entry.path

    def _survive(self, folder: str) -> Iterator[os.DirEntry[str]]:
        if os.path.isdir(folder):  # Else a glob means nothing there.
            with self._surviving(folder):
                yield from self._scan(folder)

    def _scan(self, folder: str) -> Iterator[os.DirEntry[str]]:
        is_output = self._output is not None and _key(folder) == self._output
        with os.scandir(folder) as entries:
            for entry in entries:
                if not (is_output and layout.is_own_name(entry.name)):
                    yield entry

    @contextmanager
    def _surviving(self, folder: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.unreadable.append(f"{folder}: {error.strerror or error}")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def _key(folder: str) -> _Key:
    """Return what tells whether two folders are the same."""
    status = os.stat(folder)
    # Some filesystems of users' own give no numbers.
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(folder)
