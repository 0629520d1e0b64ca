"""Parquet files with images as bytes: `ParquetFiles`.

A uri is the file's path, `#` and the row's number with zeros before it, so that the order of names
is that of rows. Hugging Face's struct of bytes and path, and columns of bytes, are known.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beamvec.embeddings import schema
from beamvec.transforms.files.ranges import BLOCK_BYTES, RangedFile
from beamvec.transforms.files.storage import ReadResult
from beamvec.transforms.inputs.containers import (
    RUN_IMAGES,
    ContainerError,
    Containers,
    DamagedContainerError,
    Found,
    Wanted,
)
from beamvec.transforms.inputs.source import Option
from beamvec.transforms.records import own_columns

MAX_GROUP_BYTES = 1 << 30
"""Row groups of more images than a run are read from their start for each run, so that they must
not be larger."""

_BATCH_ROWS = 16
_LIST_ROWS = 10_000
_BYTES, _PATH = "bytes", "path"
_USUAL_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp")


class _NoImageError(OSError):
    """A row holds no image."""


@dataclass(frozen=True)
class ParquetFiles(Containers):
    """Parquet files with an image a row, whose plain columns ride along.

    Attributes:
        image_column: the column that holds the images; empty for the one that looks so.
    """

    image_column: str = ""

    kind = "input_parquet"
    help = "Parquet files with images as bytes: files, folders or quoted globs; repeatable"
    options = (
        Option(
            "image_column", "NAME", "the column of images in Parquet (found by itself)", finds=True
        ),
    )
    extensions = (".parquet", ".pq")

    def look_at(self, file: RangedFile) -> pa.Schema | None:
        """Find the column of images, and those that ride along."""
        with _open(file) as parquet:
            image = self._find_image(parquet.schema_arrow)
            if parquet.metadata.num_rows == 0:
                return None
            list(_plan_runs(parquet.metadata, image.name))
            return pa.schema([own.field for own in _find_own(parquet.schema_arrow, image)])

    def list_members(self, file: RangedFile) -> Iterator[Found]:
        """Yield the rows; their sizes are not known before they are read."""
        with _open(file) as parquet:
            image = self._find_image(parquet.schema_arrow)
            runs = _plan_runs(parquet.metadata, image.name)
            own = _find_own(parquet.schema_arrow, image)
            _require_same(pa.schema([each.field for each in own]), self.columns)
            values = _read_own(parquet, own) if own else itertools.repeat(())
            for row, (run, columns) in enumerate(zip(runs, values, strict=bool(own))):
                yield Found(f"{row:010}", None, row, run, columns)

    def read_members(
        self, file: RangedFile, wanted: Sequence[Wanted]
    ) -> Iterator[tuple[int, ReadResult]]:
        """Read row group by row group, from its start to the last row that is wanted."""
        with _open(file) as parquet:
            image = self._find_image(parquet.schema_arrow)
            by_row = {each.at: each for each in wanted}
            for group, first, rows in _list_groups(parquet.metadata):
                here = {row - first: by_row[row] for row in by_row if first <= row < first + rows}
                if here:
                    yield from _read_group(parquet, group, image, here)

    def _find_image(self, found: pa.Schema) -> pa.Field:
        if self.image_column:
            if self.image_column not in found.names:
                raise ContainerError(
                    f"no column {self.image_column!r}, as `image_column` wants it (its columns: "
                    f"{', '.join(found.names)})"
                )
            field = found.field(self.image_column)
            if not _holds_images(field.type):
                raise ContainerError(
                    f"column {field.name!r} holds {field.type}, and no images: bytes, or a struct "
                    "of bytes and path; name another with `image_column`"
                )
            return field
        fields = [field for field in found if _holds_images(field.type)]
        chosen = (
            [field for field in fields if pa.types.is_struct(field.type)]
            if len(fields) > 1
            else fields
        )
        if len(chosen) != 1:
            chosen = [f for name in _USUAL_NAMES for f in fields if f.name.lower() == name][:1]
        if not chosen:
            names = ", ".join(field.name for field in fields) or "none"
            raise ContainerError(
                f"no one column holds the images (columns of bytes: {names}); name it with "
                f"`image_column` (its columns: {', '.join(found.names)})"
            )
        return chosen[0]


@contextmanager
def _open(file: RangedFile) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; what pyarrow finds wrong with it is damage."""
    try:
        # Unbuffered, pyarrow would hold a whole column of a row group.
        with pq.ParquetFile(
            file, buffer_size=BLOCK_BYTES, pre_buffer=False, page_checksum_verification=True
        ) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        if not _is_damage(error):
            raise
        raise DamagedContainerError(_first_line(error)) from error


def _is_damage(error: Exception) -> bool:
    """Tell errors of pyarrow from those of storage, which have a number."""
    is_ours = isinstance(error, ContainerError)
    return not is_ours and (not isinstance(error, OSError) or error.errno is None)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _is_bytes(type_: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(type_)
        or types.is_large_binary(type_)
        or types.is_binary_view(type_)
        or types.is_fixed_size_binary(type_)
    )


def _holds_images(type_: pa.DataType) -> bool:
    if not pa.types.is_struct(type_):
        return _is_bytes(type_)
    names = [field.name for field in type_]
    return names.count(_BYTES) == 1 and _is_bytes(type_.field(_BYTES).type)


class _Own(NamedTuple):
    """A column that rides along.

    Attributes:
        field: its name and type in the dataset.
        parts: its name in the file, and that of a part of it.
    """

    field: pa.Field
    parts: tuple[str, ...]


def _find_own(found: pa.Schema, image: pa.Field) -> list[_Own]:
    """Return the plain columns, and the path beside the bytes of an image.

    A name that is one of the output's gets `source_` before it.
    """
    own = []
    for field in found:
        type_ = _plain(field.type)
        if not (pa.types.is_nested(type_) or _is_bytes(type_)):
            own.append(_Own(pa.field(_free_name(field.name), type_), (field.name,)))
    if pa.types.is_struct(image.type) and _PATH in [field.name for field in image.type]:
        path = pa.field(f"{image.name}_{_PATH}", image.type.field(_PATH).type)
        if path.name not in [each.field.name for each in own]:
            own.append(_Own(path, (image.name, _PATH)))
    return own


def _plain(type_: pa.DataType) -> pa.DataType:
    """Return the type of the values themselves, without what a writer says of them."""
    if isinstance(type_, pa.BaseExtensionType):
        return _plain(type_.storage_type)
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def _free_name(name: str) -> str:
    return f"source_{name}" if name in schema.RESERVED_NAMES else name


def _require_same(found: pa.Schema, wanted: pa.Schema) -> None:
    """Raise `ContainerError` if a file's own columns are not those of the first one."""
    if found.equals(wanted):
        return
    theirs, ours = ({f"{field.name}: {field.type}" for field in each} for each in (found, wanted))
    raise ContainerError(
        "its columns are not those of the first file; more or other ones: "
        f"{', '.join(sorted(theirs - ours)) or 'none'}; missing or other ones: "
        f"{', '.join(sorted(ours - theirs)) or 'none'}"
    )


def _read_own(parquet: pq.ParquetFile, own: Sequence[_Own]) -> Iterator[tuple[object, ...]]:
    names = [".".join(each.parts) for each in own]
    for batch in parquet.iter_batches(_LIST_ROWS, columns=names, use_threads=False):
        values = []
        for each in own:
            column = batch.column(each.parts[0])
            for part in each.parts[1:]:
                column = pc.struct_field(column, part)
            values.append(own_columns.to_python(column.cast(each.field.type)))
        yield from zip(*values, strict=True)


def _list_groups(metadata: pq.FileMetaData) -> Iterator[tuple[int, int, int]]:
    """Yield of each row group its number, its first row and how many rows it has."""
    first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        yield group, first, rows
        first += rows


def _plan_runs(metadata: pq.FileMetaData, image: str) -> Iterator[int]:
    """Yield the run of each row: runs are full, as batches of a model are, wherever groups end."""
    for group, first, rows in _list_groups(metadata):
        if rows > RUN_IMAGES:
            _require_small(metadata.row_group(group), group, image)
        yield from (row // RUN_IMAGES for row in range(first, first + rows))


def _require_small(group: pq.RowGroupMetaData, number: int, image: str) -> None:
    columns = map(group.column, range(group.num_columns))
    size_bytes = sum(
        column.total_uncompressed_size
        for column in columns
        if column.path_in_schema.split(".")[0] == image
    )
    if size_bytes > MAX_GROUP_BYTES:
        raise ContainerError(
            f"row group {number} holds {group.num_rows:,} images of {size_bytes:,} bytes, more "
            f"than {MAX_GROUP_BYTES:,}; write the file again with small row groups, such as "
            "pyarrow.parquet.write_table(table, path, row_group_size=100)"
        )


def _read_group(
    parquet: pq.ParquetFile, group: int, image: pa.Field, wanted: dict[int, Wanted]
) -> Iterator[tuple[int, ReadResult]]:
    """Read some rows of a row group; behind damage, none of it can be read."""
    is_struct = pa.types.is_struct(image.type)
    columns = [f"{image.name}.{_BYTES}" if is_struct else image.name]
    first, last, pending = 0, max(wanted), dict(wanted)
    try:
        for batch in parquet.iter_batches(
            _BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False
        ):
            for row in range(first, first + len(batch)):
                if row in pending:
                    each = pending.pop(row)
                    yield each.number, _take(batch.column(0)[row - first], each)
            first += len(batch)
            if first > last:
                return
    except (pa.ArrowException, OSError) as error:
        cause = error if isinstance(error, OSError) and not _is_damage(error) else None
        damage = cause or DamagedContainerError(f"row group {group}: {_first_line(error)}")
        yield from ((each.number, ReadResult(b"", damage, 0)) for each in pending.values())


def _take(value: pa.Scalar, wanted: Wanted) -> ReadResult:
    """Return the image of a row."""
    if isinstance(value, pa.StructScalar):
        value = value[_BYTES] if value.is_valid else None
    if value is None or not value.is_valid:
        return ReadResult(b"", _NoImageError("the row holds no bytes; no path is followed"), 0)
    return ReadResult(value.as_buffer()[: wanted.limit_bytes].to_pybytes(), None, 0)
