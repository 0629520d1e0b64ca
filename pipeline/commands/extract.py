"""`beamvec extract`: a run, watched from a terminal."""

from __future__ import annotations

import argparse
import dataclasses
import traceback

from beamvec.embeddings import RunRecord, open_dataset
from beamvec.errors import PipelineError, TooManyFailuresError
from beamvec.pipeline.commands.extract_flags import LOG_FORMATS
from beamvec.pipeline.commands.summary import describe_preview, summarize
from beamvec.pipeline.commands.watching import Terminal
from beamvec.pipeline.run.ahead import Ahead
from beamvec.pipeline.run.config import find_output, make_config
from beamvec.pipeline.run.progress import FailedImage
from beamvec.pipeline.terminal import busy, show, show_json
from beamvec.transforms.machine import large_imports


def run(args: argparse.Namespace, beam_flags: list[str]) -> int:
    """Run `beamvec extract` and return its exit code."""
    config = make_config(vars(args))
    output = find_output(args.output)
    flags = args.parser.flags
    is_here = not (args.dry_run or beam_flags)  # Else it may be for another machine, or for none.
    ahead = Ahead(config) if is_here else None
    with large_imports():  # Beam, for a second.
        from beamvec.pipeline.run.dry_run import preview
        from beamvec.pipeline.run.launch import run_extraction
    if args.dry_run:
        busy("listing the input")
        show(*describe_preview(preview(config, beam_flags, list(flags.values()))))
        return 0
    terminal = Terminal(args.verbose, args.quiet, args.log_format == LOG_FORMATS[1], flags)
    try:
        record = run_extraction(config, beam_flags, terminal, list(flags.values()), ahead)
    except TooManyFailuresError as error:
        _conclude(error.run, output, terminal)
        raise
    except PipelineError as error:
        if error.__cause__ is None:
            raise
        terminal.trace("".join(traceback.format_exception(error.__cause__)))
        raise PipelineError(
            f"{error}: start the same command again to go on, with --verbose to see the whole error"
        ) from error
    if record.state == "finished":
        _conclude(record, output, terminal)
    return 0


def _conclude(record: RunRecord, output: str, terminal: Terminal) -> None:
    if terminal.verbose:
        _name_failures(output, terminal)
    if terminal.quiet:
        return
    lines = summarize(record, output)
    if terminal.as_json:
        latest = record.latest
        counts, timings = dataclasses.asdict(latest.counts), dataclasses.asdict(latest.timings)
        content = {"event": "summary", "output": output, "counts": counts, "timings": timings}
        show_json({**content, "message": "\n".join(lines)}, in_a_line=True)
    else:
        show(*lines)


def _name_failures(output: str, terminal: Terminal) -> None:
    """Name the failures that nobody has seen yet, such as those of an earlier run."""
    columns = FailedImage._fields
    rows = open_dataset(output).read_failures(columns).to_pydict()
    for values in zip(*(rows[name] for name in columns), strict=True):
        terminal.fail(FailedImage(*values))
