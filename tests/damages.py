"""Damaged datasets through every way of reading them: `make test-damage`.

Whatever happens to a file, `beamvec inspect --verify` tells of it, and nothing ends in another
error than beamvec's own.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import old_formats
import pyarrow.compute as pc

import samples
from beamvec.embeddings import Dataset, open_dataset, search
from beamvec.embeddings.verify import check_dataset
from beamvec.errors import BeamvecError
from beamvec.pipeline.commands.main import main

_URIS = [f"class{i % 2}/{i:05d}.jpg" for i in range(24)]
_REPORTED_ONCE_IN = 25
"""Pages take as long as all else together."""


def flip(data: bytes, seed: random.Random) -> bytes:
    """Return bytes of which one has another bit."""
    place = seed.randrange(len(data))
    flipped = data[place] ^ 1 << seed.randrange(8)
    return data[:place] + bytes([flipped]) + data[place + 1 :]


def cut(data: bytes, seed: random.Random) -> bytes:
    """Return the start of some bytes."""
    return data[: seed.randrange(len(data))]


def swap(data: bytes, seed: random.Random) -> bytes:
    """Return bytes of which two stretches have changed places."""
    size = seed.randint(1, max(1, len(data) // 3))
    first = seed.randrange(len(data) - size + 1)
    second = seed.randrange(len(data) - size + 1)
    first, second = sorted((first, second))
    changed = bytearray(data)
    changed[first : first + size] = data[second : second + size]
    changed[second : second + size] = data[first : first + size]
    return bytes(changed)


def zero(data: bytes, seed: random.Random) -> bytes:
    """Return bytes with zeros in a stretch."""
    start = seed.randrange(len(data))
    stop = seed.randint(start, len(data))
    return data[:start] + bytes(stop - start) + data[stop:]


def grow(data: bytes, seed: random.Random) -> bytes:
    """Return bytes with some of them at their end again."""
    return data + data[seed.randrange(len(data)) :]


_CHANGES = (flip, flip, flip, flip, cut, swap, zero, grow)


class Damages:
    """Datasets that were damaged, and what came of reading them.

    Args:
        work: a folder to work in.
        seed: names the damages, with an index.

    Attributes:
        defects: what should not have been.
        outcomes: how often each way of reading ended how.
    """

    def __init__(self, work: Path, seed: int):
        self._work, self._seed = work, seed
        self._whole, self._old, self._other = (work / name for name in ("whole", "old", "other"))
        for folder, start in ((self._whole, 0), (self._old, 0), (self._other, 1)):
            vectors = np.random.default_rng(start).normal(size=(len(_URIS), 4)).astype(np.float32)
            samples.write_dataset(folder, vectors, _URIS, parts=2, failures=3)
        self.defects: list[str] = []
        self.outcomes: collections.Counter[str] = collections.Counter()
        old_formats.age(self._old)
        # Else it would tell nothing that damage is noticed.
        for folder in (self._whole, self._old):
            assert not check_dataset(open_dataset(folder))

    def run(self, count: int) -> None:
        """Damage a dataset so many times, and read it in every way."""
        for index in range(count):
            self._try(index)

    def _try(self, index: int) -> None:
        folder = self._work / "damaged"
        shutil.copytree(self._old if _is_old(index) else self._whole, folder)
        what = self._damage(folder, random.Random(f"{self._seed} {index}"))
        if what:
            self._check(folder, f"seed {self._seed}, index {index}, {what}", index)
        shutil.rmtree(folder)

    def _damage(self, folder: Path, seed: random.Random) -> str:
        """Damage one file; return what was done, nothing if that left it as it was."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        file = seed.choice(files)
        name = file.relative_to(folder)
        before = file.read_bytes()
        kind = seed.randrange(len(_CHANGES) + 3)
        if kind < len(_CHANGES):
            change = _CHANGES[kind]
            file.write_bytes(change(before, seed))
            what = change.__name__
        elif kind == len(_CHANGES):
            file.unlink()
            return f"{name} is gone"
        elif kind == len(_CHANGES) + 1:
            shutil.copy(self._other / name, file)
            what = "of another dataset"
        else:
            other = seed.choice(files)
            file.write_bytes(other.read_bytes())
            what = f"a copy of {other.relative_to(folder)}"
        return f"{name}: {what}" if file.read_bytes() != before else ""

    def _check(self, folder: Path, what: str, index: int) -> None:
        for name, read in [*self._list_commands(folder, index), *_list_methods(folder)]:
            try:
                shown = io.StringIO()
                with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
                    code = read() or 0
            except BeamvecError:
                code = 2
            except Exception:  # noqa: BLE001 That is what is looked for.
                self.defects.append(f"{what}: {name} raises {traceback.format_exc()}")
                continue
            self.outcomes[f"{name}: {'refused' if code else 'read'}"] += 1
            if name == "inspect --verify" and code == 0 and not _is_old(index):
                self.defects.append(f"{what}: --verify does not notice it")

    def _list_commands(self, folder: Path, index: int) -> Iterator[tuple[str, Callable[[], int]]]:
        page = str(self._work / "page.html")
        for words in (
            ["inspect", "{}", "--verify"],
            ["inspect", "{}"],
            ["search", "{}", "--uri", _URIS[0]],
            ["duplicates", "{}"],
            *(
                [["report", "{}", "--html", page], ["probe", "{}", "--labels", "parent-folder"]]
                if index % _REPORTED_ONCE_IN == 0
                else []
            ),
        ):
            command = [word.format(folder) for word in words]
            name = f"{words[0]} --verify" if "--verify" in words else words[0]
            yield name, lambda command=command: main(command)  # type: ignore[misc]


def _is_old(index: int) -> bool:
    """Tell whether the dataset is of format 1: it has no checksums, but must not do worse."""
    return index % 3 == 2


def _list_methods(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    def with_dataset(read: Callable[[Dataset], object]) -> Callable[[], None]:
        return lambda: read(open_dataset(folder)) and None

    methods: dict[str, Callable[[Dataset], object]] = {
        "repr": repr,
        "read_vectors": lambda dataset: dataset.read_vectors(normalize=True).shape,
        "read_uris": lambda dataset: dataset.read_uris(),
        "read_metadata": lambda dataset: dataset.read_metadata().to_pylist(),
        "read_embeddings": lambda dataset: dataset.read_embeddings().to_pylist(),
        "read_failures": lambda dataset: dataset.read_failures().to_pylist(),
        "read_batches": lambda dataset: list(dataset.read_batches(7)),
        "take": lambda dataset: dataset.take([0, 23]),
        "lookup": lambda dataset: dataset.lookup(_URIS[5]),
        "find_rows_where": lambda dataset: dataset.find_rows_where(pc.field("width") > 0).size,
        "search": lambda dataset: search(dataset, np.ones(4), 3),
    }
    for name, read in methods.items():
        yield name, with_dataset(read)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--damages", type=int, default=2000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        damages = Damages(Path(folder), args.seed)
        damages.run(args.damages)
    for outcome, count in sorted(damages.outcomes.items()):
        print(f"{count:>6}  {outcome}")
    print(*damages.defects, f"{len(damages.defects)} defects", sep="\n")
    return 1 if damages.defects else 0


if __name__ == "__main__":
    sys.exit(_main())
