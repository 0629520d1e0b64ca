"""Whether a run that is done has gone well."""

from __future__ import annotations

import shlex

from beamvec.embeddings.counted import counted
from beamvec.embeddings.run_record import RunRecord
from beamvec.errors import TooManyFailuresError
from beamvec.pipeline.run.config import ExtractConfig


def judge(record: RunRecord, config: ExtractConfig) -> RunRecord:
    """Raise if more images failed than allowed; a folder that could not be read counts as one."""
    counts, unread = record.counts, record.latest.unlisted.folders
    failed = counts.failures + unread
    ratio = failed / (counts.embeddings + failed) if failed else 0.0
    if ratio <= config.max_failure_ratio:
        return record
    top = "; ".join(record.describe_failures()[:3]) or "no image"
    folders = f"; {counted(unread, 'folder')} could not be read" if unread else ""
    raise TooManyFailuresError(
        f"{counts.failures:,} of {counted(counts.inputs, 'image')} failed ({ratio:.2%}), more than "
        f"`max_failure_ratio={config.max_failure_ratio}` allows: {top}{folders}; "
        f"`beamvec failures {shlex.quote(config.output)}` says which and why, as do the files of "
        f"{config.layout.table('failures')}",
        record,
    )
