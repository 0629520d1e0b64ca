"""Kill runs of `beamvec extract` at random moments and resume them: `make test-chaos`.

A moment is drawn by phase, so that the short phases are hit as often as the long ones: SIGKILL at
the n-th access to a file that belongs to the phase, at once or some milliseconds later.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import children
from conftest import hash_files

import samples
from beamvec.pipeline.commands.main import main

PHASES = ("any", "listing", "chunks", "merging", "end")
_KILLS_A_DATASET = (4, 8)
_MAX_DELAY_S = 0.02


@dataclass(frozen=True)
class Moment:
    """When a run is killed.

    Attributes:
        phase: which accesses count; of `any`, none do.
        nth: at which of them, from 1.
        delay_s: how long after that; of `any`, after the start.
    """

    phase: str
    nth: int
    delay_s: float


def tell_phase(event: str, path: str, images: str, output: str) -> str | None:
    """Return the phase that an access to a file belongs to, None if it is none of beamvec's."""
    removes = event in ("os.remove", "os.rmdir", "shutil.rmtree")
    # A folder is emptied by names relative to it.
    if removes and (path.startswith(output) or not os.path.isabs(path)):
        return "end"
    if path.startswith(images):
        return "chunks" if event == "open" else "listing"
    if not path.startswith(output):
        return None
    first, _, name = path[len(output) :].strip("/").partition("/")
    if first in ("embeddings", "failures") or name.startswith("parts/"):
        return "merging"
    if first.startswith(("run.json", "_SUCCESS")):
        return "end"
    return "chunks" if ".parquet" in name else "listing"


def watch_files(images: Path, output: Path, note: Any) -> None:
    """Call `note` with the phase of each access to a file of the input or output."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" or event.startswith(("os.", "shutil.")):
            path = args[0] if args else None
            if isinstance(path, str) and (
                phase := tell_phase(event, path, str(images), str(output))
            ):
                note(phase)

    sys.addaudithook(hook)


def extract_and_die(flags: list[str], images: Path, output: Path, moment: Moment) -> int:
    """Run `beamvec extract` until the moment comes, or to its end if it does not."""
    due = threading.Event()
    seen = 0

    def note(phase: str) -> None:
        nonlocal seen
        seen += phase == moment.phase
        if seen == moment.nth and not moment.delay_s:
            os.kill(os.getpid(), signal.SIGKILL)
        if seen >= moment.nth:
            due.set()

    def die() -> None:
        due.wait()
        time.sleep(moment.delay_s)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die, daemon=True).start()
    if moment.phase == "any":
        due.set()
    else:
        watch_files(images, output, note)
    return main(["extract", *flags])


def extract_and_count(flags: list[str], images: Path, output: Path, counts: Path) -> int:
    """Run `beamvec extract` and write down how often each phase accesses a file."""
    seen: collections.Counter[str] = collections.Counter()
    watch_files(images, output, lambda phase: seen.update([phase]))
    start = time.monotonic()
    code = main(["extract", *flags])
    counts.write_text(json.dumps({"seconds": time.monotonic() - start, "accesses": seen}))
    return code


@dataclass
class Totals:
    """What was done and seen."""

    kills: collections.Counter[str] = field(default_factory=collections.Counter)
    resumes: int = 0
    datasets: int = 0
    bytes_compared: int = 0
    taken_over: int = 0

    def __str__(self) -> str:
        phases = ", ".join(f"{phase} {self.kills[phase]}" for phase in PHASES)
        return (
            f"{self.kills.total()} kills ({phases}), {self.resumes} resumes, "
            f"{self.taken_over} images taken over, {self.datasets} datasets compared, "
            f"{self.bytes_compared:,} bytes equal"
        )


class Chaos:
    """Kills and resumes runs over one small input, and compares what comes out.

    Args:
        folder: an empty folder to work in.
        seed: fixes what is drawn: moments, chunk sizes, workers.
    """

    def __init__(self, folder: Path, seed: int):
        self.totals = Totals()
        self._folder = folder
        self._random = random.Random(seed)
        self._images = folder / "images"
        self._model = folder / "model"
        self._log = folder / "log.txt"
        self._history: list[str] = []
        self._images.mkdir()
        samples.make_folder(self._images)
        make = children.start(samples.save_tiny_model, str(self._model), log=self._log)
        assert children.wait(make, self._log) == 0
        self._learn()

    def _learn(self) -> None:
        """Make the undisturbed dataset, and count accesses with the smallest chunks."""
        output, counts = self._folder / "undisturbed", self._folder / "counts.json"
        flags = self._flags(output, chunk_size=2, workers=2)
        run = children.start(extract_and_count, flags, self._images, output, counts, log=self._log)
        assert children.wait(run, self._log) == 0, self._log.read_text()
        learned = json.loads(counts.read_text())
        self._seconds, self._accesses = learned["seconds"], learned["accesses"]
        self._hashes, self._tree = hash_files(output), list_tree(output)

    def kill(self, kills: int) -> None:
        """Kill so many runs, a few on each dataset, and let each dataset be finished."""
        while (left := kills - self.totals.kills.total()) > 0:
            most = self._random.randint(*_KILLS_A_DATASET)
            self._make_dataset(self._folder / f"out{self.totals.datasets}", min(left, most))
            self.totals.datasets += 1

    def _make_dataset(self, output: Path, kills: int) -> None:
        self._history = []
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            moment = self._draw() if len(self._history) < kills else None
            code = self._run(output, moment)
            if code == -signal.SIGKILL:
                assert moment, self._explain("killed by something else")
                self.totals.kills[moment.phase] += 1
                if (output / "_SUCCESS").exists():
                    self._compare(output)
        assert code == 0, self._explain(f"ended with {code}:\n{self._log.read_text()}")
        self._compare(output)
        assert list_tree(output) == self._tree, self._explain(f"holds {list_tree(output)}")
        self._check_accounts(output)
        self.totals.bytes_compared += sum((output / name).stat().st_size for name in self._hashes)

    def _run(self, output: Path, moment: Moment | None) -> int:
        chunk_size, workers = self._random.choice((2, 2, 3, 9)), self._random.randint(1, 4)
        if self._history and not self.totals.resumes:  # So that it takes over what is there.
            chunk_size = self._chunk_size
        self._chunk_size = chunk_size
        flags = self._flags(output, chunk_size, workers)
        self.totals.resumes += bool(self._history)
        self._history.append(f"chunk size {chunk_size}, {workers} workers, {moment}")
        if moment is None:
            return children.extract(flags, self._log)
        run = children.start(extract_and_die, flags, self._images, output, moment, log=self._log)
        return children.wait(run, self._log)

    def _draw(self) -> Moment:
        if not self.totals.kills.total():  # So that something is there to take over.
            return Moment("merging", 1, 0)
        phase = self._random.choice(PHASES)
        if phase == "any":
            return Moment(phase, 0, self._random.uniform(0, self._seconds))
        delay_s = self._random.choice((0, self._random.uniform(0, _MAX_DELAY_S)))
        return Moment(phase, self._random.randint(1, self._accesses[phase]), delay_s)

    def _flags(self, output: Path, chunk_size: int, workers: int) -> list[str]:
        flags = ["--input", str(self._images), "--model", str(self._model)]
        flags += ["--output", str(output), "--rows-per-shard", "8", "--max-failure-ratio", "1"]
        return [*flags, f"--chunk-size={chunk_size}", f"--direct_num_workers={workers}"]

    def _compare(self, output: Path) -> None:
        assert hash_files(output) == self._hashes, self._explain("has other bytes")

    def _check_accounts(self, output: Path) -> None:
        counts = json.loads((output / "run.json").read_text())["counts"]
        found = [counts[name] for name in ("inputs", "embeddings", "failures", "duplicates")]
        assert found == [23, 21, 2, 0], self._explain(f"accounts for {counts}")
        self.totals.taken_over += counts["taken_over"]

    def _explain(self, what: str) -> str:
        return "\n".join([f"after these runs the dataset {what}", *self._history])


def list_tree(folder: Path) -> list[str]:
    """Return all files and folders below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chaos = Chaos(Path(folder), args.seed)
        chaos.kill(args.kills)
        print(f"seed {args.seed}: {chaos.totals}")


if __name__ == "__main__":
    _main()
