"""Files, folders and globs."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from beamvec.embeddings import layout
from beamvec.embeddings.unlisted import NAMED, Unlisted
from beamvec.errors import InputError
from beamvec.transforms.files import storage
from beamvec.transforms.files.globs import IS_GLOB
from beamvec.transforms.files.readers import path_of
from beamvec.transforms.files.storage import ListedFile
from beamvec.transforms.inputs.container_names import find_argument
from beamvec.transforms.inputs.file_names import (
    IMAGE_EXTENSIONS,
    Skipped,
    find_apple,
    is_image_name,
)
from beamvec.transforms.inputs.folders import Folders
from beamvec.transforms.inputs.look_up import look_up
from beamvec.transforms.inputs.source import Source
from beamvec.transforms.records.images import ImageRef
from beamvec.transforms.records.own_columns import NO_COLUMNS

_MOST_PARTS = 1_000
"""Parts that a run lists in parallel: a shell makes thousands of names of one pattern."""


@dataclass(frozen=True)
class Patterns(Source):
    """Files, folders (searched recursively for `IMAGE_EXTENSIONS`) and globs.

    The paths of what is found are absolute.
    """

    kind = "input"
    metavar = "PATTERN"
    help = "files, folders (recursive) or globs, local or gs:// or s3://; repeatable"
    repeatable = True

    def find_columns(self) -> pa.Schema:
        """Look whether each pattern matches something."""
        for pattern in self.names:
            if self.output and _is_folder_of(pattern, self.output):
                raise InputError(
                    f"`output={self.output}` is the folder of `input={pattern}`: the dataset would "
                    "lie among the images; choose another `output`"
                )
            if not (self._first_matches(pattern, 1) or self._may_be_empty(pattern)):
                raise InputError(_explain_no_match(pattern, self.output))
            _refuse_container(pattern)
        return NO_COLUMNS

    def _may_be_empty(self, pattern: str) -> bool:
        """Tell whether a folder or a glob may name no image; a name that is wrong never may."""
        return self.allow_empty and (_is_folder(pattern) or bool(IS_GLOB.search(pattern)))

    def list_images(self) -> Iterator[ImageRef]:
        """Yield what the patterns match, one after the other."""
        return (found for found in self._list() if isinstance(found, ImageRef))

    def list_all(self) -> Iterator[ImageRef | Unlisted]:
        """Yield what the patterns match, and what was left out of each.

        Folders are listed in no order, and each time in another, so that with a limit all is listed
        and those images are taken whose paths come first.
        """
        if self.limit is None:
            yield from self._list()
            return
        unlisted: list[Unlisted] = []
        yield from heapq.nsmallest(self.limit, _part(self._list(), unlisted), lambda ref: ref.uri)
        yield from unlisted

    def _list(self) -> Iterator[ImageRef | Unlisted]:
        for pattern in self.names:
            yield from list_pattern(pattern, self.output)

    def split(self) -> list[Patterns]:
        """Split into parts that can be listed in parallel."""
        parts = min(len(self.names), _MOST_PARTS)
        return [self.with_names(self.names[part::parts]) for part in range(parts)]

    def find_some(self, count: int) -> list[ImageRef]:
        """Return the first images of the first pattern."""
        return self._first_matches(self.names[0], count)

    def _first_matches(self, pattern: str, count: int) -> list[ImageRef]:
        limits = (None,) if storage.is_local(path_of(pattern)) else (10, 10_000, None)
        try:
            for limit in limits:
                listed = list_pattern(pattern, self.output, limit)
                refs = (found for found in listed if isinstance(found, ImageRef))
                if some := list(islice(refs, count)):
                    return some
        except OSError as error:
            raise InputError(f"cannot list `input={pattern}`: {error}") from error
        return []


def _part(found: Iterable[ImageRef | Unlisted], unlisted: list[Unlisted]) -> Iterator[ImageRef]:
    """Yield the images, and put aside what else there is."""
    for each in found:
        if isinstance(each, ImageRef):
            yield each
        else:
            unlisted.append(each)


def expand_pattern(pattern: str) -> Iterator[ImageRef]:
    """Yield the images that a file, a folder or a glob names, see `list_pattern`."""
    return (found for found in list_pattern(pattern) if isinstance(found, ImageRef))


def list_pattern(
    pattern: str, output: str = "", limit: int | None = None
) -> Iterator[ImageRef | Unlisted]:
    """Yield the images that a file, a folder or a glob names, in no particular order.

    A folder is searched recursively for `IMAGE_EXTENSIONS`, through links to folders, but each of
    them once. A glob means every file that it matches: `*` stays within a folder, `**` does not.
    What macOS puts beside files is left out of both, unless a glob names it.

    Args:
        pattern: a local path, or a URI of a Beam filesystem.
        output: where beamvec writes; what it writes there is no input.
        limit: read at most so many entries of a remote listing, to see whether there are any.

    Yields:
        The images, and in the end what was left out.
    """
    pattern = path_of(pattern)
    if not storage.is_local(pattern):
        yield from _list_remote(pattern, output, limit)
        return
    path = os.path.abspath(os.path.expanduser(pattern))
    folders, skipped = Folders(output), Skipped()
    if os.path.isdir(path):
        for file in folders.walk(path):
            if is_image_name(file) and not find_apple(file[len(path) :]):
                yield look_up(file)
            else:
                skipped.add(file)
    elif os.path.lexists(path):
        yield look_up(path)
    elif IS_GLOB.search(path):
        for file in folders.expand(path):
            if find_apple(file) and not find_apple(path):
                skipped.add(file)
            else:
                yield look_up(file)
    unreadable = sorted(folders.unreadable)
    yield Unlisted(dict(skipped.counts), len(unreadable), tuple(unreadable[:NAMED]))


def _refuse_container(pattern: str) -> None:
    """Raise `InputError` for a file of many images, which would fail as an image."""
    argument = find_argument(pattern)
    if argument:
        raise InputError(
            f"`input={pattern}` is no image by its name, but holds many; give it to `{argument}`"
        )


def _list_remote(pattern: str, output: str, limit: int | None) -> Iterator[ImageRef | Unlisted]:
    # Beam reads a slash at the end as the files right below it.
    pattern, skipped = pattern.rstrip("/"), Skipped()
    is_bucket = "/" not in pattern.partition("://")[2]
    found = [] if is_bucket else storage.match(pattern, limit)
    is_glob = bool(IS_GLOB.search(pattern))
    is_folder = not (found or is_glob)
    if is_folder:
        found = storage.match(f"{pattern}/**", limit)
    for file in found:
        if output and is_own(file, output):
            continue
        is_apple = bool(find_apple(file.path)) and file.path != pattern and not find_apple(pattern)
        if is_apple or (is_folder and not is_image_name(file.path)):
            skipped.add(file.path)
        else:
            yield ImageRef(*file)
    yield Unlisted(dict(skipped.counts))


def is_own(file: ListedFile, output: str) -> bool:
    """Tell whether a file is of the dataset that is written to `output`."""
    name = file.path.removeprefix(f"{output}/")
    return name != file.path and layout.is_own_name(name.partition("/")[0])


def _is_folder(pattern: str) -> bool:
    path = path_of(pattern)
    return storage.is_local(path) and os.path.isdir(os.path.expanduser(path))


def _is_folder_of(pattern: str, output: str) -> bool:
    """Tell whether a pattern is the very folder that is written to."""
    path = path_of(pattern)
    if not storage.is_local(path):
        return path.rstrip("/") == output
    path = os.path.abspath(os.path.expanduser(path))
    return path == output or (
        os.path.isdir(path) and os.path.isdir(output) and os.path.samefile(path, output)
    )


def _explain_no_match(pattern: str, output: str) -> str:
    if IS_GLOB.search(pattern) and not _is_folder(pattern):
        return f"`input={pattern}`: no file matches this pattern; is it quoted as you meant it?"
    if not _is_folder(pattern):
        return f"`input={pattern}`: no such file or folder"
    known = " ".join(sorted(IMAGE_EXTENSIONS))
    left_out = [found for found in list_pattern(pattern, output) if isinstance(found, Unlisted)]
    total = sum(left_out, Unlisted())
    there = f"; {total.describe_files()}" if total.files else ""
    unread = f"; {total.describe_folders()}" if total.folders else ""
    return f"`input={pattern}`: no images in this folder (looked for {known}){there}{unread}"
