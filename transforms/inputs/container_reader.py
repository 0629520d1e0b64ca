"""Reading the images of containers, a chunk's at a time: `ContainerReader`."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from beamvec.errors import InputError
from beamvec.transforms.files import storage
from beamvec.transforms.files.ranges import RangedFile
from beamvec.transforms.files.readers import FILES
from beamvec.transforms.files.storage import ReadResult
from beamvec.transforms.inputs.containers import MARK, Containers, Wanted
from beamvec.transforms.records.images import ImageRef, Member

_Numbered = tuple[int, ImageRef]


class ContainerChangedError(OSError):
    """A container is not the one any more that was listed."""


@dataclass(frozen=True)
class ContainerReader:
    """Reads images from containers of a kind; those that are files of their own too.

    Attributes:
        source: the kind, with its options.
    """

    source: Containers

    def read(self, ref: ImageRef, limit_bytes: int | None = None) -> ReadResult:
        """Read one image."""
        [(_, result)] = self.read_run([ref], limit_bytes)
        return result

    def local_path(self, ref: ImageRef) -> str | None:  # noqa: ARG002 There is none.
        """Say that no file holds just this image."""
        return None

    def read_run(
        self, refs: Sequence[ImageRef], limit_bytes: int | None = None
    ) -> Iterator[tuple[int, ReadResult]]:
        """Read images, container by container, in the order in which they lie."""
        by_container: dict[str, list[_Numbered]] = defaultdict(list)
        for i, ref in enumerate(refs):
            container, _, name = ref.uri.partition(MARK)
            by_container[container if name else ""].append((i, ref))
        for i, ref in by_container.pop("", []):
            yield i, FILES.read(ref, limit_bytes)
        for container, numbered in by_container.items():
            yield from self._read_container(container, numbered, limit_bytes)

    def _read_container(
        self, path: str, numbered: Sequence[_Numbered], limit_bytes: int | None
    ) -> Iterator[tuple[int, ReadResult]]:
        pending = {i for i, _ in numbered}
        try:
            with self.source.open(path) as file:
                wanted = []
                for i, member in self._find(path, file, numbered):
                    if isinstance(member, Member):
                        wanted.append(Wanted(i, member.at, limit_bytes))
                    else:
                        pending.remove(i)
                        yield i, ReadResult(b"", member, 0)
                for i, result in self.source.read_members(file, wanted):
                    pending.remove(i)
                    yield i, result
        except InputError as error:
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else OSError(str(error))
            for i in sorted(pending):
                yield i, ReadResult(b"", cause, 0)
        else:
            assert not pending

    def _find(
        self, path: str, file: RangedFile, numbered: Sequence[_Numbered]
    ) -> Iterator[tuple[int, Member | OSError]]:
        """Yield where each image is, or why that cannot be told."""
        now_s = os.stat(path).st_mtime if storage.is_local(path) else None
        lost = [(i, ref) for i, ref in numbered if not isinstance(ref.place, Member)]
        if lost:
            yield from self._find_lost(file, lost)
        for i, ref in numbered:
            if isinstance(ref.place, Member):
                is_same = file.size_bytes == ref.place.container_bytes
                if is_same and (now_s is None or now_s == ref.modified_s):
                    yield i, ref.place
                else:
                    yield i, ContainerChangedError("the container has changed since it was listed")

    def _find_lost(
        self, file: RangedFile, lost: Sequence[_Numbered]
    ) -> Iterator[tuple[int, Member | OSError]]:
        """Look for images of which a dataset knows the uri only: those that failed before."""
        names = {ref.uri.partition(MARK)[2]: i for i, ref in lost}
        for found in self.source.list_members(file):
            if found.name in names:
                yield names.pop(found.name), Member("", 0, 0, found.at)
        for name, i in names.items():
            yield i, FileNotFoundError(2, "No such image in the container", name)
