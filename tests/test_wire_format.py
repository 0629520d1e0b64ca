"""Protocol buffers read without their classes: as the classes read them, and damage told."""

from __future__ import annotations

import contextlib
import random

import pytest
from google.protobuf import descriptor_pb2

from beamvec.transforms.files.wire_format import DamagedError, Message, open_message


def message_of(data: bytes) -> Message:
    return Message(data, 0, len(data))


def numbers(data: bytes) -> list[tuple[int, str]]:
    return [(number, value.text()) for number, value in message_of(data)]


def test_fields_are_those_that_the_classes_wrote():
    file = descriptor_pb2.FileDescriptorProto(name="a.proto", dependency=["b", "c" * 300])
    file.message_type.add(name="M").field.add(name="f", number=7, json_name="é")
    file.options.cc_enable_arenas = True
    message = message_of(file.SerializeToString())
    assert message.read(1) == "a.proto"
    assert [value.text() for value in message.find(3)] == ["b", "c" * 300]
    assert [field.read(10) for field in message.find(4, 2)] == ["é"]
    assert message.read(99) == ""


def test_other_types_are_stepped_over():
    varint, fixed32, fixed64 = "08ffffffffffffffffff01", "15ffffffff", "19" + "ff" * 8
    assert numbers(bytes.fromhex(varint + fixed32 + fixed64 + "220161")) == [(4, "a")]


def test_a_tag_may_be_longer_than_it_must():
    assert numbers(bytes.fromhex("8a8000810061")) == [(1, "a")]


def test_of_a_string_that_is_given_twice_the_last_counts_and_both_are_found():
    message = message_of(bytes.fromhex("0a01610a0162"))
    assert message.read(1) == "b"
    assert [value.text() for value in message.find(1)] == ["a", "b"]


def test_text_that_is_no_utf_8_is_shown():
    assert message_of(b"a\xff").text() == "a\\xff"


@pytest.mark.parametrize(
    "data",
    [
        "0a",  # No length.
        "0a05616263",  # Shorter than it says.
        "0b",  # A group.
        "0e",  # A type that there is not.
        "15ffff",
        "19ffff",
        "08",
        "08ffffffffffffffffffff01",  # A number of eleven bytes.
        "ff",
    ],
)
def test_damage_is_told(data):
    with pytest.raises(DamagedError, match="byte"):
        numbers(bytes.fromhex(data))


def test_any_bytes_are_read_or_told_to_be_damaged():
    source = random.Random(0)
    for _ in range(2000):
        with contextlib.suppress(DamagedError):
            assert all(number >= 0 for number, _ in message_of(source.randbytes(20)))


def test_a_file_is_read_where_it_lies(tmp_path):
    (tmp_path / "full").write_bytes(bytes.fromhex("0a0161"))
    (tmp_path / "empty").write_bytes(b"")
    with open_message(str(tmp_path / "full")) as message:
        assert message.read(1) == "a"
    with open_message(str(tmp_path / "empty")) as message:
        assert list(message) == []
