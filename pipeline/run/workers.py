"""What runs a pipeline, and where: `Workers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineRunner

from beamvec.pipeline.run.beam_options import parse_beam_flags
from beamvec.pipeline.run.runners import choose_runner, has_worker_threads, is_local_runner


@dataclass(frozen=True)
class Workers:
    """What runs a pipeline, and where.

    Attributes:
        runner: of Beam.
        options: Beam's own.
        name: the runner's, for the record.
        local: whether the pipeline ends with this process.
        threads: whether the workers are threads of this process.
    """

    runner: PipelineRunner
    options: PipelineOptions
    name: str
    local: bool
    threads: bool

    @classmethod
    def choose(
        cls, beam_flags: Sequence[str], known: Sequence[str] = (), verbose: bool = False
    ) -> Workers:
        """Choose the runner that Beam's flags name.

        Raises:
            ArgumentError: if there is no such flag or runner, or what it needs is missing.
        """
        options = parse_beam_flags(beam_flags, known)
        # Runners change the options that they are given.
        local, threads = is_local_runner(options), has_worker_threads(options)
        runner = choose_runner(options, verbose)
        name = options.view_as(StandardOptions).runner or "FnApiRunner"
        return cls(runner, options, name, local, threads)
