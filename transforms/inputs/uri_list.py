"""Lists: text files with one URI a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from beamvec.errors import InputError
from beamvec.transforms.files import storage
from beamvec.transforms.inputs.look_up import look_up
from beamvec.transforms.inputs.url_source import UrlSource
from beamvec.transforms.records.images import ImageRef
from beamvec.transforms.records.own_columns import NO_COLUMNS


@dataclass(frozen=True)
class UriList(UrlSource):
    """A text file with one URI a line; blank lines do not count.

    URIs stay as they are written, so that they join with the user's own tables.
    """

    kind = "input_list"
    metavar = "FILE"
    help = "a text file with one URI a line"

    def find_columns(self) -> pa.Schema:
        """Look whether there is a first line."""
        (path,) = self.names
        try:
            first = next(storage.read_lines(path), None)
        except OSError as error:
            raise InputError(f"cannot read `input_list={path}`: {error}") from error
        if first is None:
            raise InputError(f"`input_list={path}` is empty: it needs one URI a line")
        return NO_COLUMNS

    def list_images(self) -> Iterator[ImageRef]:
        """Yield a ref a line."""
        for path in self.names:
            for line in storage.read_lines(path):
                yield look_up(line.strip())
