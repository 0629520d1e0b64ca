"""Lists: text files with one URI a line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from beamvec.errors import InputError
from beamvec.transforms.files import storage
from beamvec.transforms.inputs.list_file import ListFile
from beamvec.transforms.inputs.look_up import look_up
from beamvec.transforms.records.images import ImageRef
from beamvec.transforms.records.own_columns import NO_COLUMNS


@dataclass(frozen=True)
class UriList(ListFile):
    """A text file with one URI a line; blank lines do not count.

    URIs stay as they are written, so that they join with the user's own tables.

    Attributes:
        base_folder: where relative paths counted from when the list was read; empty for now, when
            it is the working folder.
    """

    base_folder: str = ""

    kind = "input_list"
    metavar = "FILE"
    help = "a text file with one URI a line; - for standard input"

    def find_columns(self) -> pa.Schema:
        """Look whether there is a first line."""
        [name] = self.names
        try:
            first = next(storage.read_lines(self.path), None)
        except OSError as error:
            raise InputError(f"cannot read `input_list={name}`: {error}") from error
        if first is None and not self.allow_empty:
            raise InputError(
                f"`input_list={name}` is empty: it needs one URI a line, or `allow_empty=True`"
            )
        return NO_COLUMNS

    @property
    def folder(self) -> str:
        """Where relative paths count from."""
        return self.base_folder or os.getcwd()

    def find_again(self, ref: ImageRef) -> ImageRef:
        """Return the ref of an image where the list had it."""
        return look_up(ref.uri, ref.columns, self.base_folder) if self.base_folder else ref

    def list_images(self) -> Iterator[ImageRef]:
        """Yield a ref a line."""
        for line in storage.read_lines(self.path):
            yield look_up(line.strip())
