"""The end of a run: closing the accounts, `run.json` and `_SUCCESS`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from embeddings import schema
from transforms import storage
from transforms.records import Account

PUBLICATION_FILE = "publish.json"
"""In the folder of chunk files: what is left to do once an append's parts are whole."""

_MAX_INTERVALS = 100


class AccountingError(RuntimeError):
    """Images were lost or doubled: the dataset must not be used."""


@dataclass(frozen=True)
class RunInfo:
    """What is known at launch and belongs into `run.json`.

    Attributes:
        output: the dataset's folder.
        chunks_path: the folder of chunk files, removed at the end.
        launched_s: when the command started, in seconds since 1970.
        started_s: when the pipeline started, after the model was loaded.
        description: settings, model, input, runner and versions.
        before: the content of `run.json` of the dataset that is appended to, None for a new one.
    """

    output: str
    chunks_path: str
    launched_s: float
    started_s: float
    description: dict[str, Any]
    before: dict[str, Any] | None = None


def describe_run(account: Account, run: RunInfo, finished_s: float) -> dict[str, Any]:
    """Return the content of `run.json`; after an append, `counts` and `failures` are of all runs.

    Raises:
        AccountingError: if inputs are not embeddings + failures + duplicates.
    """
    this_run = _describe_this_run(account, run, finished_s)
    if run.before is None:
        content = this_run
    else:
        appended = [*run.before.get("appended", []), this_run]
        counts = _add_counts(run.before["counts"], this_run["counts"])
        failures = this_run["failures"]
        content = {**run.before, "counts": counts, "failures": failures, "appended": appended}
    counts = content["counts"]
    if counts["inputs"] != counts["embeddings"] + counts["failures"] + counts["duplicates"]:
        raise AccountingError(
            f"the accounts do not close: {counts['inputs']} inputs, but {counts['embeddings']} "
            f"embeddings + {counts['failures']} failures + {counts['duplicates']} duplicates; the "
            "dataset must not be used; start again with --overwrite, and report this as a bug"
        )
    return content


def _add_counts(before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    """Add counts, but for failures: an append has tried the earlier ones again."""
    total = {name: count + now.get(name, 0) for name, count in before.items()}
    return {**total, "failures": now["failures"]}


def _describe_this_run(account: Account, run: RunInfo, finished_s: float) -> dict[str, Any]:
    names = ["inputs", "embeddings", "failures", "duplicates", "taken_over", "chunks"]
    if run.before is not None:
        names += ["known", "changed"]
    effort = asdict(account.effort)
    counts = {name: getattr(account, name) for name in names}
    counts["read_retries"] = effort.pop("read_retries")
    run_s = finished_s - run.started_s
    computed = account.embeddings + account.failures - account.taken_over
    return {
        **run.description,
        "input": {**run.description["input"], "digest": f"{account.input_digest:064x}"},
        "counts": counts,
        "failures": [
            {"stage": stage, "error_type": error_type, **asdict(error)}
            for (stage, error_type), error in sorted(account.errors.items())
        ],
        "changed": list(account.changed_uris),
        "model_loads": len(account.load_ids),
        "timings": {
            "launched": _iso(run.launched_s),
            "finished": _iso(finished_s),
            "startup_s": round(run.started_s - run.launched_s, 3),
            "run_s": round(run_s, 3),
            "images_per_s": round(computed / run_s, 3),
            **{name: round(spent, 3) for name, spent in effort.items()},
        },
        "throughput": describe_throughput(account.images_at, run.started_s, finished_s),
    }


def describe_throughput(
    images_at: Mapping[int, int], started_s: float, finished_s: float
) -> dict[str, Any]:
    """Return images finished in each of up to 100 equal intervals of a run.

    >>> describe_throughput({1000: 128, 1003: 64}, 1000.0, 1003.5)
    {'interval_s': 1, 'images': [128, 0, 0, 64]}
    """
    start = int(started_s)
    interval_s = max(1, math.ceil((finished_s - start) / _MAX_INTERVALS))
    images = [0] * max(1, math.ceil((finished_s - start) / interval_s))
    for at_s, count in images_at.items():
        # The clocks of other machines may go a little differently.
        images[min(max(0, (at_s - start) // interval_s), len(images) - 1)] += count
    return {"interval_s": interval_s, "images": images}


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, timezone.utc).isoformat(timespec="seconds")


def close_accounts(account: Account, run: RunInfo) -> None:
    """Write `run.json`, then `_SUCCESS`, then remove the chunk files."""
    content = describe_run(account, run, time.time())
    if run.before is None:
        _finish(run.output, run.chunks_path, content)
        return
    tables = [schema.EMBEDDINGS_DIR, schema.INPUTS_DIR] if account.embeddings else []
    publication = {
        "run": content,
        "tables": [*tables, schema.FAILURES_DIR],
        "replaced": storage.list_files(storage.join(run.output, schema.FAILURES_DIR)),
    }
    path = storage.join(run.chunks_path, PUBLICATION_FILE)
    storage.write_file(path, json.dumps(publication).encode())
    publish(run.output, run.chunks_path)


def publish(output: str, chunks_path: str) -> None:
    """Move the parts of an append into the dataset; killed at any moment, it can be done again."""
    publication = json.loads(storage.read_bytes(storage.join(chunks_path, PUBLICATION_FILE)))
    storage.delete(storage.join(output, schema.SUCCESS_FILE))
    for table in publication["tables"]:
        for path in storage.list_files(storage.join(chunks_path, "parts", table)):
            name = path.rpartition("/")[2]
            storage.rename(path, storage.join(output, table, name))
    for path in publication["replaced"]:
        storage.delete(path)
    _finish(output, chunks_path, publication["run"])


def _finish(output: str, chunks_path: str, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2).encode()
    storage.write_file(storage.join(output, schema.RUN_FILE), text)
    storage.write_file(storage.join(output, schema.SUCCESS_FILE), b"\n")
    storage.delete(chunks_path)


def _sum_accounts(accounts: Iterable[Account]) -> Account:
    return sum(accounts, Account())


class CloseAccounts(beam.PTransform[Any, Any]):
    """Add up `Account`s, check that they close, and finish the dataset."""

    def __init__(self, run: RunInfo):
        super().__init__()
        self._run = run

    def expand(self, accounts: PCollection[Account]) -> PCollection[None]:
        """Apply the transform."""
        return (
            accounts
            | "SumAccounts" >> beam.CombineGlobally(_sum_accounts)
            | "WriteRun" >> beam.Map(close_accounts, self._run)
        )
