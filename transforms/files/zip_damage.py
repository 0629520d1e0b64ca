"""What `zipfile` makes of an archive in which bytes have changed, or are missing: `ZIP_DAMAGES`."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

ZIP_DAMAGES = (
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zlib.error,
)
"""`RuntimeError`: encryption, and methods that it does not know; `KeyError`: a file that is not
there; `ValueError`: names and places that cannot be."""
