"""Whether the files in a dataset's folder are those that its record tells of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pyarrow import fs

from beamvec.embeddings import layout, schema
from beamvec.embeddings.damage import naming_damage, require_unchanged
from beamvec.embeddings.opening import read_start, resolve
from beamvec.embeddings.parts import Part
from beamvec.embeddings.run_record import RunRecord
from beamvec.errors import DatasetError

_FOLDERS = (*layout.TABLE_DIRS, layout.INT8_DIR)


def check_part(part: Part, run: RunRecord) -> Iterator[str]:
    """Yield what is wrong with the content of a file, if its record tells of it."""
    written = run.files.get("/".join(part.path.rsplit("/", 2)[1:]))
    if written is None:
        return
    try:
        with naming_damage(part.path), part.filesystem.open_input_stream(part.path) as file:
            require_unchanged(file, part.path, written)
    except DatasetError as error:
        yield str(error)


def check_names(path: str, run: RunRecord) -> Iterator[str]:
    """Yield the parts of a dataset that are missing, and those that no run wrote.

    The names in the record are looked for among those that are there, and not followed.
    """
    yield from _check_int8(path, run)
    found = [name for name in _list_names(path) if name.endswith(layout.PART_SUFFIX)]
    for name in sorted(run.files.keys() - set(found)):
        yield f"{path}/{name} is missing"
    if run.settings.format_version >= schema.FIRST_WITH_FILES:
        for name in sorted(set(found) - run.files.keys()):
            yield f"{path}/{name} is there, but {layout.RUN_FILE} does not tell of it"


def _check_int8(path: str, run: RunRecord) -> Iterator[str]:
    """Yield what is wrong with the quantised model that a dataset was made with."""
    wanted = run.settings.int8
    if not wanted:
        return
    filesystem, root = resolve(path)
    digest = hashlib.sha256()
    file = layout.Layout(root).int8_file(wanted)
    if filesystem.get_file_info(file).type != fs.FileType.File:
        yield f"{layout.Layout(path).int8_file(wanted)} is missing; nothing can be appended"
        return
    with naming_damage(path), filesystem.open_input_stream(file, compression=None) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != wanted:
        yield f"{layout.Layout(path).int8_file(wanted)} is damaged; nothing can be appended"


def list_unchecked(path: str, run: RunRecord) -> list[str]:
    """Return the names in a dataset's folder that no checksum covers."""
    checked = {name for name, file in run.files.items() if file.sha256}
    filesystem, root = resolve(path)
    with naming_damage(path):
        if read_start(filesystem, f"{root}/{layout.SUCCESS_FILE}").strip():
            checked |= {layout.RUN_FILE, layout.SUCCESS_FILE}
    if run.settings.int8:
        checked.add(layout.Layout("").int8_file(run.settings.int8)[1:])
    return [name for name in _list_names(path) if name not in checked]


def _list_names(path: str) -> list[str]:
    """List what is in a dataset's folder and in those of its tables; other folders as themselves.

    Links are not walked through: they may go in circles.
    """
    filesystem, root = resolve(path)
    names: list[str] = []
    with naming_damage(path):
        for folder in ("", *(f"/{name}" for name in _FOLDERS)):
            place = fs.FileSelector(root + folder, allow_not_found=True)
            for info in filesystem.get_file_info(place):
                is_folder = info.type == fs.FileType.Directory
                name = f"{folder}/{info.base_name}"[1:] + ("/" if is_folder else "")
                if name.rstrip("/") not in _FOLDERS:
                    names.append(name)
    return sorted(names)
