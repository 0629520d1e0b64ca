"""The errors that beamvec raises for mistakes and faults that are not its own.

Messages name arguments of Python in backticks, such as `append=True`; the command line writes them
as flags (`beamvec.pipeline.commands.flags`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from beamvec.redact import redact

if TYPE_CHECKING:
    from beamvec.embeddings.run_record import RunRecord


class BeamvecError(Exception):
    """What all errors of beamvec are; the message says what is wrong, where, and what to do."""

    def __init__(self, message: str):
        super().__init__(redact(message))


class ArgumentError(BeamvecError, ValueError):
    """An argument, or several together, cannot be; nothing was done."""


class InputError(ArgumentError):
    """The input names nothing, cannot be read, or cannot be understood."""


class ModelError(BeamvecError):
    """A model cannot be fetched, loaded or used."""


class ExportError(ModelError):
    """An exported model does not give what the original gives; nothing was written."""


class OutputError(BeamvecError):
    """The output folder cannot be used: held by another run, not beamvec's, of other settings."""


class ImageError(BeamvecError):
    """Some images cannot be embedded.

    Attributes:
        failures: for each its place among those given, the stage (read, decode or infer), the type
            of the error and its message.
    """

    def __init__(self, failures: Sequence[tuple[int, str, str, str]]):
        at, stage, error_type, message = failures[0]
        more = f", and {len(failures) - 1:,} more" if len(failures) > 1 else ""
        super().__init__(f"image {at} cannot be embedded: {stage}: {error_type}: {message}{more}")
        self.failures = list(failures)


class DatasetError(BeamvecError, ValueError):
    """There is no dataset, or it is unfinished, damaged, or lacks what was asked for."""


class PipelineError(BeamvecError):
    """The pipeline failed; finished chunks are kept, and the same call goes on from them."""


class LostOutputError(PipelineError):
    """Another run has taken the output folder, or may have; nothing more is written there."""


class TooManyFailuresError(BeamvecError):
    """The run is done, but more images failed than `max_failure_ratio` allows.

    Attributes:
        run: its record; the dataset stays.
    """

    def __init__(self, message: str, run: RunRecord):
        super().__init__(message)
        self.run = run
