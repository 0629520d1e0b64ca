"""Mutated images through decoding and through the whole pipeline: `make test-fuzz`.

No image may crash, hang or stop a run, or be missing from its accounts; and each is a row where
Pillow alone, which is strict, decodes it, and a failure where it does not. Layouts that are refused
by name are none of these, nor is damage of a PNG behind its pixels, or an animation out of order.
"""

from __future__ import annotations

import argparse
import collections
import io
import itertools
import resource
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import children
import numpy as np
from conftest import SHARED, hash_files
from PIL import Image, PngImagePlugin

import samples
from beamvec.embeddings import open_dataset
from beamvec.model_spec import Resize
from beamvec.transforms.decoding.bmp import rewrite_rle4
from beamvec.transforms.decoding.decode import decode_chunk
from beamvec.transforms.decoding.decoder import CRASHED, TIMED_OUT
from beamvec.transforms.decoding.pixels import DecodedImage
from beamvec.transforms.decoding.pool import DecoderPool
from beamvec.transforms.decoding.resize import RESIZE_MODES, Resizing
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.images import ImageRef
from mutate import PNG, find_layout, mutate

BATCH = 1000
"""Mutants in a folder of their own, and in a run of the pipeline."""

_DOWN = (CRASHED, TIMED_OUT)
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


class Outcome(NamedTuple):
    """What became of a mutant.

    Attributes:
        index: the mutant's.
        uri: its file.
        error: error type and message, None if it was decoded.
        took_s: how long it took.
        by_pillow: error type and message of Pillow alone, None if it decodes it.
    """

    index: int
    uri: str
    error: tuple[str, str] | None
    took_s: float = 0.0
    by_pillow: tuple[str, str] | None = None


_NONE = Outcome(-1, "", None)


class Originals(NamedTuple):
    """What is mutated: a folder of real images beside the made ones, None for none, and a seed."""

    folder: Path | None
    seed: int


def decode_mutants(
    originals: Originals, indices: range, folder: Path, resize: Resize, send: Connection
) -> None:
    """Write mutants into a folder and decode each; send an `Outcome` for each, then peak memory."""
    threads, decoders = ThreadPoolExecutor(1), DecoderPool(1)
    pillow = DecoderPool(1, "fuzz:decode_by_pillow")
    for index in indices:
        file = write_mutant(originals, index, folder)
        start = time.perf_counter()
        chunk = Chunk(0, 0, "", (ImageRef(str(file)),))
        decoded = decode_chunk(chunk, Resizing(samples.SIZE, resize), threads, decoders)
        errors = [(failure.error_type, failure.message) for failure in decoded.failures]
        took_s = time.perf_counter() - start
        by_pillow = decode_chunk(chunk, Resizing(8), threads, pillow).failures
        verdicts = [(failure.error_type, failure.message) for failure in by_pillow]
        mine, alone = (errors[0] if errors else None), (verdicts[0] if verdicts else None)
        send.send(Outcome(index, str(file), mine, took_s, alone))
    decoders.close()
    pillow.close()
    send.send(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * _MAXRSS_BYTES)


def decode_by_pillow(
    data: bytes,
    resizing: Resizing,
    before_large: object,  # noqa: ARG001
    max_pixels: int,
) -> DecodedImage:
    """Decode as Pillow does when it is left alone, but for what a PNG has beside its picture.

    RLE4 is given to it as RLE8: in its own way it skips bytes, and takes others for pixels.
    """
    if len(data) > 8 and data.startswith(PNG):
        data = _keep_picture(data)
    data = rewrite_rle4(data)
    PngImagePlugin.MAX_TEXT_CHUNK = 1 << 30
    Image.init()
    formats = [name for name in Image.ID if name != "EPS"]
    with Image.open(io.BytesIO(data), formats=formats) as image:
        if image.width * image.height > max_pixels:
            raise Image.DecompressionBombError
        image.load()
        pixels = np.zeros((resizing.size, resizing.size, 3), np.uint8)
        return DecodedImage(pixels, *image.size, image.format or "")


def _keep_picture(data: bytes) -> bytes:
    """Leave out what follows the pixels of a PNG, if there are any, and its animation if whole."""
    starts = [*find_layout(data).starts, len(data)]
    chunks = [data[start:end] for start, end in itertools.pairwise(starts)]
    first = next((at for at, chunk in enumerate(chunks) if chunk[4:8] == b"IDAT"), None)
    if first is None:
        return data
    pixels = list(itertools.takewhile(lambda chunk: chunk[4:8] == b"IDAT", chunks[first:]))
    before = [chunk for chunk in chunks[:first] if not _is_of_animation(chunk)]
    head = data[: starts[0]] + b"".join(before + pixels)
    return head if first + len(pixels) == len(chunks) else head + b"\0\0\0\0IEND\xaeB`\x82"


def _is_of_animation(chunk: bytes) -> bool:
    is_whole = zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]
    return is_whole and chunk[4:8] in (b"acTL", b"fcTL", b"fdAT")


def write_mutant(originals: Originals, index: int, folder: Path) -> Path:
    """Write a mutant under its index and the name of its original."""
    mutant = mutate(*originals, index)
    file = folder / f"{index:06d}-{mutant.name.replace('/', '-')}"
    file.write_bytes(mutant.data)
    return file


@dataclass
class Totals:
    """What came of all mutants.

    Attributes:
        rows: how many were embedded.
        failures: the others, by type of error.
        slowest: the one that took longest to decode.
        peak_bytes: the most memory that a decoder took, or the process that started it.
        down: indices of those that crashed or hung a decoder, at the cost of their own row only.
        unstable: damaged TIFF files that give other pixels each time they are decoded.
        defects: what went wrong otherwise; there should be none.
    """

    rows: int = 0
    failures: collections.Counter[str] = field(default_factory=collections.Counter)
    slowest: Outcome = _NONE
    peak_bytes: int = 0
    down: list[int] = field(default_factory=list)
    unstable: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        failed = self.failures.total()
        kinds = ", ".join(f"{name} {count:,}" for name, count in self.failures.most_common())
        lines = (
            f"{self.rows + failed:,} images = {self.rows:,} rows + {failed:,} failures",
            f"failures: {kinds}",
            f"slowest: {self.slowest.took_s:.2f} s, {Path(self.slowest.uri).name}",
            f"most memory of a decoder: {self.peak_bytes / 1e6:,.0f} MB",
            f"crashed or hung a decoder: {len(self.down)} {self.down or ''}",
            f"TIFF files with other values in a second run: {len(self.unstable)}",
            *self.unstable,
            f"defects: {len(self.defects)}",
        )
        return "\n".join([*lines, *self.defects])


class Fuzz:
    """Decodes mutants one by one, then lets the pipeline run over them twice, and compares.

    Args:
        folder: an empty folder to work in.
        originals: what is mutated.
    """

    def __init__(self, folder: Path, originals: Originals):
        self.totals = Totals()
        self._folder = folder
        self._originals = originals
        self._log = folder / "log.txt"
        self._model = str(folder / "model")
        make = children.start(samples.save_tiny_model, self._model, log=self._log)
        assert children.wait(make, self._log) == 0

    def run(self, indices: range) -> None:
        """Try mutants, batch by batch."""
        for number, start in enumerate(range(indices.start, indices.stop, BATCH)):
            batch = range(start, min(start + BATCH, indices.stop))
            self._run_batch(batch, RESIZE_MODES[number % len(RESIZE_MODES)])

    def _run_batch(self, indices: range, resize: Resize) -> None:
        images = self._folder / "images"
        images.mkdir()
        outcomes = {outcome.uri: outcome for outcome in self._decode(indices, images, resize)}
        self._note(outcomes)
        flags = ["--input", f"{images}/*", "--resize", resize]
        once, again = self._extract([*flags, "--chunk-size=50"]), self._extract(flags)
        if once and again:
            self._compare(outcomes, once)
            self._compare_runs(outcomes, once, again)
        for folder in (images, once, again):
            if folder:
                shutil.rmtree(folder)

    def _extract(self, flags: list[str]) -> Path | None:
        """Run the pipeline and return its output, None if it failed."""
        output = Path(tempfile.mkdtemp(dir=self._folder)) / "out"
        flags = [*flags, "--model", self._model, "--output", str(output)]
        if (code := children.extract([*flags, "--max-failure-ratio=1"], self._log)) == 0:
            return output
        self._add_defect(f"{flags} ended with {code}:\n{self._log.read_text()}")
        return None

    def _decode(self, indices: range, images: Path, resize: Resize) -> Iterator[Outcome]:
        """Decode in a process of its own, and in a new one after each mutant that ends it."""
        left = indices
        while left:
            receive, send = children.context().Pipe(duplex=False)
            args = (self._originals, left, images, resize, send)
            process = children.start(decode_mutants, *args, log=self._log)
            send.close()
            try:
                while receive.poll(children.HANG_S):
                    message = receive.recv()
                    if isinstance(message, int):
                        self.totals.peak_bytes = max(self.totals.peak_bytes, message)
                        continue
                    left = left[1:]
                    yield message
                process.kill()
            except EOFError:
                pass
            code = children.wait(process, self._log)
            if left:
                self._add_defect(f"index {left[0]} ended its process with {code}")
                next(images.glob(f"{left[0]:06d}-*")).unlink()
                left = left[1:]

    def _note(self, outcomes: dict[str, Outcome]) -> None:
        for outcome in outcomes.values():
            self.totals.slowest = max(self.totals.slowest, outcome, key=lambda one: one.took_s)
            if outcome.error and outcome.error[0] in _DOWN:
                self.totals.down.append(outcome.index)
            if _differ(outcome):
                found, alone = outcome.error, outcome.by_pillow
                self._add_defect(f"index {outcome.index}: {found}, but by Pillow alone {alone}")

    def _compare(self, outcomes: dict[str, Outcome], output: Path) -> None:
        """Hold the dataset against what came of the same files one by one."""
        dataset = open_dataset(str(output))
        rows = dataset.read_embeddings(["uri"])["uri"].to_pylist()
        failures = {row["uri"]: row for row in dataset.read_failures().to_pylist()}
        counts = dataset.run.counts
        self.totals.rows += len(rows)
        self.totals.failures.update(row["error_type"] for row in failures.values())
        if sorted([*rows, *failures]) != sorted(outcomes):
            self._add_defect(f"{len(outcomes)} images, {len(rows)} rows, {len(failures)} failures")
        if counts.inputs != counts.embeddings + counts.failures:
            self._add_defect(f"the accounts do not close: {counts}")
        for uri, outcome in outcomes.items():
            found = _error_of(failures.get(uri))
            if found != outcome.error:
                self._add_defect(f"index {outcome.index}: {outcome.error} alone, then {found}")

    def _compare_runs(self, outcomes: dict[str, Outcome], once: Path, again: Path) -> None:
        """Hold two runs over the same files against each other, with chunks of different sizes."""
        if hash_files(once) == hash_files(again):
            return
        rows, others = (open_dataset(str(output)).read_embeddings() for output in (once, again))
        expected = {row["uri"]: row for row in others.to_pylist()}
        changed = [row for row in rows.to_pylist() if row != expected.get(row["uri"])]
        for row in changed:
            # Of damaged fax data libtiff leaves pixels as they were in memory, and Pillow does not
            # pass on its warning.
            known = self.totals.unstable if row["format"] == "TIFF" else self.totals.defects
            known.append(f"index {outcomes[row['uri']].index} has other values in a second run")
        if not changed:
            self._add_defect("two runs ended with different files, but with the same embeddings")

    def _add_defect(self, text: str) -> None:
        self.totals.defects.append(f"seed {self._originals.seed}: {text}")


def _differ(outcome: Outcome) -> bool:
    """Tell whether a mutant became a row and should not have, or the other way round."""
    mine, alone = outcome.error, outcome.by_pillow
    if bool(mine) == bool(alone):
        return False
    if mine:
        # Refused by name, or damage that Pillow does not look for.
        is_own = mine[0] == "UnsupportedImageError" or "of this PNG are damaged" in mine[1]
        return not is_own and mine[0] not in _DOWN
    assert alone
    return "Unsupported BMP" not in alone[1]


def _error_of(row: dict[str, Any] | None) -> tuple[str, str] | None:
    """Return the error of a row of `failures` if it comes from reading or decoding."""
    if row is None or row["stage"] == "infer":
        return None
    return row["error_type"], row["message"]


def find_originals() -> Path | None:
    """Return the folder of real images, None if there is none on this machine."""
    folder = SHARED / "data"
    return folder if folder.is_dir() else None


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=int, metavar="INDEX", help="write that mutant here instead")
    args = parser.parse_args()
    originals = Originals(find_originals(), args.seed)
    if args.write is not None:
        print(write_mutant(originals, args.write, Path()))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder), originals)
        fuzz.run(range(args.images))
    print(f"seed {args.seed}, real images: {originals.folder or 'none'}\n{fuzz.totals}")
    print(f"write one: python tests/fuzz.py --seed {args.seed} --write INDEX")
    return 1 if fuzz.totals.defects else 0


if __name__ == "__main__":
    sys.exit(_main())
