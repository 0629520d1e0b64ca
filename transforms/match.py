"""From patterns, lists and manifests to `ImageRef`s, lazily and on any Beam filesystem."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.filesystem import FileSystem
from apache_beam.pvalue import PCollection

from transforms import manifest, storage
from transforms.manifest import NO_COLUMNS
from transforms.records import ImageRef, RefBlock

IMAGE_EXTENSIONS = frozenset(
    ".apng .avif .bmp .dds .dib .gif .heic .heif .ico .j2c .j2k .jfif .jp2 .jpe .jpeg .jpf .jpg"
    " .jpx .pbm .pcx .pgm .png .pnm .ppm .qoi .sgi .tga .tif .tiff .webp".split()
)
"""What a folder is searched for, in any case. Those that this Pillow cannot decode are meant to
end as failures: a folder of HEIC photographs must not look like an empty one."""

BLOCK_REFS = 10_000
"""Images in a block: enough to compress well, and little beside what a worker holds anyway."""

_GLOB = re.compile(r"[*?\[]")


class InputError(ValueError):
    """The input names nothing, or cannot be read; the message says what to do."""


@dataclass(frozen=True)
class InputSpec:
    """Where the images are named: patterns, a list or a manifest, exactly one of them.

    Attributes:
        patterns: files, folders (searched recursively for `IMAGE_EXTENSIONS`) and globs.
        list_path: a text file with one URI a line.
        manifest_path: a CSV or Parquet file with a row an image.
        uri_column: the manifest's column that holds the URIs.
        columns: the manifest's other columns, which ride along into the output.
    """

    patterns: tuple[str, ...] = ()
    list_path: str | None = None
    manifest_path: str | None = None
    uri_column: str = "uri"
    columns: pa.Schema = NO_COLUMNS

    def split(self) -> list[InputSpec]:
        """Split into parts that can be listed in parallel."""
        return [replace(self, patterns=(pattern,)) for pattern in self.patterns] or [self]


def list_images(spec: InputSpec) -> Iterator[ImageRef]:
    """Yield every image that the input names, as often as it names it.

    URIs from lists and manifests stay as they are written, so that they join with the user's own
    tables; paths found by `patterns` are absolute. Size and modification time are there for local
    files and for what a listing returns; URIs of a list are not looked up one by one in an object
    store, which would cost a request an image.
    """
    if spec.manifest_path is not None:
        for ref in manifest.read_manifest(spec.manifest_path, spec.uri_column, spec.columns):
            yield _describe(ref.uri, ref.columns)
    elif spec.list_path is not None:
        for line in storage.read_lines(spec.list_path):
            yield _describe(line.strip())
    for pattern in spec.patterns:
        yield from expand_pattern(pattern)


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
        yield from (_describe(file) for file in _walk(path) if _is_image_name(file))
    elif os.path.lexists(path):
        yield _describe(path)
    elif glob := _GLOB.search(path):
        regex = re.compile(FileSystem.translate_pattern(path))
        folder = os.path.dirname(path[: glob.start()])
        yield from (_describe(file) for file in _walk(folder) if regex.match(file))


def check_input(spec: InputSpec) -> None:
    """Raise `InputError` for a pattern that matches nothing, or an empty or missing list."""
    for pattern in spec.patterns:
        if not _first_match(pattern):
            raise InputError(_explain_no_match(pattern))
    if spec.list_path is not None:
        try:
            first = next(storage.read_lines(spec.list_path), None)
        except storage.READ_ERRORS as error:
            raise InputError(f"cannot read --input-list {spec.list_path}: {error}") from error
        if first is None:
            raise InputError(f"--input-list {spec.list_path} is empty: it needs one URI a line")


def first_image(spec: InputSpec) -> ImageRef | None:
    """Return one of the images that the input names, without listing them all; None without any.

    Raises:
        InputError: if the input cannot be read.
    """
    if spec.patterns:
        return _first_match(spec.patterns[0])
    return next(list_images(spec), None)


def _first_match(pattern: str) -> ImageRef | None:
    limits = (None,) if storage.is_local(pattern) else (10, 10_000, None)
    try:
        found = (next(expand_pattern(pattern, limit), None) for limit in limits)
        return next(filter(None, found), None)
    except storage.READ_ERRORS as error:
        raise InputError(f"cannot list --input {pattern}: {error}") from error


def _explain_no_match(pattern: str) -> str:
    if storage.is_local(pattern) and os.path.isdir(os.path.expanduser(pattern)):
        known = " ".join(sorted(IMAGE_EXTENSIONS))
        return f"--input {pattern}: no images in this folder (looked for {known})"
    if _GLOB.search(pattern):
        return f"--input {pattern}: no file matches this pattern; is it quoted as you meant it?"
    return f"--input {pattern}: no such file or folder"


def _expand_remote(pattern: str, limit: int | None) -> Iterator[ImageRef]:
    # Beam reads a slash at the end as the files right below it.
    pattern = pattern.rstrip("/")
    is_bucket = "/" not in pattern.partition("://")[2]
    found = [] if is_bucket else storage.match(pattern, limit)
    if not found and not _GLOB.search(pattern):
        folder = storage.match(f"{pattern}/**", limit)
        found = [metadata for metadata in folder if _is_image_name(metadata.path)]
    for metadata in found:
        modified_s = metadata.last_updated_in_seconds or None
        yield ImageRef(metadata.path, metadata.size_in_bytes, modified_s)


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


def _describe(uri: str, columns: tuple[object, ...] = ()) -> ImageRef:
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


def list_blocks(spec: InputSpec) -> Iterator[RefBlock]:
    """Yield what `list_images` does, in blocks."""
    refs = list_images(spec)
    while block := tuple(islice(refs, BLOCK_REFS)):
        yield RefBlock(block)


class MatchImages(beam.PTransform[Any, Any]):
    """List the images of the input, as often as it names them: nothing -> `RefBlock`."""

    def __init__(self, spec: InputSpec):
        super().__init__()
        self._spec = spec

    def expand(self, pipeline: beam.Pipeline) -> PCollection[RefBlock]:
        """Apply the transform."""
        return (
            pipeline
            | "Inputs" >> beam.Create(self._spec.split())
            | "ListImages" >> beam.FlatMap(list_blocks).with_output_types(RefBlock)
        )
