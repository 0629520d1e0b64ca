"""The end of a run: closing the accounts, `run.json` and `_SUCCESS`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from embeddings import schema
from transforms import storage
from transforms.records import Account


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
    """

    output: str
    chunks_path: str
    launched_s: float
    started_s: float
    description: dict[str, Any]


def describe_run(account: Account, run: RunInfo, finished_s: float) -> dict[str, Any]:
    """Return the content of `run.json`.

    Raises:
        AccountingError: if inputs are not embeddings + failures + duplicates.
    """
    counts = {
        name: getattr(account, name)
        for name in ("inputs", "embeddings", "failures", "duplicates", "taken_over", "chunks")
    }
    effort = asdict(account.effort)
    counts["read_retries"] = effort.pop("read_retries")
    if not account.closes:
        raise AccountingError(
            f"the accounts do not close: {account.inputs} inputs, but {account.embeddings} "
            f"embeddings + {account.failures} failures + {account.duplicates} duplicates; the "
            "dataset must not be used; start again with --overwrite, and report this as a bug"
        )
    computed = account.embeddings + account.failures - account.taken_over
    run_s = finished_s - run.started_s
    return {
        **run.description,
        "input": {**run.description["input"], "digest": f"{account.input_digest:064x}"},
        "counts": counts,
        "failures": [
            {"stage": stage, "error_type": error_type, **asdict(error)}
            for (stage, error_type), error in sorted(account.errors.items())
        ],
        "model_loads": len(account.load_ids),
        "timings": {
            "launched": _iso(run.launched_s),
            "finished": _iso(finished_s),
            "startup_s": round(run.started_s - run.launched_s, 3),
            "run_s": round(run_s, 3),
            "images_per_s": round(computed / run_s, 3),
            **{name: round(spent, 3) for name, spent in effort.items()},
        },
    }


def _iso(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, timezone.utc).isoformat(timespec="seconds")


def close_accounts(account: Account, run: RunInfo) -> None:
    """Write `run.json`, then `_SUCCESS`, then remove the chunk files."""
    text = json.dumps(describe_run(account, run, time.time()), indent=2).encode()
    for name, content in ((schema.RUN_FILE, text), (schema.SUCCESS_FILE, b"")):
        storage.write_file(storage.join(run.output, name), content)
    storage.delete(run.chunks_path)


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
