"""The end of a run: closing the accounts, publishing the dataset."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beamvec.embeddings.layout import FAILURES_DIR, TABLE_DIRS, Layout
from beamvec.embeddings.run_record import (
    Counts,
    FailureCount,
    RunRecord,
    Throughput,
    Timings,
)
from beamvec.errors import LostOutputError, OutputError
from beamvec.pipeline.run.claim import Claim, Publication
from beamvec.pipeline.run.lock import check_held, release
from beamvec.pipeline.run.publish import forget, list_parts, publish
from beamvec.pipeline.run.stopwatch import Stopwatch
from beamvec.transforms.files import storage
from beamvec.transforms.files.storage import ConflictError
from beamvec.transforms.records.account import Account, AccountingError

_MAX_INTERVALS = 100
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Begun:
    """What is known when the pipeline starts.

    Attributes:
        layout: the dataset's folder.
        claim: what was written into the folder when the run began.
        stopwatch: started with the command.
        started_s: when the pipeline started, after the model was loaded, in seconds since 1970.
        before: the record of the dataset that is appended to, None for a new one.
        known: the parts of the dataset that is there, and that the run replaces or appends to.
    """

    layout: Layout
    claim: Claim
    stopwatch: Stopwatch
    started_s: float
    before: RunRecord | None = None
    known: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def record(self) -> RunRecord:
        """The record of the run, so far."""
        return self.claim.run


def finish_record(account: Account, begun: Begun, finished_s: float) -> RunRecord:
    """Return the record of the dataset; after an append, its counts are of all runs.

    Raises:
        AccountingError: if inputs are not embeddings + failures + duplicates.
    """
    this_run = _finish_this_run(account, begun, finished_s)
    record = begun.before.append(this_run) if begun.before else this_run
    counts = record.counts
    if counts.inputs != counts.accounted:
        raise AccountingError(
            f"the accounts do not close: {counts.inputs} inputs, but {counts.embeddings} "
            f"embeddings + {counts.failures} failures + {counts.duplicates} duplicates; the "
            "dataset must not be used; start again with --overwrite, and report this as a bug"
        )
    return record


def _finish_this_run(account: Account, begun: Begun, finished_s: float) -> RunRecord:
    effort = asdict(account.effort)
    counted = {field.name for field in dataclasses.fields(Counts)} - effort.keys()
    run_s = finished_s - begun.started_s
    computed = account.embeddings + account.failures - account.taken_over
    return replace(
        begun.record,
        state="finished",
        input=replace(begun.record.input, digest=f"{account.input_digest:064x}"),
        counts=Counts(
            read_retries=effort.pop("read_retries"),
            **{name: getattr(account, name) for name in counted},
        ),
        failures=tuple(
            FailureCount(stage, error_type, error.count, error.example, cause)
            for (stage, error_type, cause), error in sorted(account.errors.items())
        ),
        changed=account.changed_uris,
        files=account.files,
        model_loads=len(account.load_ids),
        timings=Timings(
            launched=format_time(begun.stopwatch.time_s),
            finished=format_time(finished_s),
            startup_s=round(begun.started_s - begun.stopwatch.time_s, 3),
            run_s=round(run_s, 3),
            images_per_s=round(computed / run_s, 3) if run_s else 0.0,
            **{name: round(spent, 3) for name, spent in effort.items()},
        ),
        throughput=measure_throughput(account.images_at, begun.started_s, finished_s),
    )


def measure_throughput(
    images_at: Mapping[int, int], started_s: float, finished_s: float
) -> Throughput:
    """Return images finished in each of up to 100 equal intervals of a run.

    >>> measure_throughput({1000: 128, 1003: 64}, 1000.0, 1003.5)
    Throughput(interval_s=1, images=(128, 0, 0, 64))
    """
    start = int(started_s)
    interval_s = max(1, math.ceil((finished_s - start) / _MAX_INTERVALS))
    images = [0] * max(1, math.ceil((finished_s - start) / interval_s))
    for at_s, count in images_at.items():
        # The clocks of other machines may go a little differently.
        images[min(max(0, (at_s - start) // interval_s), len(images) - 1)] += count
    return Throughput(interval_s, tuple(images))


def format_time(time_s: float) -> str:
    """Format seconds since 1970 as a time of day in UTC."""
    return datetime.fromtimestamp(time_s, timezone.utc).isoformat(timespec="seconds")


def close_accounts(account: Account, begun: Begun) -> None:
    """Check the accounts, commit the run, and put its parts where those before were.

    Raises:
        AccountingError: if the accounts do not close.
        LostOutputError: if another run has taken the output folder meanwhile.
    """
    layout, claim = begun.layout, begun.claim
    if begun.before and not account.embeddings:  # The other tables stay as they are.
        account = replace(account, files=_only_failures(account.files))
    record = finish_record(account, begun, begun.stopwatch.now_s())
    _refuse_strangers(begun)
    removed = _only_failures(begun.known) if begun.before else begun.known
    for table in TABLE_DIRS:
        storage.flush_folder(layout.staged(claim.token).table(table))
    plan = Publication(tuple(sorted(account.files)), tuple(removed))
    try:
        committed = replace(claim, run=record, publication=plan).write(layout)
        publish(layout, committed, lambda: check_held(layout, claim.token))
        if release(layout, claim.token):  # Nobody waits for this job to do the rest.
            forget(layout, committed)
    except ConflictError as error:
        raise LostOutputError(f"another run has taken {layout.path} meanwhile") from error


def _only_failures(files: Mapping[str, _Value]) -> dict[str, _Value]:
    return {name: file for name, file in files.items() if name.startswith(f"{FAILURES_DIR}/")}


def _refuse_strangers(begun: Begun) -> None:
    """Refuse to publish over what somebody has put among the parts since the run began."""
    strange = sorted(list_parts(begun.layout).keys() - begun.known.keys())
    if strange:
        raise OutputError(
            f"{begun.layout.path}/{strange[0]} was put there while the run went on, and beamvec "
            "did not write it; move it away"
        )


def _sum_accounts(accounts: Iterable[Account]) -> Account:
    return sum(accounts, Account())


class CloseAccounts(beam.PTransform[Any, Any]):
    """Add up `Account`s, check that they close, and finish the dataset."""

    def __init__(self, begun: Begun):
        super().__init__()
        self._begun = begun

    def expand(self, accounts: PCollection[Account]) -> PCollection[None]:
        """Apply the transform."""
        return (
            accounts
            | "SumAccounts" >> beam.CombineGlobally(_sum_accounts)
            | "WriteRun" >> beam.Map(close_accounts, self._begun)
        )
