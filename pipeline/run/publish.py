"""Publishing: the parts of a run take the place of those before, and the dataset is finished.

It begins when the claim holds a publication, and whoever holds the folder can end it: each step
looks first whether it has been taken. Until it begins, the dataset before is whole and can be read.

On a store, a process may be stopped for as long as anybody likes between two of its requests, and
another may have ended its work meanwhile. So whatever could harm the dataset of that other one asks
in this order: which version is there; is the folder still ours; then the change, of that version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from beamvec.embeddings.layout import TABLE_DIRS, Layout, success_content
from beamvec.embeddings.run_record import RunRecord
from beamvec.errors import OutputError
from beamvec.pipeline.run.belongings import clear_int8, clear_work, find_leftovers
from beamvec.pipeline.run.claim import Claim, Publication
from beamvec.transforms.files import storage

Check = Callable[[], None]
"""Raises unless the output folder is still held."""

_THREADS = 16


def publish(layout: Layout, claim: Claim, check: Check) -> RunRecord:
    """Do what a claim says is left to do, and return the record of the dataset.

    Only the claim itself is left then, see `forget`.

    Args:
        layout: the dataset's folder.
        claim: with a publication.
        check: is asked before anything is written or deleted.

    Raises:
        OutputError: if a part is missing.
        ConflictError: if another has written there meanwhile.
    """
    assert claim.publication
    run = claim.run.to_json().encode()
    success = success_content(run)
    if _read(layout.success_file) != success:
        _replace_parts(layout, claim, claim.publication, check)
        _write(layout.run_file, run, check)
        storage.flush_folder(layout.path)
        _write(layout.success_file, success, check)
        storage.flush_folder(layout.path)
    check()
    for path in find_leftovers(layout):  # Of whoever was killed while they published.
        storage.delete(path)
    clear_int8(layout, claim.run.settings.int8)
    clear_work(layout)
    return claim.run


def forget(layout: Layout, claim: Claim) -> None:
    """Delete a claim whose publication has been done, and the folder that is empty then."""
    storage.delete_if(layout.begun_file, claim.version)
    storage.delete_files([layout.old_begun_file, layout.old_publication_file], layout.chunks)


def _replace_parts(layout: Layout, claim: Claim, plan: Publication, check: Check) -> None:
    staged = layout.staged(claim.token)
    waiting = list_parts(staged)
    _require_parts(layout, claim.run, plan, {**list_parts(layout), **waiting})
    _delete(layout.success_file, check)
    storage.flush_folder(layout.path)

    def move(name: str) -> None:
        check()
        with suppress(FileNotFoundError):  # Somebody else who ends this publication was first.
            storage.rename(storage.join(staged.path, name), storage.join(layout.path, name))

    _do_all(move, (name for name in plan.added if name in waiting))
    removed = (name for name in plan.removed if name not in plan.added)

    def remove(name: str) -> None:
        path = storage.join(layout.path, name)
        is_asked = not storage.is_local(path) and storage.has_conditions(path)
        found = storage.read_versioned(path, 1) if is_asked else None
        check()
        if found:
            storage.delete_if(path, found[1])
        else:
            storage.delete(path)

    _do_all(remove, removed)
    for table in TABLE_DIRS:
        storage.flush_folder(layout.table(table))


def _do_all(do: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_THREADS, "publish") as threads:
        for _ in threads.map(do, names):
            pass


def list_parts(place: Layout) -> dict[str, int | None]:
    """Return the sizes of the files in the three tables, by table and name."""
    return {
        entry.path.removeprefix(f"{place.path}/"): entry.size_bytes
        for table in TABLE_DIRS
        for entry in storage.list_tree(place.table(table))
    }


def _require_parts(
    layout: Layout, run: RunRecord, plan: Publication, sizes: Mapping[str, int | None]
) -> None:
    for name in plan.added:
        file = run.files.get(name)  # Earlier versions told of no sizes.
        if name not in sizes or (file and sizes[name] != file.size_bytes):
            raise OutputError(
                f"{layout.path}: {name} is missing or was changed before it was published; make "
                "the dataset anew in another `output`, or with `overwrite=True` once "
                f"{layout.chunks} is gone"
            )


def _read(path: str) -> bytes | None:
    found = storage.read_versioned(path)
    return found[0] if found else None


def _write(path: str, content: bytes, check: Check) -> None:
    found = storage.read_versioned(path)
    check()
    if found is None or found[0] != content:
        storage.write_if(path, content, found[1] if found else None)


def _delete(path: str, check: Check) -> None:
    found = storage.read_versioned(path)
    check()
    if found:
        storage.delete_if(path, found[1])
