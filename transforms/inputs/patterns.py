"""Files, folders and globs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from beamvec.errors import InputError
from beamvec.transforms.files import storage
from beamvec.transforms.inputs.container_names import find_argument
from beamvec.transforms.inputs.look_up import look_up
from beamvec.transforms.inputs.source import Source
from beamvec.transforms.records.images import ImageRef
from beamvec.transforms.records.own_columns import NO_COLUMNS

IMAGE_EXTENSIONS = frozenset(
    ".apng .avif .bmp .dds .dib .gif .heic .heif .ico .j2c .j2k .jfif .jp2 .jpe .jpeg .jpf .jpg"
    " .jpx .pbm .pcx .pgm .png .pnm .ppm .qoi .sgi .tga .tif .tiff .webp".split()
)
"""What a folder is searched for, in any case. Those that this Pillow cannot decode are meant to
end as failures: a folder of HEIC photographs must not look like an empty one."""

_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Patterns(Source):
    """Files, folders (searched recursively for `IMAGE_EXTENSIONS`) and globs.

    The paths of what is found are absolute.
    """

    kind = "input"
    metavar = "PATTERN"
    help = "a file, a folder (recursive) or a quoted glob, local or gs:// or s3://; repeatable"
    repeatable = True

    def find_columns(self) -> pa.Schema:
        """Look whether each pattern matches something."""
        for pattern in self.names:
            if not _first_matches(pattern, 1):
                raise InputError(_explain_no_match(pattern))
            _refuse_container(pattern)
        return NO_COLUMNS

    def list_images(self) -> Iterator[ImageRef]:
        """Yield what the patterns match, one after the other."""
        for pattern in self.names:
            yield from expand_pattern(pattern)

    def find_some(self, count: int) -> list[ImageRef]:
        """Return the first images of the first pattern."""
        return _first_matches(self.names[0], count)


def expand_pattern(pattern: str, limit: int | None = None) -> Iterator[ImageRef]:
    """Yield the images that a file, a folder or a glob names, in no particular order.

    A folder is searched recursively for `IMAGE_EXTENSIONS`, through links to folders but never in
    circles. A glob means every file that it matches: `*` stays within a folder, `**` does not.

    Args:
        pattern: a local path, or a URI of a Beam filesystem.
        limit: read at most so many entries of a remote listing, to see whether there are any.
    """
    if not storage.is_local(pattern):
        yield from _expand_remote(pattern, limit)
        return
    path = os.path.abspath(os.path.expanduser(pattern))
    if os.path.isdir(path):
        yield from (look_up(file) for file in _walk(path) if _is_image_name(file))
    elif os.path.lexists(path):
        yield look_up(path)
    elif glob := _GLOB.search(path):
        regex = _compile_glob(path)
        folder = os.path.dirname(path[: glob.start()])
        yield from (look_up(file) for file in _walk(folder) if regex.match(file))


def _first_matches(pattern: str, count: int) -> list[ImageRef]:
    limits = (None,) if storage.is_local(pattern) else (10, 10_000, None)
    try:
        found = (list(islice(expand_pattern(pattern, limit), count)) for limit in limits)
        return next(filter(None, found), [])
    except OSError as error:
        raise InputError(f"cannot list `input={pattern}`: {error}") from error


def _refuse_container(pattern: str) -> None:
    """Raise `InputError` for a file of many images, which would fail as an image."""
    argument = find_argument(pattern)
    if argument:
        raise InputError(
            f"`input={pattern}` is no image by its name, but holds many; give it to `{argument}`"
        )


def _explain_no_match(pattern: str) -> str:
    if storage.is_local(pattern) and os.path.isdir(os.path.expanduser(pattern)):
        known = " ".join(sorted(IMAGE_EXTENSIONS))
        return f"`input={pattern}`: no images in this folder (looked for {known})"
    if _GLOB.search(pattern):
        return f"`input={pattern}`: no file matches this pattern; is it quoted as you meant it?"
    return f"`input={pattern}`: no such file or folder"


def _expand_remote(pattern: str, limit: int | None) -> Iterator[ImageRef]:
    # Beam reads a slash at the end as the files right below it.
    pattern = pattern.rstrip("/")
    is_bucket = "/" not in pattern.partition("://")[2]
    found = [] if is_bucket else storage.match(pattern, limit)
    if not found and not _GLOB.search(pattern):
        folder = storage.match(f"{pattern}/**", limit)
        found = [file for file in folder if _is_image_name(file.path)]
    yield from (ImageRef(*file) for file in found)


def _compile_glob(pattern: str) -> re.Pattern[str]:
    # Here, so that whoever only wants to know the flags does not wait for Beam.
    from apache_beam.io.filesystem import FileSystem

    return re.compile(FileSystem.translate_pattern(pattern))


def _is_image_name(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in IMAGE_EXTENSIONS


def _walk(folder: str) -> Iterator[str]:
    """Yield the files below a folder, dangling links included; an unreadable folder is an error.

    Unlike `os.walk`, this holds no list of all the names in a folder.
    """
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if not _is_folder(entry):
                    yield entry.path
                elif not _leads_back(entry.path):
                    folders.append(entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself.
        return False


def _leads_back(folder: str) -> bool:
    """Tell whether a folder is a link to one that its own path has already come through."""
    if not os.path.islink(folder):
        return False
    return os.path.realpath(folder) in {os.path.realpath(up) for up in Path(folder).parents}
