"""Manifests of separated values: which separator, which types, where a byte is no text.

What a column's type is, all of its rows decide: numbers, true and false, dates and times are such
if every field is one, and would not come back as something else; every other column is text, and
stays as it is written, `NA` and empty fields too. In columns that are no text these are null.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from beamvec.transforms.files import storage

UTF_8 = "utf-8"

_BLOCK_BYTES = 8 << 20
"""Of a file at a time; no row can have more."""

_HEAD_BYTES = 1 << 20
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_NULLS = sorted(pa_csv.ConvertOptions().null_values)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# Leading zeros and plus signs are of codes and phone numbers, and would be lost.
_CODE = r"^\s*[+-]?0\d|^\s*\+"
_NO_INTEGER = rf"{_CODE}|^\s*-0\s*$"

# More digits than a float holds; `12e4` is of a hexadecimal number rather than 120,000: whoever
# writes numbers with exponents writes a sign or a point into them.
_NO_FLOAT = rf"{_CODE}|^\s*[+-]?\d{{16,}}\s*$|^\s*[+-]?\d+[eE]\d+\s*$"
_NO_BOOLEAN = "^[^tTfF]"
_NO_TIME = r"^\d+:\d+$"
"""16:09 is the shape of an image as well."""


@dataclass(frozen=True)
class CsvTable:
    """A file of separated values with a header.

    Attributes:
        path: where it is.
        wanted: columns of which one should be there; by that the separator is told.
        encoding: of the text.
    """

    path: str
    wanted: tuple[str, ...] = ()
    encoding: str = UTF_8

    def find_schema(self) -> pa.Schema:
        """Read the file in full and return its columns and their types.

        Raises:
            ValueError: naming the row and the column of a byte that is no text, or what else is
                wrong; pyarrow's errors are such too.
        """
        inferred = self._infer()
        textual = {field.name for field in inferred if pa.types.is_string(field.type)}
        row, last = 0, ""
        raw = pa.schema([pa.field(name, pa.binary()) for name in inferred.names])
        for batch in self._read(raw):
            for field, values in zip(inferred, batch.columns, strict=True):
                text = self._to_text(values, field.name, row)
                if field.name not in textual and _comes_back_otherwise(text, field.type):
                    textual.add(field.name)
                last = text[-1].as_py() if len(text) else last
            row += len(batch)
        if "\n" in last and self._count_quotes() % 2:
            raise ValueError(f"row {row}: a quotation mark is never closed")
        return pa.schema(
            [
                pa.field(name, pa.string() if name in textual or type_ == pa.null() else type_)
                for name, type_ in zip(inferred.names, inferred.types, strict=True)
            ]
        )

    def read(self, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, of these columns."""
        for batch in self._read(columns):
            yield batch.select(columns.names)

    def describe_layout(self) -> str:
        """Say what separates the fields."""
        return f"separated by {_SEPARATORS[self._find_separator()]}"

    def _infer(self) -> pa.Schema:
        with storage.open_file(self.path) as file:
            types = pa_csv.ConvertOptions(column_types=dict.fromkeys(self.wanted, pa.string()))
            types.check_utf8 = False  # `find_schema` names the row.
            table = pa_csv.read_csv(file, self._reading(), self._parsing(), types)
        return table.schema

    def _read(self, columns: pa.Schema) -> Iterator[pa.RecordBatch]:
        options = pa_csv.ConvertOptions(column_types=columns)
        with storage.open_file(self.path) as file:
            yield from pa_csv.open_csv(file, self._reading(), self._parsing(), options)

    def _reading(self) -> pa_csv.ReadOptions:
        return pa_csv.ReadOptions(block_size=_BLOCK_BYTES, encoding=self.encoding)

    def _parsing(self) -> pa_csv.ParseOptions:
        # Without the second, a quoted newline at the end of a block ends a row.
        return pa_csv.ParseOptions(delimiter=self._find_separator(), newlines_in_values=True)

    def _find_separator(self) -> str:
        """Return the separator with which the header has a wanted column, or most columns."""
        with storage.open_file(self.path) as file:
            head = file.read(_HEAD_BYTES)
        if self.encoding == UTF_8 and head.startswith(_UTF_16):
            raise ValueError("the file is UTF-16; say so with `csv_encoding=utf-16`")
        text = codecs.getincrementaldecoder(self.encoding)("replace").decode(head).lstrip("\ufeff")
        names = {separator: _read_names(text, separator) for separator in _SEPARATORS}
        for separator, found in names.items():
            if set(self.wanted) & set(found):
                return separator
        return max(names, key=lambda separator: len(names[separator]))

    def _count_quotes(self) -> int:
        with storage.open_file(self.path) as file:
            return sum(block.count(b'"') for block in iter(lambda: file.read(_BLOCK_BYTES), b""))

    def _to_text(self, values: pa.Array, name: str, row: int) -> pa.Array:
        try:
            return values.cast(pa.string())
        except pa.ArrowInvalid:
            at, value = next(
                (at, value) for at, value in enumerate(values.to_pylist()) if not _is_utf_8(value)
            )
            raise ValueError(
                f"row {row + at + 1}: {name!r} is no UTF-8: {value[:40]!r}; convert the file, or "
                "say what it is, such as `csv_encoding=latin-1`"
            ) from None


def _read_names(text: str, separator: str) -> list[str]:
    try:
        return next(
            filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=separator)), []
        )
    except csv.Error:  # pyarrow tells what is wrong.
        return []


def _is_utf_8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _comes_back_otherwise(text: pa.Array, type_: pa.DataType) -> bool:
    """Tell whether some fields, as values of the type, are no longer what they are as text."""
    types = pa.types
    if types.is_null(type_):  # Nothing but empty fields and words such as NA.
        return True
    patterns = (
        (types.is_integer, _NO_INTEGER),
        (types.is_floating, _NO_FLOAT),
        (types.is_boolean, _NO_BOOLEAN),
        (types.is_time, _NO_TIME),
    )
    pattern = next((pattern for is_it, pattern in patterns if is_it(type_)), None)
    if pattern is None:
        return False
    otherwise = pc.match_substring_regex(text, pattern)
    is_null = pc.is_in(text, pa.array(_NULLS))
    return bool(pc.any(pc.and_not(otherwise, is_null)).as_py())
