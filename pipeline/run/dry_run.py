"""What a run would do, without doing it: `Preview`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from beamvec.embeddings.counted import counted
from beamvec.embeddings.layout import FolderState, is_chunk_name
from beamvec.embeddings.run_record import Counts
from beamvec.embeddings.settings import Settings
from beamvec.embeddings.unlisted import Unlisted
from beamvec.errors import InputError
from beamvec.pipeline.run.config import ExtractConfig
from beamvec.pipeline.run.request import Request, check_config, settle_request
from beamvec.pipeline.run.workers import Workers
from beamvec.transforms.files import storage
from beamvec.transforms.inference import hub


@dataclass
class Inventory:
    """What listing the input has found.

    Attributes:
        images: how many there are, those with the same uri counted each.
        size_bytes: of those whose size listing tells.
        unsized: how many do not tell their size.
        first: the uri that comes first.
        unlisted: what listing has left out.
    """

    images: int = 0
    size_bytes: int = 0
    unsized: int = 0
    first: str = ""
    unlisted: Unlisted = field(default_factory=Unlisted)


@dataclass(frozen=True)
class Preview:
    """What a run would do.

    Attributes:
        config: what it was asked for, checked.
        workers: what would run it.
        inventory: what it would read.
        settings: with which settings; None where the model would have to be downloaded first.
        output: what would become of the output folder, in words.
    """

    config: ExtractConfig
    workers: Workers
    inventory: Inventory
    settings: Settings | None
    output: str


def preview(
    config: ExtractConfig, beam_flags: Sequence[str] = (), known_flags: Sequence[str] = ()
) -> Preview:
    """Check a run as if to start it, and list its input; nothing is written or downloaded.

    Args:
        config: what the run is to do.
        beam_flags: Beam's own options, as flags.
        known_flags: what could have been meant instead of a flag that Beam does not know.

    Raises:
        ArgumentError: if something cannot be as it was given.
        ModelError: if the model cannot be used.
        OutputError: if the output folder cannot be used.
    """
    config, workers = check_config(config, beam_flags, known_flags, verbose=False)
    handle = config.model.handle
    if hub.is_on_hub(handle) and hub.find_cached(handle) is None:
        settings, output = None, "not looked at: that takes the model"
    else:
        request = settle_request(config, workers)
        config, settings, output = request.config, request.settings, _describe_output(request)
    return Preview(config, workers, take_inventory(config), settings, output)


def take_inventory(config: ExtractConfig) -> Inventory:
    """List the input of a configuration that was checked.

    Raises:
        InputError: if it names no image, and must.
    """
    found = Inventory()
    for each in config.source.list_all():
        if isinstance(each, Unlisted):
            found.unlisted += each
            continue
        found.first = min(found.first or each.uri, each.uri)
        found.images += 1
        found.size_bytes += each.size_bytes or 0
        found.unsized += each.size_bytes is None
    if not (found.images or config.source.allow_empty):
        raise InputError(f"`{config.source.kind}` names no image")
    return found


def _describe_output(request: Request) -> str:
    config, found = request.config, request.found
    if found.state is FolderState.EMPTY:
        return "new"
    if found.state is FolderState.PUBLISHING:
        return "holds a run that was killed while it was published, which would be finished first"
    if found.state is FolderState.UNFINISHED:
        files = storage.list_files(config.layout.chunks)
        count = sum(is_chunk_name(path.rpartition("/")[2]) for path in files)
        chunks = counted(count, "finished chunk")
        return f"holds an unfinished run, from whose {chunks} it would go on"
    counts = found.run.counts if found.run else Counts()
    rows = f"{counted(counts.embeddings, 'embedding')} and {counted(counts.failures, 'failure')}"
    then = {
        "append": "what it lacks would be added, and its failures tried again",
        "overwrite": "which would be replaced",
    }.get(config.asked, "to which nothing would be done, if the input is still the same")
    return f"holds a dataset of {rows}: {then}"
