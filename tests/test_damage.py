"""Files that claim what they cannot hold."""

from __future__ import annotations

import dataclasses
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import samples
from beamvec.embeddings import DatasetError, open_dataset
from beamvec.embeddings.run_record import MAX_BYTES
from beamvec.pipeline.commands.main import main

ROWS = 1000
CLAIMED = 10**9
_LIMIT_BYTES = 4 << 30

READ_ALL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
import pyarrow.compute as pc
from beamvec.embeddings import DatasetError, open_dataset
from beamvec.pipeline.commands.main import main
dataset = open_dataset({path!r})
for read in (
    lambda: dataset.read_vectors(),
    lambda: dataset.read_uris(),
    lambda: dataset.read_metadata(),
    lambda: dataset.read_embeddings(),
    lambda: list(dataset.read_batches()),
    lambda: dataset.take([0]),
    lambda: dataset.lookup("00001.jpg"),
    lambda: dataset.find_rows_where(pc.field("width") > 0),
):
    try:
        read()
    except DatasetError as error:
        print(error)
for command in (["inspect"], ["inspect", "--verify"], ["duplicates"], ["search", "--uri", "x"]):
    code = main([command[0], {path!r}, *command[1:]])
    assert code in (1, 2), (command, code)
"""


def varint(number: int) -> bytes:
    """Encode a number as Thrift's compact protocol does."""
    number, encoded = number << 1, b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


def claim_rows(path: Path, rows: int, claimed: int) -> None:
    """Make a Parquet file's footer tell of another number of rows, in all places."""
    content = path.read_bytes()
    (size,) = struct.unpack("<I", content[-8:-4])
    start = len(content) - 8 - size
    # 0x16 is a field of 64 bits, one after the field before.
    footer = content[start:-8].replace(b"\x16" + varint(rows), b"\x16" + varint(claimed))
    assert footer != content[start:-8]
    path.write_bytes(content[:start] + footer + struct.pack("<I", len(footer)) + b"PAR1")


@pytest.fixture
def made(tmp_path):
    """A dataset of 1,000 rows in one part."""
    vectors = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
    samples.write_dataset(tmp_path / "d", vectors, parts=1)
    return tmp_path / "d"


def claim(folder: Path, **changes: object) -> None:
    """Change the record of a dataset, and sign it."""
    record = open_dataset(folder).run
    samples.write_record(folder, dataclasses.replace(record, **changes))


def read_in_little_memory(folder: Path) -> str:
    """Read a dataset in every way in 4 GiB of addresses, and return what is told."""
    code = READ_ALL.format(limit=_LIMIT_BYTES, path=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_a_billion_rows_that_a_footer_tells_of_are_refused(made):
    claim_rows(next((made / "embeddings").iterdir()), ROWS, CLAIMED)
    claim(made, counts=dataclasses.replace(open_dataset(made).run.counts, embeddings=CLAIMED))
    samples.sign(made)
    told = read_in_little_memory(made)
    assert told.count("its footer tells of 1,000,000,000 rows, which") >= 8


def test_a_billion_failures_that_a_footer_tells_of_are_refused(tmp_path):
    samples.write_dataset(tmp_path, np.ones((2, 3), np.float32), parts=1, failures=ROWS)
    claim_rows(next((tmp_path / "failures").iterdir()), ROWS, CLAIMED)
    samples.sign(tmp_path)
    with pytest.raises(DatasetError, match="its footer tells of 1,000,000,000 rows, which"):
        open_dataset(tmp_path).read_failures()
    for command in (["inspect"], ["inspect", "--verify"], ["report", "--html", "page.html"]):
        assert main([command[0], str(tmp_path), *command[1:]]) in (1, 2)


def test_some_more_rows_than_there_are_is_damage(made):
    """As many as the file might hold are not read as rows that nobody wrote."""
    claim_rows(next((made / "embeddings").iterdir()), ROWS, ROWS + 50)
    claim(made, counts=dataclasses.replace(open_dataset(made).run.counts, embeddings=ROWS + 50))
    samples.sign(made)
    told = read_in_little_memory(made)
    assert told.count("is damaged: 1,000 rows were read, its footer tells of 1,050") >= 8


@pytest.mark.parametrize("dimension", [2**31 - 1, 2**20])
def test_a_dimension_that_no_file_can_have_is_refused(made, dimension):
    claim(made, dimension=dimension)
    assert "cannot hold" in read_in_little_memory(made)


def test_rows_that_only_the_record_tells_of_take_no_memory(made):
    claim(made, counts=dataclasses.replace(open_dataset(made).run.counts, embeddings=CLAIMED))
    assert "hold 1,000 rows, run.json tells of 1,000,000,000" in read_in_little_memory(made)


def test_few_rows_of_many_numbers_are_grouped(tmp_path):
    vectors = np.zeros((3, 1 << 18), np.float32)
    vectors[:, :2] = [[1, 0], [0, 1], [1, 0.01]]
    samples.write_dataset(tmp_path, vectors, parts=1)
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({_LIMIT_BYTES},) * 2)\n"
        "import sys; from beamvec.pipeline.commands.main import main\n"
        f"sys.exit(main(['duplicates', {str(tmp_path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "2 of 3 images are in 1 group " in done.stdout


def test_a_record_of_a_gigabyte_is_refused_before_it_is_parsed(made):
    os.truncate(made / "run.json", 1 << 30)
    with pytest.raises(DatasetError, match=r"run\.json is damaged"):
        open_dataset(made)
    samples.write_record(made, b"[" * (MAX_BYTES + 1))
    with pytest.raises(DatasetError, match=r"run\.json is damaged"):
        open_dataset(made)


def test_a_part_that_is_no_file_is_refused(made):
    os.mkfifo(made / "embeddings" / "part-00001-of-00002.parquet")
    with pytest.raises(DatasetError, match=r"part-00001-of-00002\.parquet is no file"):
        open_dataset(made)
