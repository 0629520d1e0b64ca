"""`beamvec failures`: which images of a dataset could not be embedded, why, and copies of them."""

from __future__ import annotations

import argparse
import itertools
import os
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from beamvec.embeddings import Dataset, open_dataset, schema
from beamvec.embeddings.counted import counted
from beamvec.embeddings.damage import naming_damage
from beamvec.errors import ArgumentError
from beamvec.pipeline.terminal import busy, show, show_csv, show_json, warn
from beamvec.transforms.files.urls import UrlSettings, is_url

COPIED_TO = "copied_to"
"""What says where the copy of an image is; None where there is none."""

_NAME_BYTES = 200
_UNFIT = re.compile(r"[/\\\0-\x1f\x7f]+")


def run(args: argparse.Namespace) -> int:
    """Run `beamvec failures` and return its exit code."""
    busy("reading the dataset")
    dataset = open_dataset(args.dir)
    rows = read_failures(dataset, args.stage)
    missed: dict[str, str] = {}
    if args.copy_to:
        copier = Copier(args.copy_to, [row[schema.URI] for row in rows])
        busy(f"copying {counted(len(rows), 'image')}")
        missed = copier.copy(dataset, UrlSettings(allow_private_hosts=args.allow_private_hosts))
        rows = [{**row, COPIED_TO: copier.paths.get(row[schema.URI])} for row in rows]
    if args.json:
        show_json(rows)
    elif args.csv:
        names = dataset.read_failures().schema.names + [COPIED_TO] * bool(args.copy_to)
        show_csv(names, (row.values() for row in rows))
    else:
        show(*_describe(rows, len(dataset.run.failures), args.stage))
    if args.copy_to:  # Beside the list, which another program may read.
        warn(_describe_copies(args.copy_to, len(rows), missed))
    return 0


def read_failures(dataset: Dataset, stages: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a dataset's failures, sorted by uri, those of some stages if given."""
    table = dataset.read_failures()
    with naming_damage(str(dataset)):
        rows = table.to_pylist()
    chosen = [row for row in rows if not stages or row[schema.STAGE] in stages]
    return sorted(chosen, key=lambda row: row[schema.URI])


class Copier:
    """Copies images into a folder, under names of their own; no file that is there is changed.

    A file that is there and has the same content is taken for the copy of an earlier time.

    Args:
        folder: where to; made if it is not there.
        uris: the images.

    Attributes:
        paths: where the copies are, by uri.

    Raises:
        ArgumentError: if the folder cannot be made.
    """

    def __init__(self, folder: str, uris: Sequence[str]):
        self._folder = os.path.abspath(os.path.expanduser(folder))
        self._uris = uris
        self._taken: set[str] = set()
        self._turn = threading.Lock()
        self.paths: dict[str, str] = {}
        try:
            os.makedirs(self._folder, exist_ok=True)
        except OSError as error:
            raise ArgumentError(f"cannot make --copy-to {folder}: {error.strerror}") from error

    def copy(self, dataset: Dataset, urls: UrlSettings) -> dict[str, str]:
        """Copy the images of a dataset; return why some could not be, by uri.

        Raises:
            ArgumentError: if a copy cannot be written.
        """
        from beamvec.pipeline.originals import Originals

        seen = Originals(dataset, urls).see(self._uris, self._write)
        self.paths = seen.made
        return seen.missed

    def _write(self, uri: str, data: bytes) -> str:
        with self._turn:
            for name in _list_names(uri):
                path = os.path.join(self._folder, name)
                if name not in self._taken and self._put(path, data):
                    self._taken.add(name)
                    return path
        raise AssertionError("names never end")

    def _put(self, path: str, data: bytes) -> bool:
        """Write a new file, or find that one has the content; False if another file is there."""
        try:
            with open(path, "xb") as file:
                try:
                    file.write(data)
                    file.flush()
                except BaseException:  # A part of it would pass for the copy.
                    os.unlink(path)
                    raise
        except FileExistsError:
            return _holds(path, data)
        except OSError as error:
            raise ArgumentError(f"cannot write {path}: {error.strerror}") from error
        return True


def _holds(path: str, data: bytes) -> bool:
    try:
        if os.path.islink(path) or os.path.getsize(path) != len(data):
            return False
        with open(path, "rb") as file:
            return file.read() == data
    except OSError:  # A folder, or another's.
        return False


def _list_names(uri: str) -> Iterator[str]:
    """Yield the names that the copy of an image may have, the best first.

    >>> list(itertools.islice(_list_names("s3://bucket/a.tar#train/0001.jpg"), 3))
    ['0001.jpg', '0001-2.jpg', '0001-3.jpg']
    >>> next(_list_names("https://host/a.jpg?size=1")), next(_list_names("data/"))
    ('a.jpg', 'data')
    """
    path = re.split(r"[?#]", uri)[0] if is_url(uri) else uri.replace("#", "/")
    name = _UNFIT.sub("_", path.rstrip("/").rpartition("/")[2]).lstrip(".") or "image"
    stem, ending = os.path.splitext(name)
    stem = stem.encode()[: _NAME_BYTES - len(ending.encode())].decode(errors="ignore")
    yield stem + ending
    for number in itertools.count(2):
        yield f"{stem}-{number}{ending}"


def _describe(rows: list[dict[str, Any]], causes: int, stages: Sequence[str] | None) -> list[str]:
    if not rows:
        return ["no failures" + (f" of stage {' or '.join(stages)}" if stages and causes else "")]
    return [
        f"{row[schema.STAGE]:<6}  {row[schema.URI]}  {row[schema.ERROR_TYPE]}: "
        f"{row[schema.MESSAGE]}"
        for row in rows
    ]


def _describe_copies(folder: str, count: int, missed: dict[str, str]) -> str:
    from beamvec.pipeline.originals import count_reasons

    told = f"; {count_reasons(missed)}" if missed else ""
    return f"copied {count - len(missed):,} of {counted(count, 'image')} to {folder}{told}"
