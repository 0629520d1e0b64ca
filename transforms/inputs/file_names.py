"""Names of files: which are images, and as what the others are counted."""

from __future__ import annotations

import os
import re
from collections import Counter

IMAGE_EXTENSIONS = frozenset(
    ".apng .avif .avifs .bmp .dds .dib .gif .heic .heics .heif .heifs .hif .ico .j2c .j2k .jfif"
    " .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .jxl .mpo .pbm .pcx .pgm .pjp .pjpeg .png .pnm .ppm .qoi"
    " .sgi .tga .tif .tiff .webp".split()
)
"""What a folder is searched for, in any case. Those that this Pillow cannot decode are meant to
end as failures: a folder of HEIC photographs must not look like an empty one."""

APPLE_DOUBLE = "._*"
"""What macOS puts beside each file on disks of others: `._x.jpg` holds no image."""

APPLE_FOLDER = "__MACOSX"
"""Where macOS puts the same in a zip."""

OTHER = "other"
_MOST_EXTENSIONS = 100
_ORDINARY = re.compile(r"\.[a-z0-9_+-]{1,12}")
_NUMBER = re.compile(r"\.\d+")


def is_image_name(path: str) -> bool:
    """Tell whether a folder's file is an image, by its extension."""
    return os.path.splitext(path)[1].lower() in IMAGE_EXTENSIONS


def find_apple(path: str) -> str:
    """Return as what a file is counted that macOS has put there, empty for any other.

    >>> find_apple("usb/._a.jpg"), find_apple("zip/__MACOSX/a.jpg"), find_apple("a.jpg")
    ('._*', '__MACOSX', '')
    """
    *folders, name = path.split("/")
    return APPLE_FOLDER if APPLE_FOLDER in folders else APPLE_DOUBLE if name[:2] == "._" else ""


class Skipped:
    """Counts files that were not looked at by extension, of which there may be any number."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, path: str) -> None:
        """Count a file."""
        kind = find_apple(path) or _name_extension(path)
        is_known = kind in self.counts or len(self.counts) < _MOST_EXTENSIONS
        self.counts[kind if is_known else OTHER] += 1


def _name_extension(path: str) -> str:
    """Return the extension in lower case; those of numbers and sentences are cut.

    >>> [_name_extension(name) for name in ("a.TXT", "a.0042", "a.png?w=100", "a")]
    ['.txt', '.0', '.png?', '']
    """
    extension = os.path.splitext(path)[1].lower()
    ordinary = _ORDINARY.match(extension)
    if _NUMBER.fullmatch(extension):
        return ".0"
    if not ordinary:
        return extension[:2]
    return extension[: ordinary.end() + 1]
