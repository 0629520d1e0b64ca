"""Accounts: what became of how many images, added up over disjoint parts of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from beamvec.embeddings.run_record import FileRecord
from beamvec.transforms.records.chunks import Effort

ACCOUNTS = "accounts"
"""Tag of outputs that hold accounts."""


class AccountingError(RuntimeError):
    """Images were lost or doubled: the dataset must not be used."""


@dataclass(frozen=True)
class ErrorCount:
    """How often an error came up, and the first of its messages in alphabetical order."""

    count: int
    example: str


ErrorKey = tuple[str, str, str]
"""Stage, error type and cause of failures."""

NAMED = 5
"""How many changed images an account names."""


@dataclass(frozen=True)
class Account:
    """Sums over a part of a run; accounts of disjoint parts add up.

    Attributes:
        inputs: images named by the input, a uri that comes twice counted twice.
        duplicates: inputs whose uri came before.
        embeddings: rows written to `embeddings`.
        failures: rows written to `failures`.
        chunks: chunks merged.
        taken_over: images in chunks that an earlier run computed.
        damaged: chunk files of an earlier run that were damaged, and computed again.
        effort: what this run spent.
        errors: failures by stage, error type and cause.
        load_ids: the loads of the model that served the chunks.
        images_at: images of the chunks that this run finished, by the second since 1970.
        known: inputs of an append that the dataset holds already; not among `inputs`.
        changed: how many of them have another size or time than when they were embedded.
        changed_uris: the first of those in alphabetical order.
        input_digest: sum of the refs' digests modulo 2**256, the same in any order.
        files: the parts that were written, by table and name.
    """

    inputs: int = 0
    duplicates: int = 0
    embeddings: int = 0
    failures: int = 0
    chunks: int = 0
    taken_over: int = 0
    damaged: int = 0
    effort: Effort = field(default_factory=Effort)
    errors: dict[ErrorKey, ErrorCount] = field(default_factory=dict)
    load_ids: frozenset[str] = frozenset()
    images_at: Counter[int] = field(default_factory=Counter)
    known: int = 0
    changed: int = 0
    changed_uris: tuple[str, ...] = ()
    input_digest: int = 0
    files: dict[str, FileRecord] = field(default_factory=dict)

    def __add__(self, other: Account) -> Account:
        """Add the accounts of two disjoint parts."""
        return Account(
            inputs=self.inputs + other.inputs,
            duplicates=self.duplicates + other.duplicates,
            embeddings=self.embeddings + other.embeddings,
            failures=self.failures + other.failures,
            chunks=self.chunks + other.chunks,
            taken_over=self.taken_over + other.taken_over,
            damaged=self.damaged + other.damaged,
            effort=self.effort + other.effort,
            errors=add_errors(self.errors, other.errors),
            load_ids=self.load_ids | other.load_ids,
            images_at=self.images_at + other.images_at,
            known=self.known + other.known,
            changed=self.changed + other.changed,
            changed_uris=tuple(sorted(self.changed_uris + other.changed_uris)[:NAMED]),
            input_digest=(self.input_digest + other.input_digest) % 2**256,
            files={**self.files, **other.files},
        )


def add_errors(
    a: dict[ErrorKey, ErrorCount], b: dict[ErrorKey, ErrorCount]
) -> dict[ErrorKey, ErrorCount]:
    """Add how often errors came up, by what they are; the first example of each stays."""
    total = dict(a)
    for error, more in b.items():
        before = total.get(error, ErrorCount(0, more.example))
        example = min(before.example, more.example)
        total[error] = ErrorCount(before.count + more.count, example)
    return total
