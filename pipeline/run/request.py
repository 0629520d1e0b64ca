"""A run as it is asked for, once it is checked and before its model is loaded: `Request`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from apache_beam.io.filesystems import FileSystems

from beamvec.embeddings.run_record import InputRecord, RunRecord
from beamvec.embeddings.settings import Settings
from beamvec.errors import ModelError
from beamvec.pipeline.run.config import ExtractConfig
from beamvec.pipeline.run.dataflow import asks_for_gpu, is_dataflow, prepare_dataflow
from beamvec.pipeline.run.folder import FoundOutput, find_output
from beamvec.pipeline.run.settle import settle
from beamvec.pipeline.run.workers import Workers
from beamvec.redact import redact
from beamvec.transforms.files import storage
from beamvec.transforms.files.readers import path_of
from beamvec.transforms.inference import hub
from beamvec.transforms.inference.description import Description, describe_model
from beamvec.transforms.inference.model_files import ModelFiles
from beamvec.transforms.inputs.kept import STANDARD_INPUT
from beamvec.transforms.inputs.source import Source


@dataclass(frozen=True)
class Request:
    """What is known before the model is loaded; nothing is written yet.

    Attributes:
        config: what the run is to do.
        workers: what runs it.
        settings: every setting that changes a byte of the dataset.
        found: what the output folder holds.
        begun: the record of what the run goes on with, None for nothing.
        files: the model.
        said: what is said of it.
    """

    config: ExtractConfig
    workers: Workers
    settings: Settings
    found: FoundOutput
    begun: RunRecord | None
    files: ModelFiles
    said: Description

    def require_same(self, fingerprint: str) -> None:
        """Raise `ModelError` if the model that was loaded is not the one of these settings."""
        if fingerprint != self.settings.fingerprint:
            raise ModelError(f"the model {self.files.handle} has changed meanwhile; start again")


def describe_input(source: Source) -> InputRecord:
    """Return what `run.json` says of an input before it is listed."""
    names = tuple(map(_make_full, source.describe()))
    return InputRecord(
        source.kind, names, limit=source.limit, folder=source.folder, options=source.kept_options
    )


def name_model(handle: str) -> str:
    """Return a model's handle as it means the same from every folder, without a password."""
    return redact(handle if hub.is_on_hub(handle) else _make_full(handle))


def _make_full(name: str) -> str:
    path = path_of(name)
    if name == STANDARD_INPUT or not storage.is_local(path):
        return name
    return os.path.abspath(os.path.expanduser(path))


def settle_request(config: ExtractConfig, workers: Workers) -> Request:
    """Look at the model's files and at the output, for a configuration that was checked.

    Raises:
        ModelError: if the model cannot be had.
        OutputError: if the output folder cannot be used.
    """
    files = ModelFiles.fetch(config.model.handle)
    config = replace(config, model=config.model.choose_engine(files.format))
    said = describe_model(files).override(dict(config.model.given))
    settings = config.make_settings(files.fingerprint(), said.spec)
    config, settings, begun = settle(config, settings, workers.local)
    found = find_output(config.layout, settings, config.overwrite)
    return Request(config, workers, settings, found, begun, files, said)


def check_config(
    config: ExtractConfig, beam_flags: Sequence[str], known: Sequence[str], verbose: bool
) -> tuple[ExtractConfig, Workers]:
    """Check all that can be checked before the model is looked at.

    Args:
        config: what the run is to do.
        beam_flags: Beam's own options, as flags.
        known: what could have been meant instead of a flag that Beam does not know.
        verbose: whether worker processes may write logs.

    Raises:
        ArgumentError: if something cannot be as it was given.
    """
    workers = Workers.choose(beam_flags, known, verbose)
    if is_dataflow(workers.options):
        prepare_dataflow(config.places, config.model, workers.options)
    if asks_for_gpu(workers.options):
        config = replace(config, model=replace(config.model, device="gpu"))
    FileSystems.set_options(workers.options)
    if not (workers.local or workers.threads):
        config.source.check_shared()
    return config.check(), workers
