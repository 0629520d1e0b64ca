"""TFRecord files of `tf.train.Example`, read without TensorFlow: `TFRecordFiles`.

A uri is the file's path, `#` and the record's number with zeros before it, so that the order of
names is that of records. A record is its length (uint64), the length's checksum, its data and their
checksum: https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from beamvec.transforms.files.ranges import Range, RangedFile, buffered, read_ranges
from beamvec.transforms.files.storage import ReadResult
from beamvec.transforms.files.wire_format import DamagedError, Message
from beamvec.transforms.inputs.containers import (
    RUN_IMAGES,
    ContainerError,
    Containers,
    DamagedContainerError,
    Found,
    Wanted,
)
from beamvec.transforms.inputs.source import Option
from beamvec.transforms.records.own_columns import NO_COLUMNS

USUAL_FEATURES = ("image/encoded", "image", "jpg")
"""What the image is called by TPU and object detection pipelines, tensorflow_datasets, img2dataset;
the first that an example has counts."""

_LENGTH = struct.Struct("<QL")
_CHECKSUM = struct.Struct("<L")

# Field numbers of tensorflow/core/example/example.proto and feature.proto.
_ENTRIES = (1, 1)
_KEY = 1
_VALUES = (2, 1, 1)


class _NoImageError(OSError):
    """A record holds no image."""


@dataclass(frozen=True)
class TFRecordFiles(Containers):
    """TFRecord files with an image an example.

    Attributes:
        image_feature: the feature that is the image; empty for the usual ones.
    """

    image_feature: str = ""

    kind = "input_tfrecord"
    help = "TFRecord files of tf.train.Example: files, folders or quoted globs; repeatable"
    options = (
        Option(
            "image_feature",
            "NAME",
            "the image of a TFRecord example (image/encoded, ...)",
            finds=True,
        ),
    )
    extensions = (".tfrecord", ".tfrecords")

    def look_at(self, file: RangedFile) -> pa.Schema | None:
        """Look whether the first record has an image."""
        first = next(_list_records(file), None)
        if first is None:
            return None
        [(_, data)] = read_ranges(file, [first])
        try:
            self._take(data, first)
        except _NoImageError as error:
            raise ContainerError(f"record 0: {error}; name it with `image_feature`") from error
        except OSError:
            pass  # Damage of one record is told where it is read.
        return NO_COLUMNS

    def list_members(self, file: RangedFile) -> Iterator[Found]:
        """Go from length to length; the sizes of images are not known before they are read."""
        for number, part in enumerate(_list_records(file)):
            yield Found(f"{number:010}", None, part, number // RUN_IMAGES)

    def read_members(
        self, file: RangedFile, wanted: Sequence[Wanted]
    ) -> Iterator[tuple[int, ReadResult]]:
        """Read records, neighbours in one read, and check them."""
        for i, data in read_ranges(file, [each.at for each in wanted]):
            each = wanted[i]
            try:
                image = self._take(data, each.at)
                result = ReadResult(image[: each.limited(len(image))], None, 0)
            except OSError as error:
                result = ReadResult(b"", error, 0)
            yield each.number, result

    def _take(self, data: bytes | OSError, part: Range) -> bytes:
        """Return the image of a record, which has its checksum behind it."""
        if isinstance(data, OSError):
            raise data
        if len(data) < part.size or not _is_whole(data[: -_CHECKSUM.size], data[-_CHECKSUM.size :]):
            raise DamagedContainerError(f"the record at byte {part.start:,} has another checksum")
        example = Message(data, 0, len(data) - _CHECKSUM.size)
        try:
            return self._find_image(example)
        except DamagedError as error:
            where = f"the record at byte {part.start:,}"
            raise _NoImageError(f"{where} is no tf.train.Example: {error}") from error

    def _find_image(self, example: Message) -> bytes:
        values = {
            entry.read(_KEY): next(entry.find(*_VALUES), None) for entry in example.find(*_ENTRIES)
        }
        for name in (self.image_feature,) if self.image_feature else USUAL_FEATURES:
            found = values.get(name)
            if found is not None:
                return bytes(found.data[found.start : found.end])
        wanted = self.image_feature or ", ".join(USUAL_FEATURES)
        there = ", ".join(sorted(values)) or "none"
        raise _NoImageError(f"no feature {wanted} with bytes (its features: {there})")


def _list_records(file: RangedFile) -> Iterator[Range]:
    """Yield where the data of each record and its checksum are.

    Raises:
        DamagedContainerError: where a length is damaged or cut: what lies behind cannot be told.
    """
    with buffered(file) as source:
        at = 0
        while at < file.size_bytes:
            source.seek(at)
            header = source.read(_LENGTH.size)
            if len(header) < _LENGTH.size or not _is_whole(header[:8], header[8:]):
                raise DamagedContainerError(f"no record begins at byte {at:,}")
            part = Range(at + _LENGTH.size, _LENGTH.unpack(header)[0] + _CHECKSUM.size)
            if part.end > file.size_bytes:
                raise DamagedContainerError(
                    f"the record at byte {at:,} is cut: the file ends at byte {file.size_bytes:,}"
                )
            yield part
            at = part.end


def _is_whole(data: bytes, checksum: bytes) -> bool:
    """Compare data with their checksum: TFRecord's, a CRC-32C that is rotated and added to."""
    import google_crc32c  # Here, so that whoever reads nothing of it does not wait.

    crc = google_crc32c.value(data)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return _CHECKSUM.pack(masked) == checksum
