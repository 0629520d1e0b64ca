"""What is known of a run: `RunRecord`, which is written and read here only.

`run.json` is its JSON; the settings that decide whether chunks and datasets belong together, and
the metadata of each Parquet file, are views of it. A key means the same in all three.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from beamvec.embeddings.failure_count import FailureCount
from beamvec.embeddings.fidelity import Fidelity
from beamvec.embeddings.layout import FAILURES_DIR
from beamvec.embeddings.old_records import upgrade
from beamvec.embeddings.schema import FORMAT_VERSION
from beamvec.embeddings.settings import Settings
from beamvec.embeddings.typed_json import load_object, parse
from beamvec.embeddings.unlisted import Unlisted
from beamvec.errors import DatasetError
from beamvec.model_spec import ModelSpec

RunState = Literal["running", "failed", "finished"]

MAX_BYTES = 128 << 20
"""What a `run.json` may have: that of some hundred thousand parts."""

_CONVENTION = ModelSpec()


@dataclass(frozen=True)
class InputRecord:
    """What named the images.

    Attributes:
        source: the kind of input, such as `manifest`.
        names: its files, folders or patterns, local ones with their full paths, without passwords.
        digest: SHA-256, in hex, over all images in any order; empty until they are listed.
        limit: how many of its images were taken at most, None for all.
        folder: where relative paths in it count from; empty where there are none.
        options: what else says where images are, such as `uri_column`.
    """

    source: str = ""
    names: tuple[str, ...] = ()
    digest: str = ""
    limit: int | None = None
    folder: str = ""
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Counts:
    """What became of the images.

    Attributes:
        inputs: images that the input names, those with the same uri counted each.
        embeddings: rows of `embeddings`.
        failures: rows of `failures`.
        duplicates: inputs whose uri came before.
        taken_over: images of chunks that an earlier run had finished.
        damaged: chunk files of an earlier run that were damaged, and computed again.
        chunks: chunks.
        read_retries: reads that failed at first.
        known: inputs of an append that the dataset had already; they are not among `inputs`. Of a
            dataset, as are the next two, those of the append that came last.
        changed: how many of these have another size or time since.
        relabelled: how many of these have other values in the user's own columns since.
    """

    inputs: int = 0
    embeddings: int = 0
    failures: int = 0
    duplicates: int = 0
    taken_over: int = 0
    damaged: int = 0
    chunks: int = 0
    read_retries: int = 0
    known: int = 0
    changed: int = 0
    relabelled: int = 0

    @property
    def accounted(self) -> int:
        """Inputs whose end is known; equal to `inputs` if nothing was lost or doubled."""
        return self.embeddings + self.failures + self.duplicates

    @property
    def failure_ratio(self) -> float:
        """Failures of all images, in [0, 1].

        >>> Counts(embeddings=98, failures=2).failure_ratio
        0.02
        """
        images = self.embeddings + self.failures
        return self.failures / images if images else 0.0

    def add(self, later: Counts) -> Counts:
        """Add an append's counts, but for what it has looked at anew.

        It has tried the earlier failures again, and compared the images that were there with its
        input: to add up `known` would count an image once for each append.
        """
        names = [item.name for item in dataclasses.fields(self)]
        total = {name: getattr(self, name) + getattr(later, name) for name in names}
        anew = ("failures", "known", "changed", "relabelled")
        return Counts(**{**total, **{name: getattr(later, name) for name in anew}})


@dataclass(frozen=True)
class Timings:
    """When a run took place, and what took how long; `*_s` of steps are summed over threads."""

    launched: str = ""
    finished: str = ""
    startup_s: float = 0.0
    run_s: float = 0.0
    images_per_s: float = 0.0
    read_s: float = 0.0
    decode_s: float = 0.0
    infer_s: float = 0.0
    write_s: float = 0.0


@dataclass(frozen=True)
class Throughput:
    """Images finished in each of up to 100 equal intervals of a run."""

    interval_s: int = 1
    images: tuple[int, ...] = ()


@dataclass(frozen=True)
class FileRecord:
    """A file as it was written.

    Attributes:
        size_bytes: its size.
        sha256: of its content, in hex; empty where an earlier version did not note it.
    """

    size_bytes: int
    sha256: str = ""


@dataclass(frozen=True)
class RunRecord:
    """A run, or a dataset: the run that made it, with the appends that followed.

    Of a dataset, `counts` and `failures` are of all runs, but for what `Counts` says of the last
    one; everything else is of the first, and the later ones are in `appended`.

    Attributes:
        settings: what changes a byte of the dataset.
        model: the model's handle, of a path the full one, without a password.
        dimension: D, the length of an embedding.
        counts: what became of the images.
        version: of beamvec.
        generation: 0 for the run that makes a dataset, n for the n-th that appends to it.
        state: `running` until the end; a run that was killed stays so. `failed` or `finished`.
        error: why it failed, None if it did not.
        spec: what the model got, and where its features were, complete.
        spec_source: who said so, for people.
        input_size: S, width and height of the model's input in pixels.
        weights: what `beamvec model export` noted of the weights, such as `random`; None for
            models from elsewhere.
        fidelity: of precision int8, how near it is to float32.
        input: what named the images.
        batch_size: images in a call of the model.
        chunk_size: images in a chunk.
        runner: of Beam.
        versions: of Python and of every package that computed.
        failures: the errors of `failures`, by stage and type.
        changed: some images that have changed since they were embedded, which an append left.
        relabelled: some of which the user's own columns have changed since, likewise.
        unlisted: what listing the input has left out.
        model_loads: how often the model was loaded.
        timings: what took how long.
        throughput: images over time.
        files: the parts, by table and name, such as `failures/part-00000-of-00001.parquet`.
        notes: what else is worth knowing, such as that an unfinished run was started over.
        appended: the appends, in order.
    """

    settings: Settings
    model: str
    dimension: int
    counts: Counts = Counts()
    version: str = ""
    generation: int = 0
    state: RunState = "finished"
    error: str | None = None
    spec: ModelSpec = _CONVENTION
    spec_source: str = ""
    input_size: int = 0
    weights: str | None = None
    fidelity: Fidelity | None = None
    input: InputRecord = InputRecord()
    batch_size: int = 0
    chunk_size: int = 0
    runner: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    failures: tuple[FailureCount, ...] = ()
    changed: tuple[str, ...] = ()
    relabelled: tuple[str, ...] = ()
    unlisted: Unlisted = field(default_factory=Unlisted)
    model_loads: int = 0
    timings: Timings = Timings()
    throughput: Throughput = Throughput()
    files: dict[str, FileRecord] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    appended: tuple[RunRecord, ...] = ()

    @property
    def latest(self) -> RunRecord:
        """The run that came last."""
        return self.appended[-1] if self.appended else self

    def append(self, later: RunRecord) -> RunRecord:
        """Return the record of this dataset after one more run has appended to it.

        An append replaces the parts of `failures`.
        """
        kept = {name: file for name, file in self.files.items() if not _is_failures(name)}
        return replace(
            self,
            counts=self.counts.add(later.counts),
            failures=later.failures,
            files={**kept, **later.files},
            appended=(*self.appended, later),
        )

    def sort_failures(self) -> list[FailureCount]:
        """Return the errors, the most frequent first."""
        return sorted(self.failures, key=lambda failure: -failure.count)

    def describe_failures(self) -> list[str]:
        """Describe the causes of failures, the most frequent first."""
        return [failure.describe() for failure in self.sort_failures()]

    def file_metadata(self) -> dict[str, Any]:
        """Return what stands in the metadata of each Parquet file."""
        settings = self.settings
        return {
            "model": self.model,
            "fingerprint": settings.fingerprint,
            "dimension": self.dimension,
            "input_size": self.input_size,
            "resize": self.spec.resize,
            "resizer": settings.resizer,
            "precision": settings.precision,
            "engine": settings.engine,
            "version": self.version,
            "spec": dataclasses.asdict(self.spec),
        }

    def to_json(self) -> str:
        """Return the content of `run.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str | bytes, path: str) -> RunRecord:
        """Read the content of a `run.json` of this or an earlier format.

        Args:
            text: the content.
            path: names the file in errors.

        Raises:
            DatasetError: if it is damaged, or of a later format.
        """
        if len(text) > MAX_BYTES:
            raise DatasetError(f"{path} is damaged: no record has more than {MAX_BYTES:,} bytes")
        content = load_object(text, path)
        settings = content.get("settings")
        found = settings.get("format_version", 1) if isinstance(settings, dict) else 1
        if isinstance(found, int) and found > FORMAT_VERSION:
            raise DatasetError(
                f"{path} is of format {found}, and this beamvec reads formats up to "
                f"{FORMAT_VERSION}; upgrade beamvec"
            )
        try:
            return parse(cls, upgrade(content), path)
        except RecursionError as error:
            raise DatasetError(f"{path} is damaged: it is nested too deeply") from error

    @classmethod
    def from_old_settings(cls, text: str | bytes, path: str) -> RunRecord:
        """Read what a run of format 1 noted when it began: its settings and its generation.

        Raises:
            DatasetError: if it is damaged.
        """
        content = load_object(text, path)
        settings, generation = content.get("settings"), content.get("generation", 0)
        if isinstance(settings, dict):
            settings = {**settings, "fingerprint": settings.get("model")}
        old = {"settings": settings, "generation": generation, "model": "", "dimension": 0}
        return parse(cls, upgrade({**old, "state": "running"}), path)


def _is_failures(name: str) -> bool:
    return name.startswith(f"{FAILURES_DIR}/")
