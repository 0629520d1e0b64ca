"""Who works in an output folder, and on what: `Claim`, which is kept in `chunks/run.json`.

It is the record of the run that began and, once all is computed, the publication: what is left to
do. To write the publication into it is what commits a run, and that is done only over the version
that the run itself wrote when it began. So a run that was stopped for long, and whose place another
has taken meanwhile, commits nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from beamvec.embeddings.layout import TABLE_DIRS, Layout, is_part_name
from beamvec.embeddings.run_record import RunRecord
from beamvec.embeddings.typed_json import load_object, parse
from beamvec.errors import DatasetError, OutputError
from beamvec.transforms.files import storage

_KEY = "claim"
_SEAL = "sha256"
_TOKEN = re.compile(r"[0-9a-f]{32}|")


@dataclass(frozen=True)
class Publication:
    """What is left to do once the parts of a run are whole.

    Attributes:
        added: the parts to move in, by table and name.
        removed: the parts of the dataset before that they replace, likewise.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """Who works in an output folder, and on what.

    Attributes:
        run: the record of the run so far; with a publication, that of the dataset to be.
        token: names whoever works there.
        asked: how the run was asked for.
        publication: what is left to do; None until all is computed.
        version: of the file that holds this.
    """

    run: RunRecord
    token: str = ""
    asked: Literal["", "append", "overwrite"] = ""
    publication: Publication | None = None
    version: str = ""

    def write(self, layout: Layout) -> Claim:
        """Write it over the version that it was read or written in, or where there is none.

        Returns:
            The claim with the version that it has now.

        Raises:
            ConflictError: if somebody else has written one meanwhile.
        """
        claim: dict[str, Any] = {"token": self.token, "asked": self.asked}
        if self.publication:
            claim["publication"] = asdict(self.publication)
        content = _seal({**asdict(self.run), _KEY: claim})
        version = storage.write_if(layout.begun_file, content, self.version or None)
        return replace(self, version=version)


def _seal(content: dict[str, Any]) -> bytes:
    """Return JSON with the SHA-256 of all else in it."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, _SEAL: digest}, indent=2).encode()


def _unseal(text: bytes, path: str) -> dict[str, Any]:
    """Return what was sealed; earlier versions did not seal."""
    content = load_object(text, path)
    seal = content.pop(_SEAL, None)
    if seal is not None and json.loads(_seal(content))[_SEAL] != seal:
        raise DatasetError(f"{path} is damaged: its checksum is another")
    return content


def read_claim(layout: Layout) -> Claim | None:
    """Read the claim of an output folder, of this version or an earlier one; None if there is none.

    Raises:
        OSError: if it cannot be read.
        OutputError: if it is damaged, or names what no run would.
    """
    try:
        claim = _read(layout)
    except DatasetError as error:
        advice = "restore it, or make the dataset anew in another `output`"
        raise OutputError(f"{error}; {advice}") from error
    if claim and claim.publication:
        names = (*claim.publication.added, *claim.publication.removed)
        if not _TOKEN.fullmatch(claim.token) or not all(map(_is_part, names)):
            raise OutputError(
                f"{layout.begun_file} names files that no run of beamvec would; make the dataset "
                "anew in another `output`"
            )
    return claim


def _is_part(name: str) -> bool:
    table, _, file = name.partition("/")
    return table in TABLE_DIRS and is_part_name(file)


def _read(layout: Layout) -> Claim | None:
    path, old = layout.begun_file, layout.old_begun_file
    found = storage.read_versioned(path)
    if storage.exists(layout.old_publication_file):
        return _read_old_publication(layout, found[1] if found else "")
    if found:
        claim = _unseal(found[0], path).get(_KEY, {})
        run = json.loads(RunRecord.from_json(found[0], path).to_json())
        if not isinstance(claim, dict):
            raise DatasetError(f"{path} is damaged: {_KEY} is no JSON object")
        return replace(parse(Claim, {**claim, "run": run}, path), version=found[1])
    if storage.exists(old):
        return Claim(RunRecord.from_old_settings(storage.read_bytes(old), old))
    return None


def _read_old_publication(layout: Layout, version: str) -> Claim:
    """Read the plan of an append that an earlier version began to publish.

    That of format 1 names tables, and paths of which only the names are taken.
    """
    path = layout.old_publication_file
    content = load_object(storage.read_bytes(path), path)
    run = RunRecord.from_json(json.dumps(content.get("run")), path)
    try:
        added = content["added"] if "added" in content else _list_staged(layout, content["tables"])
        removed = [f"failures/{name.rpartition('/')[2]}" for name in content["replaced"]]
        names = {"added": added, "removed": [name for name in removed if name not in added]}
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error
    publication = parse(Publication, names, path)
    return Claim(run, asked="append", publication=publication, version=version)


def _list_staged(layout: Layout, tables: Iterable[Any]) -> list[str]:
    return [
        f"{table}/{path.rpartition('/')[2]}"
        for table in TABLE_DIRS
        if table in tables
        for path in storage.list_files(layout.staged().table(table))
    ]
