"""What lists and manifests have in common: a file that names images, or a pipe in its place."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TypeVar

from beamvec.errors import InputError
from beamvec.transforms.files import storage
from beamvec.transforms.files.readers import path_of
from beamvec.transforms.inputs.kept import KeptFile, is_read_once, keep
from beamvec.transforms.inputs.source import Source
from beamvec.transforms.inputs.url_source import UrlSource

_ListFile = TypeVar("_ListFile", bound="ListFile")


@dataclass(frozen=True)
class ListFile(UrlSource):
    """A file that names images; of `-`, standard input, and of pipes what they give is kept.

    A run reads its list several times: to check it, to list the images, and again if a step is
    tried again.

    Attributes:
        kept: what a pipe gave, after `check`; None for a file.
    """

    kept: KeptFile | None = None

    @property
    def path(self) -> str:
        """Where the list is."""
        if self.kept:
            return self.kept.path
        path = path_of(self.names[0])
        return os.path.expanduser(path) if storage.is_local(path) else path

    def check(self: _ListFile) -> _ListFile:
        """Return the list with all that a run needs to know of it; a pipe is read here."""
        [name] = self.names
        kept = self.kept or (keep(self.kind, name) if is_read_once(name) else None)
        return Source.check(replace(self, kept=kept))

    def check_shared(self) -> None:
        """Raise `InputError` if it can be read by this process only."""
        [name] = self.names
        if is_read_once(name):
            raise InputError(
                f"`{self.kind}={name}` can be read here only, and the workers are on other "
                "machines; write it to a file that they can read, such as one on s3:// or gs://"
            )
