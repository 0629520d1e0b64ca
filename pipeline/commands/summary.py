"""The short text at the end of a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beamvec.embeddings import RunRecord, layout
from beamvec.embeddings.counted import counted
from beamvec.embeddings.fidelity import LEAST_IMAGES
from beamvec.embeddings.run_record import Counts, Timings
from beamvec.embeddings.unlisted import Unlisted
from beamvec.pipeline.units import format_duration, format_size
from beamvec.redact import redact
from beamvec.transforms.inputs.kept import is_read_once
from beamvec.transforms.machine import has_fast_int8

if TYPE_CHECKING:  # It imports Beam, which a look into a dataset does not need.
    from beamvec.pipeline.run.dry_run import Preview

_TOP_ERRORS = 5
RANDOM_WEIGHTS = (
    "WARNING: this model has RANDOM WEIGHTS. Its embeddings show that the pipeline works; they do "
    "not show what is in the images. Give --model a trained model for real work."
)


def summarize(record: RunRecord, output: str) -> list[str]:
    """Describe a finished run in some lines: counts, speed, time, errors, files, what next."""
    latest = record.latest
    counts = latest.counts
    lines = [
        _headline(latest),
        _line("embedded", f"{counts.embeddings:,}  ({record.dimension} numbers each)"),
        _line("failed", f"{counts.failures:,}" + _ratio(counts)),
    ]
    if counts.duplicates:
        lines.append(_line("duplicates", f"{counts.duplicates:,}  (same uri, embedded once)"))
    lines += _unlisted_lines(latest.unlisted)
    if counts.taken_over:
        lines.append(_line("taken over", f"{counts.taken_over:,}  (from a run before)"))
    if counts.damaged:
        lines.append(_line("damaged", f"{counted(counts.damaged, 'chunk file')}, computed again"))
    if record.appended:
        lines += _append_lines(record)
    if counts.read_retries:
        lines.append(
            _line("retried", f"{counted(counts.read_retries, 'read')} that failed at first")
        )
    if record.fidelity:
        lines.append(_line("int8", record.fidelity.describe()))
    shares = _shares(latest.timings)
    lines += [_line("time went to", shares)] if shares else []
    lines += _errors(record, output)
    lines += [
        _line("dataset", output),
        _line("next", f"beamvec inspect {shlex.quote(output)}"),
    ]
    lines += _advise_tune(record)
    if record.weights == "random":
        lines.append(RANDOM_WEIGHTS)
    return lines


def _advise_tune(record: RunRecord) -> list[str]:
    """Say what would be faster, where a run computed in float32 and this machine can do better."""
    source = record.input
    fits_int8 = record.latest.counts.embeddings >= LEAST_IMAGES and has_fast_int8()
    if record.settings.precision != "float32" or not source.names or not fits_int8:
        return []
    if is_read_once(source.names[0]):  # A pipe that has ended.
        return []
    command = _tune_command(source.source, source.names, record.model)
    return [_line("faster", f"int8, by some 2 to 3 times; for your images: {command}")]


def _tune_command(kind: str, names: Sequence[str], model: str) -> str:
    flags = shlex.join([f"--{kind.replace('_', '-')}", *names[:1]])
    return f"beamvec tune {flags} --model {shlex.quote(model)}"


def describe_preview(preview: Preview) -> list[str]:
    """Describe what a run would do, in some lines."""
    config, found, settings = preview.config, preview.inventory, preview.settings
    source, model = config.source, config.model
    size = format_size(found.size_bytes)
    if found.unsized:
        size = (
            f"{size} and {found.unsized:,} of unknown size" if found.size_bytes else "size unknown"
        )
    limit = f", the first {source.limit:,} at most" if source.limit else ""
    lines = [
        _line("would read", f"{counted(found.images, 'image')}, {size}{limit}"),
        _line("from", f"{source.kind.replace('_', '-')} {shlex.join(source.describe())}"),
        *([_line("first", found.first)] if found.images else []),
        *_unlisted_lines(found.unlisted),
        *(_line("note", note) for note in source.notes),
        _line("model", redact(model.handle)),
    ]
    if settings:
        lines.append(_line("run by", f"{settings.engine}, {settings.precision}"))
        lines.append(_line("fingerprint", settings.fingerprint))
        tune = _tune_command(source.kind, source.describe(), redact(model.handle))
        lines.append(_line("how long", f"not known; to measure it: {tune}"))
    else:
        lines.append(_line("", "would be downloaded first"))
    return [
        *lines,
        _line("runner", preview.workers.name),
        _line("output", config.output),
        _line("", preview.output),
        "nothing was written",
    ]


def _unlisted_lines(unlisted: Unlisted) -> list[str]:
    lines = [_line("skipped", unlisted.describe_files())] if unlisted.files else []
    return lines + ([_line("UNREADABLE", unlisted.describe_folders())] if unlisted.folders else [])


def _append_lines(record: RunRecord) -> list[str]:
    latest, total = record.latest, record.counts
    counts = latest.counts
    lines = [_line("had already", f"{counts.known:,}")]
    if counts.changed:
        names = _name_some(latest.changed, counts.changed)
        text = f"{counts.changed:,} of them, embedded anew only with --overwrite: {names}"
        lines.append(_line("changed", text))
    if counts.relabelled:
        names = _name_some(latest.relabelled, counts.relabelled)
        text = f"{counts.relabelled:,} of them, whose columns stay as they were without --overwrite"
        lines.append(_line("relabelled", f"{text}: {names}"))
    lines.append(_line("in all", f"{total.embeddings:,} embedded, {total.failures:,} failed"))
    return lines


def _name_some(names: Sequence[str], count: int) -> str:
    return ", ".join(names) + (", ..." if count > len(names) else "")


def describe_accounts(counts: Counts) -> str:
    """Say what became of all inputs, and whether it adds up.

    >>> describe_accounts(Counts(inputs=5, embeddings=3, failures=1, duplicates=1))
    '5 inputs = 3 embeddings + 1 failure + 1 duplicate'
    """
    parts = (
        f"{counted(counts.embeddings, 'embedding')} + {counted(counts.failures, 'failure')} + "
        f"{counted(counts.duplicates, 'duplicate')}"
    )
    if counts.inputs == counts.accounted:
        return f"{counted(counts.inputs, 'input')} = {parts}"
    return f"{counted(counts.inputs, 'input')}, but {parts}: the accounts do not close"


def _headline(run: RunRecord) -> str:
    timings = run.timings
    took = format_duration(timings.startup_s + timings.run_s)
    return (
        f"{counted(run.counts.accounted, 'image')} in {took}, {timings.images_per_s:.1f} images/s "
        f"after {format_duration(timings.startup_s)} of start-up"
    )


def _line(name: str, text: str) -> str:
    return f"  {name:<13}{text}"


def _ratio(counts: Counts) -> str:
    return f"  ({counts.failure_ratio:.2%})" if counts.failures else ""


def seconds_by_step(timings: Timings) -> dict[str, float]:
    """Return the seconds that each step took, summed over threads."""
    return {
        "read": timings.read_s,
        "decode": timings.decode_s,
        "infer": timings.infer_s,
        "write": timings.write_s,
    }


def _shares(timings: Timings) -> str:
    seconds = seconds_by_step(timings)
    total = sum(seconds.values())
    if not total:
        return ""
    return ", ".join(f"{step} {spent / total:.0%}" for step, spent in seconds.items())


def _errors(record: RunRecord, output: str) -> list[str]:
    top = record.describe_failures()[:_TOP_ERRORS]
    lines = [_line("" if i else "top errors", text) for i, text in enumerate(top)]
    return [*lines, _line("", advise_failures(output))] if lines else []


def advise_failures(output: str) -> str:
    """Say what tells which images of a dataset failed."""
    return f"beamvec failures {shlex.quote(output)} says which and why"


def failures_folder(output: str) -> str:
    """Return the folder with a row for each failed image."""
    return f"{output.rstrip('/')}/{layout.FAILURES_DIR}"
