"""What a command line leaves open, and what a run goes on with decides: `settle`."""

from __future__ import annotations

from dataclasses import replace

from beamvec.embeddings.run_record import RunRecord, Settings
from beamvec.pipeline.run.config import ExtractConfig
from beamvec.pipeline.run.folder import find_kept


def settle(config: ExtractConfig, settings: Settings) -> tuple[Settings, RunRecord | None]:
    """Return the settings with what is gone on with has decided, and its record; None for nothing.

    So a run that was killed ends with the same bytes, and an append adds rows of the same kind:
    what Pillow has resized, as it all was before there was anything else, it goes on to resize, and
    int8 has the model that was quantised at first.

    Args:
        config: of the run.
        settings: made of it.

    Raises:
        OutputError: if what is in the output folder cannot be read.
    """
    begun = find_kept(config.layout, settings, config.overwrite)
    if begun is None:
        return settings, None
    kept = begun.settings
    settled = replace(
        settings,
        resizer="pillow" if kept.resizer == "pillow" else settings.resizer,
        int8=kept.int8 if settings.precision == "int8" else "",
    )
    if not kept.differences(settled):
        return settled, begun
    # It is replaced, or refused by the names of what differs.
    return (settings if config.overwrite else settled), None
