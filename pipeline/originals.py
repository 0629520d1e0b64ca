"""The images that a dataset was made of, found again where its input has them: `Originals`.

`run.json` names the input of each run, so that a manifest's relative uris and ids, and what is
inside containers, can be read from whatever folder somebody looks from.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from beamvec.embeddings import Dataset
from beamvec.embeddings.run_record import InputRecord
from beamvec.errors import InputError
from beamvec.transforms.decoding.decode import READ_THREADS
from beamvec.transforms.files.readers import FILES, ImageReader, RunReader, place_of
from beamvec.transforms.files.storage import ReadResult
from beamvec.transforms.files.urls import UrlReader, UrlSettings, is_url
from beamvec.transforms.inputs.containers import MARK
from beamvec.transforms.inputs.registry import remake_source
from beamvec.transforms.inputs.source import Source
from beamvec.transforms.records.images import ImageRef

GONE = "not there any more"
AT_URLS = "at URLs, which are not fetched here"
LATE = "not reached in time"
LARGE = "larger than --max-file-size was"

_NOWHERE = (errno.ENOENT, errno.ENOTDIR)

_Made = TypeVar("_Made")


class UnfitError(Exception):
    """Nothing can be made of what was read; the message says why, in words that fit many images."""


@dataclass(frozen=True)
class Seen(Generic[_Made]):
    """What became of images.

    Attributes:
        made: what was made of those that could be read, by uri.
        missed: why nothing was made of the others, by uri.
    """

    made: dict[str, _Made]
    missed: dict[str, str]


def count_reasons(missed: Mapping[str, str]) -> str:
    """Say how many images were missed for which reason, the most frequent first.

    >>> count_reasons({"a": GONE, "b": GONE, "c": AT_URLS})
    '2 not there any more, 1 at URLs, which are not fetched here'
    """
    counted = sorted(Counter(missed.values()).items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{count:,} {why}" for why, count in counted)


class Originals:
    """Finds and reads the images of a dataset.

    Args:
        dataset: whose; None for images that stand where their uris say.
        urls: how http:// and https:// URLs are fetched; None for not at all.
        within_s: how many seconds all reading may take; None for as long as it takes.
    """

    def __init__(
        self,
        dataset: Dataset | None = None,
        urls: UrlSettings | None = None,
        within_s: float | None = None,
    ):
        self._urls = urls
        self._within_s = within_s
        # One without a row is a dataset too, and as a sequence it would be taken for none.
        runs = () if dataset is None else dataset.runs
        self._max_bytes = runs[0].settings.max_file_size if runs else None
        records = [
            each.input for run in runs for each in (run.latest, *reversed(run.appended), run)
        ]
        self._sources: list[Source | None] = [*_remake_distinct(records)] or [None]

    def see(self, uris: Sequence[str], make: Callable[[str, bytes], _Made]) -> Seen[_Made]:
        """Read images, and make something of each at once, so that memory holds few of them.

        Args:
            uris: the images, as the dataset names them.
            make: is called in threads, with uri and bytes of an image; may raise `UnfitError`.
        """
        until_s = None if self._within_s is None else time.monotonic() + self._within_s
        seen: Seen[_Made] = Seen({}, {})
        pending = list(dict.fromkeys(uris))
        for source in self._sources:
            found = self._see_in(source, pending, make, until_s)
            seen.made.update(found.made)
            # The first source is the latest: what it says of an image that no other has either.
            seen.missed.update({**found.missed, **seen.missed})
            pending = [uri for uri in pending if found.missed.get(uri) == GONE]
            if not pending:
                break
        missed = {uri: why for uri, why in seen.missed.items() if uri not in seen.made}
        return replace(seen, missed=missed)

    def locate(self, uris: Sequence[str]) -> dict[str, str]:
        """Return the paths of images that are local files of their own and are there, by uri."""
        paths: dict[str, str] = {}
        pending = list(dict.fromkeys(uris))
        for source in self._sources:
            reader = self._choose_reader(source)
            for ref in _find_refs(source, pending):
                path = reader.local_path(ref)
                if path and os.path.exists(path):
                    paths[ref.uri] = os.path.abspath(path)
            pending = [uri for uri in pending if uri not in paths]
        return paths

    def _see_in(
        self,
        source: Source | None,
        uris: Sequence[str],
        make: Callable[[str, bytes], _Made],
        until_s: float | None,
    ) -> Seen[_Made]:
        reader = self._choose_reader(source)
        refs = _find_refs(source, uris)
        seen: Seen[_Made] = Seen({}, {})

        def take(ref: ImageRef, result: ReadResult) -> None:
            try:
                seen.made[ref.uri] = make(ref.uri, self._check(result))
            except UnfitError as error:
                seen.missed[ref.uri] = str(error)

        def work(batch: list[ImageRef]) -> None:
            for ref, result in self._read(batch, reader, until_s):
                take(ref, result)
            for ref in batch:
                if ref.uri not in seen.made:
                    seen.missed.setdefault(ref.uri, LATE)

        with ThreadPoolExecutor(READ_THREADS, "originals") as threads:
            for _ in threads.map(work, _batch(refs, reader)):
                pass
        return seen

    def _choose_reader(self, source: Source | None) -> ImageReader:
        reader = source.reader if source else FILES
        if isinstance(reader, UrlReader) and self._urls:
            # How a dataset was made says nothing of what whoever looks at it wants to connect to.
            reader = replace(reader, settings=self._urls)
        return reader

    def _read(
        self, batch: list[ImageRef], reader: ImageReader, until_s: float | None
    ) -> Iterator[tuple[ImageRef, ReadResult]]:
        limit = None if self._max_bytes is None else self._max_bytes + 1

        def is_late() -> bool:
            return until_s is not None and time.monotonic() > until_s

        if isinstance(reader, RunReader):
            if is_late():
                return
            for i, result in reader.read_run(batch, limit):
                yield batch[i], result
                if is_late():
                    return
            return
        for ref in batch:
            if is_late():
                return
            if is_url(str(place_of(ref))) and not (self._urls and isinstance(reader, UrlReader)):
                yield ref, ReadResult(b"", _AtUrlError(), 0)
            else:
                yield ref, reader.read(ref, limit)

    def _check(self, result: ReadResult) -> bytes:
        error = result.error
        if isinstance(error, _AtUrlError):
            raise UnfitError(AT_URLS)
        if error is not None and error.errno in _NOWHERE:
            raise UnfitError(GONE)
        if error is not None:
            raise UnfitError(f"not readable ({type(error).__name__})")
        if self._max_bytes is not None and len(result.data) > self._max_bytes:
            raise UnfitError(LARGE)
        return result.data


class _AtUrlError(OSError):
    """An image is at a URL, and nobody wants to fetch it."""


def _remake_distinct(records: Sequence[InputRecord]) -> Iterator[Source]:
    """Yield the sources of a dataset's runs, once those that find the same images."""
    seen: set[Any] = set()
    for record in records:
        source = remake_source(record)
        if source is None:
            continue
        names = record.names if source.finds_by_names else ()
        key = (record.source, names, record.folder, tuple(record.options.items()))
        if key not in seen:
            seen.add(key)
            yield source


def _find_refs(source: Source | None, uris: Sequence[str]) -> list[ImageRef]:
    if source is None:
        return [ImageRef(uri) for uri in uris]
    try:
        return source.find_images(uris)
    except (InputError, OSError, ValueError):  # A manifest that is gone, or another one now.
        return [ImageRef(uri) for uri in uris]


def _batch(refs: Sequence[ImageRef], reader: ImageReader) -> list[list[ImageRef]]:
    """Part images into what is read in a row: those of a container, else each alone."""
    if not isinstance(reader, RunReader):
        return [[ref] for ref in refs]
    by_container: dict[str, list[ImageRef]] = defaultdict(list)
    for ref in refs:
        by_container[ref.uri.partition(MARK)[0]].append(ref)
    return list(by_container.values())
