"""What a command line leaves open, settled before a run begins: `settle`."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from beamvec.embeddings.run_record import RunRecord
from beamvec.embeddings.settings import Settings
from beamvec.pipeline.run.config import ExtractConfig
from beamvec.pipeline.run.folder import find_kept
from beamvec.transforms.inference.engine import Xla
from beamvec.transforms.inference.xla import choose_xla


def settle(
    config: ExtractConfig, settings: Settings, local: bool
) -> tuple[ExtractConfig, Settings, RunRecord | None]:
    """Return configuration and settings complete, and the record of what is gone on with.

    That decides first, so that a run that was killed ends with the same bytes, and an append adds
    rows of the same kind: what Pillow has resized, as all was before there was anything else, it
    goes on to resize; int8 has the model that was quantised at first, `xla=auto` what it became.

    Args:
        config: of the run, with its engine.
        settings: made of it.
        local: whether the workers are on this machine. Of others it tells nothing: they do
            without XLA unless told.

    Raises:
        ModelError: if the model cannot be used.
        OutputError: if what is in the output folder cannot be read.
    """
    begun = find_kept(config.layout, settings, config.overwrite)
    if begun:
        kept = begun.settings
        settled = replace(
            settings,
            resizer="pillow" if kept.resizer == "pillow" else settings.resizer,
            int8=kept.int8 if settings.precision == "int8" else "",
            xla=kept.xla if settings.xla == "auto" else settings.xla,
        )
        # What is of other settings is replaced, or refused by the names of what differs.
        is_other = bool(kept.differences(settled))
        settings = settings if is_other and config.overwrite else settled
        begun = None if is_other else begun
    if settings.xla == "auto":
        settings = replace(settings, xla=choose_xla(config.model) if local else "off")
    model = replace(config.model, xla=cast(Xla, settings.xla))
    return replace(config, model=model), settings, begun
