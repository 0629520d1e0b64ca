"""Every name in the folder of a dataset, and the states that such a folder can be in.

A finished dataset is::

    embeddings/part-00000-of-00012.parquet   one row an embedded image
    failures/part-00000-of-00012.parquet     one row an image that could not be embedded
    _inputs/part-00000-of-00012.parquet      size and time of each embedded image, for appends
    run.json                                 the record of the run, see `run_record`; it has the
                                             SHA-256 of each file above
    _SUCCESS                                 written last: the SHA-256 of run.json
    _int8/<SHA-256 of the file>.zip          of precision int8: the model that made it, see
                                             `beamvec.transforms.inference.int8_file`

While a run works there, it holds beside them::

    _LOCK                                    who holds the folder
    chunks/<digest>.parquet                  a finished chunk
    chunks/run.json                          who works here on what: the record of the run so far,
                                             and, once all is computed, what is left to do
    chunks/total.json                        how many images the input names
    chunks/parts/<token>/<table>/            the parts of the run, until they are whole
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import Enum

EMBEDDINGS_DIR = "embeddings"
FAILURES_DIR = "failures"
INPUTS_DIR = "_inputs"
INT8_DIR = "_int8"
TABLE_DIRS = (EMBEDDINGS_DIR, FAILURES_DIR, INPUTS_DIR)
RUN_FILE = "run.json"
SUCCESS_FILE = "_SUCCESS"
LOCK_FILE = "_LOCK"
CHUNKS_DIR = "chunks"
OWN_DIRS = (*TABLE_DIRS, INT8_DIR, CHUNKS_DIR)
OWN_FILES = (RUN_FILE, SUCCESS_FILE, LOCK_FILE)

_SETTINGS_FILE = "settings.json"
_TOTAL_FILE = "total.json"
_PUBLICATION_FILE = "publish.json"
_PARTS_DIR = "parts"

PART_SUFFIX = ".parquet"


def is_own_name(name: str) -> bool:
    """Tell whether a name right below an output folder is one that beamvec gives.

    >>> is_own_name("embeddings"), is_own_name("_LOCK.0123.tmp"), is_own_name("photo.jpg")
    (True, True, False)
    """
    temporary = name.endswith(".tmp") and name.startswith(tuple(f"{own}." for own in OWN_FILES))
    return name in OWN_DIRS or name in OWN_FILES or temporary


class FolderState(Enum):
    """What the folder of a dataset holds."""

    EMPTY = "empty"
    UNFINISHED = "unfinished"
    PUBLISHING = "publishing"
    FINISHED = "finished"


WORK_FILES = (RUN_FILE, _SETTINGS_FILE, _TOTAL_FILE, _PUBLICATION_FILE)
"""Names beside the chunk files."""


@dataclass(frozen=True)
class Layout:
    """The paths in the folder of a dataset.

    Attributes:
        path: the folder, local or a URI, without a slash at its end.

    >>> Layout("gs://bucket/dataset").chunk_file("ab")
    'gs://bucket/dataset/chunks/ab.parquet'
    """

    path: str

    def table(self, name: str) -> str:
        """The folder of a table, one of `TABLE_DIRS`."""
        return f"{self.path}/{name}"

    @property
    def run_file(self) -> str:
        """The record of the run that made the dataset."""
        return f"{self.path}/{RUN_FILE}"

    @property
    def success_file(self) -> str:
        """The mark of a finished dataset."""
        return f"{self.path}/{SUCCESS_FILE}"

    @property
    def lock_file(self) -> str:
        """Who holds the folder."""
        return f"{self.path}/{LOCK_FILE}"

    @property
    def chunks(self) -> str:
        """The folder of a run's chunk files and notes, which is removed at its end."""
        return f"{self.path}/{CHUNKS_DIR}"

    def chunk_file(self, digest: str) -> str:
        """The file of a chunk."""
        return f"{self.chunks}/{digest}{PART_SUFFIX}"

    def int8_file(self, sha256: str) -> str:
        """The file of a quantised model."""
        return f"{self.path}/{INT8_DIR}/{sha256}.zip"

    @property
    def begun_file(self) -> str:
        """The record of the run that the chunk files belong to, and of who is at work."""
        return f"{self.chunks}/{RUN_FILE}"

    @property
    def old_begun_file(self) -> str:
        """What stood for `begun_file` in format 1."""
        return f"{self.chunks}/{_SETTINGS_FILE}"

    @property
    def total_file(self) -> str:
        """The number of images that the input names, for whoever shows progress."""
        return f"{self.chunks}/{_TOTAL_FILE}"

    @property
    def old_publication_file(self) -> str:
        """What was left to do once the parts of an append were whole, until format 2."""
        return f"{self.chunks}/{_PUBLICATION_FILE}"

    def staged(self, token: str = "") -> Layout:
        """Where the tables of a run are written, until they are whole.

        Args:
            token: names whoever writes there; empty for all of them.

        >>> Layout("dataset").staged("ab").path
        'dataset/chunks/parts/ab'
        """
        return Layout("/".join(filter(None, (self.chunks, _PARTS_DIR, token))))


def success_content(run: bytes) -> bytes:
    r"""Return the content of `_SUCCESS` beside a `run.json`: a line that `sha256sum -c` takes.

    >>> success_content(b"{}")[-11:]
    b'  run.json\n'
    """
    return f"{hashlib.sha256(run).hexdigest()}  {RUN_FILE}\n".encode()


_PART_NAME = re.compile(r"part-(a\d{4,}-)?\d{5,}-of-\d{5,}\.parquet")


def is_part_name(name: str) -> bool:
    """Tell whether a file has the name of a part.

    >>> is_part_name("part-00003-of-00012.parquet"), is_part_name("part-0.parquet")
    (True, False)
    """
    return _PART_NAME.fullmatch(name) is not None


_CHUNK_NAME = re.compile(r"[0-9a-f]{64}\.parquet")


def is_chunk_name(name: str) -> bool:
    """Tell whether a file in the folder of chunk files has the name of one."""
    return _CHUNK_NAME.fullmatch(name) is not None


def part_name(index: int, count: int, generation: int = 0) -> str:
    """Name part `index` of `count`; parts of the n-th append have generation n.

    >>> part_name(3, 12), part_name(0, 1, 2)
    ('part-00003-of-00012.parquet', 'part-a0002-00000-of-00001.parquet')
    """
    appended = f"a{generation:04d}-" if generation else ""
    return f"part-{appended}{index:05d}-of-{count:05d}{PART_SUFFIX}"
