"""The end of a run: closing the accounts, publishing the dataset."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beamvec.embeddings.layout import (
    FAILURES_DIR,
    TABLE_DIRS,
    Layout,
    is_part_name,
    success_content,
)
from beamvec.embeddings.run_record import (
    Counts,
    FailureCount,
    RunRecord,
    Throughput,
    Timings,
)
from beamvec.errors import OutputError
from beamvec.pipeline.run.belongings import clear_work
from beamvec.transforms.files import storage
from beamvec.transforms.records.account import Account

_MAX_INTERVALS = 100


class AccountingError(RuntimeError):
    """Images were lost or doubled: the dataset must not be used."""


@dataclass(frozen=True)
class Begun:
    """What is known when the pipeline starts.

    Attributes:
        layout: the dataset's folder.
        record: of this run, so far.
        launched_s: when the command started, in seconds since 1970.
        started_s: when the pipeline started, after the model was loaded.
        before: the record of the dataset that is appended to, None for a new one.
    """

    layout: Layout
    record: RunRecord
    launched_s: float
    started_s: float
    before: RunRecord | None = None


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
            FailureCount(stage, error_type, error.count, error.example)
            for (stage, error_type), error in sorted(account.errors.items())
        ),
        changed=account.changed_uris,
        files=account.files,
        model_loads=len(account.load_ids),
        timings=Timings(
            launched=format_time(begun.launched_s),
            finished=format_time(finished_s),
            startup_s=round(begun.started_s - begun.launched_s, 3),
            run_s=round(run_s, 3),
            images_per_s=round(computed / run_s, 3),
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
    """Write `run.json`, then `_SUCCESS`, then remove the chunk files."""
    layout = begun.layout
    if begun.before is None:
        _finish(layout, finish_record(account, begun, time.time()))
        return
    # An append that embeds nothing leaves the other tables as they are.
    tables = TABLE_DIRS if account.embeddings else (FAILURES_DIR,)
    files = {name: file for name, file in account.files.items() if name.split("/")[0] in tables}
    record = finish_record(replace(account, files=files), begun, time.time())
    names = map(_name, storage.list_files(layout.table(FAILURES_DIR)))
    replaced = [name for name in names if is_part_name(name)]
    content = {"run": asdict(record), "added": list(files), "replaced": replaced}
    storage.write_file(layout.publication_file, json.dumps(content).encode())
    publish(layout)


def publish(layout: Layout) -> None:
    """Move the parts of an append into the dataset; killed at any moment, it can be done again.

    Its plan holds names of parts only: wherever the folder has been copied or moved to, nothing
    outside of it is touched, whoever wrote the plan.

    Raises:
        OutputError: if the plan is damaged, or names what no run would.
    """
    run, added, replaced = _read_publication(layout)
    storage.delete(layout.success_file)
    for name in added:
        staged = storage.join(layout.staged.path, name)
        if storage.exists(staged):  # Else it was moved before the run was killed.
            storage.rename(staged, storage.join(layout.path, name))
    for name in replaced:
        if f"{FAILURES_DIR}/{name}" not in added:
            storage.delete(storage.join(layout.table(FAILURES_DIR), name))
    _finish(layout, run)


def _read_publication(layout: Layout) -> tuple[RunRecord, list[str], list[str]]:
    """Return the record to write, the parts to move in, and those of failures to delete."""
    path = layout.publication_file
    advice = "restore it, or make the dataset anew in another `output`"
    try:
        content = json.loads(storage.read_bytes(path))
        run = RunRecord.from_json(json.dumps(content["run"]), path)
        added = content["added"] if "added" in content else _list_staged(layout, content["tables"])
        replaced = [_name(name) for name in content["replaced"]]
        places = [name.split("/") for name in added]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{path} is damaged: {error}; {advice}") from error
    names = [*replaced, *(place[-1] for place in places)]
    if not all(len(place) == 2 and place[0] in TABLE_DIRS for place in places) or not all(
        map(is_part_name, names)
    ):
        raise OutputError(f"{path} names files that no run of beamvec would; {advice}")
    return run, added, replaced


def _list_staged(layout: Layout, tables: Iterable[str]) -> list[str]:
    """Return what a plan of format 1 moves, which names tables only."""
    known = [table for table in TABLE_DIRS if table in tables]
    return [
        f"{table}/{_name(path)}"
        for table in known
        for path in storage.list_files(layout.staged.table(table))
    ]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _finish(layout: Layout, record: RunRecord) -> None:
    content = record.to_json().encode()
    storage.write_file(layout.run_file, content)
    storage.write_file(layout.success_file, success_content(content))
    clear_work(layout)


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
