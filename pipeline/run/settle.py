"""What a command line leaves open, settled before a run begins: `settle_xla`."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from beamvec.embeddings.run_record import Settings
from beamvec.pipeline.run.config import ExtractConfig
from beamvec.pipeline.run.folder import find_kept
from beamvec.transforms.inference.engine import Xla
from beamvec.transforms.inference.xla import choose_xla


def settle_xla(config: ExtractConfig, settings: Settings, local: bool) -> ExtractConfig:
    """Return a configuration in which `xla=auto` is on or off.

    What the dataset, or half a run, in the output folder was made with goes before any timing, so
    that a run that was killed ends with the same bytes, and an append adds rows of the same kind.

    Args:
        config: of the run, with its engine.
        settings: made of it.
        local: whether the workers are on this machine. Of others it tells nothing: they do
            without XLA unless told.

    Raises:
        ModelError: if the model cannot be used.
        OutputError: if what is in the output folder cannot be read.
    """
    if config.model.xla != "auto":
        return config
    kept = find_kept(config.layout, settings, config.overwrite)
    xla: Xla = "off"
    if kept:
        xla = cast(Xla, kept.xla)
    elif local:
        xla = choose_xla(config.model)
    return replace(config, model=replace(config.model, xla=xla))
