"""Whether a run that is done has gone well."""

from __future__ import annotations

from beamvec.embeddings.run_record import RunRecord
from beamvec.errors import TooManyFailuresError
from beamvec.pipeline.run.config import ExtractConfig


def judge(record: RunRecord, config: ExtractConfig) -> RunRecord:
    """Raise if more images failed than allowed."""
    counts = record.counts
    if counts.failure_ratio <= config.max_failure_ratio:
        return record
    top = "; ".join(record.describe_failures()[:3])
    raise TooManyFailuresError(
        f"{counts.failures:,} of {counts.inputs:,} images failed ({counts.failure_ratio:.2%}), "
        f"more than `max_failure_ratio={config.max_failure_ratio}` allows: {top}; see "
        f"{config.layout.table('failures')}",
        record,
    )
