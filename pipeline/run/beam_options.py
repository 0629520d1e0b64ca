"""Beam's own options, of those that whoever starts a run gives."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence
from typing import Any, TypeVar

from apache_beam.options.pipeline_options import PipelineOptions

from beamvec.errors import ArgumentError
from beamvec.pipeline.spelling import did_you_mean
from beamvec.transforms.machine import count_cpus

_WORKERS = "--direct_num_workers"

_View = TypeVar("_View", bound=PipelineOptions)


class _Options(PipelineOptions):
    """Options whose views are made once, as they are all of one dict of values.

    Beam asks for some hundred views while a graph is built, and parses all flags of a kind for
    each, which was half of the time that it took.
    """

    def view_as(self, cls: type[_View]) -> _View:
        """Return the options of one kind."""
        views = self.__dict__.setdefault("_views", {})
        if cls not in views or views[cls]._all_options is not self._all_options:
            views[cls] = super().view_as(cls)
        view: _View = views[cls]
        return view

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_views", None)  # With what Beam keeps out of a pickle.
        return state


def parse_beam_flags(flags: Sequence[str], others: Sequence[str] = ()) -> PipelineOptions:
    """Parse flags as options of Beam.

    Args:
        flags: such as `--runner=FlinkRunner`. Without another number, the local runner gets a
            worker a core.
        others: flags that could have been meant instead of one that Beam does not know.

    Raises:
        ArgumentError: for a flag that Beam does not know, with the nearest one that is known.
    """
    flags = list(flags)
    if not any(flag.split("=")[0] == _WORKERS for flag in flags):
        flags.append(f"{_WORKERS}={count_cpus()}")
    parsers: list[argparse.ArgumentParser] = []
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            options = _Options(flags)
            options.get_all_options(add_extra_args_fn=parsers.append)
    except SystemExit:
        raise ArgumentError(complaint.getvalue().strip().splitlines()[-1]) from None
    unknown = parsers[0].parse_known_args(flags)[1]
    if unknown:
        if not unknown[0].startswith("-"):
            raise ArgumentError(
                f"{unknown[0]!r} belongs to no flag; files, folders and patterns go right after "
                "--input, as many as you like"
            )
        known = [name for action in parsers[0]._actions for name in action.option_strings]
        hint = did_you_mean(unknown[0].split("=")[0], [*others, *known])
        raise ArgumentError(f"unknown argument {unknown[0]}{hint}")
    return options
