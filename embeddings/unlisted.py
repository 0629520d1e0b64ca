"""What listing an input has left out: `Unlisted`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from beamvec.embeddings.counted import counted

NAMED = 5
"""How many folders are named."""


@dataclass(frozen=True)
class Unlisted:
    """What listing an input has left out; those of disjoint parts of it add up.

    Attributes:
        files: files of folders that were not looked at, by extension in lower case; empty for none,
            `._*` and `__MACOSX` for what macOS puts beside files.
        folders: folders that could not be read.
        named: the first of those in alphabetical order, and why.
    """

    files: dict[str, int] = field(default_factory=dict)
    folders: int = 0
    named: tuple[str, ...] = ()

    def __add__(self, other: Unlisted) -> Unlisted:
        """Add what was left out of another part of the input."""
        return Unlisted(
            dict(sorted((Counter(self.files) + Counter(other.files)).items())),
            self.folders + other.folders,
            tuple(sorted(self.named + other.named)[:NAMED]),
        )

    @property
    def count(self) -> int:
        """How many files were not looked at."""
        return sum(self.files.values())

    def describe_folders(self) -> str:
        """Describe the folders.

        >>> Unlisted(folders=1, named=("/a: Permission denied",)).describe_folders()
        '1 folder that could not be read: /a: Permission denied'
        """
        more = ", ..." if self.folders > len(self.named) else ""
        folders = counted(self.folders, "folder")
        return f"{folders} that could not be read: {', '.join(self.named)}{more}"

    def describe_files(self, most: int = 8) -> str:
        """Describe the files by extension, the most frequent first.

        >>> Unlisted({"": 1, ".txt": 2}).describe_files()
        '3 files not looked at: 2 x .txt, 1 x no extension'
        """
        in_order = sorted(self.files.items(), key=lambda item: (-item[1], item[0]))
        shown = [f"{count:,} x {name or 'no extension'}" for name, count in in_order[:most]]
        more = ", ..." if len(in_order) > most else ""
        return f"{counted(self.count, 'file')} not looked at: {', '.join(shown)}{more}"
