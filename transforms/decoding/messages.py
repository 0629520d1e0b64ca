"""What a `DecoderPool` and its processes say to each other: `Signal`, `Request` and `Answer`.

A message is JSON, whose fields all have names, and a body of bytes: the contents of files. Pixels
go by `shared.PixelMemory`. Nothing is ever unpickled: a process that a hostile image has taken over
could send anything.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np

from beamvec.transforms.decoding.outcome import Cause, Outcome
from beamvec.transforms.decoding.pixels import DecodedImage
from beamvec.transforms.decoding.resize import Resizing

_ELSEWHERE = np.empty((0, 0, 3), np.uint8)

_LENGTHS = struct.Struct("<IQ")
"""What a message starts with: the lengths of its JSON and of its body, in bytes."""


@dataclass(frozen=True)
class Request:
    """Decode the files of a parcel, one after the other.

    Attributes:
        resizing: how they become square.
        files: for each its content, or the path of a local file, which the process reads itself.
    """

    resizing: Resizing
    files: Sequence[bytes | str]

    def to_json(self) -> dict[str, Any]:
        """Return the fields; of a content only its length, as the body has it.

        >>> Request(Resizing(8, "pad"), ["a.jpg", b"GIF89a"]).to_json()["files"]
        [{'path': 'a.jpg'}, {'length': 6}]
        """
        files = [{"path": f} if isinstance(f, str) else {"length": len(f)} for f in self.files]
        return {"resizing": self.resizing, "files": files}

    def body(self) -> list[bytes]:
        """Return the contents."""
        return [file for file in self.files if isinstance(file, bytes)]

    @classmethod
    def from_json(cls, fields: dict[str, Any], body: bytes) -> Request:
        """Restore a request from its fields and its body."""
        files: list[bytes | str] = []
        start = 0
        for file in fields["files"]:
            if "path" in file:
                files.append(file["path"])
            else:
                files.append(body[start : start + file["length"]])
                start += file["length"]
        return cls(Resizing(*fields["resizing"]), files)


@dataclass(frozen=True)
class Signal:
    """A word of a process, or to it.

    Attributes:
        word: `ready`, of a process that can be asked; `turn`, of one that waits until there is room
            for a large image, and to it when there is.
        size_bytes: of `turn`, how much memory the image takes.
    """

    word: Literal["ready", "turn"]
    size_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return {"word": self.word, "size_bytes": self.size_bytes}

    def body(self) -> list[bytes]:
        """Return nothing."""
        return []

    @classmethod
    def from_json(cls, fields: dict[str, Any], body: bytes) -> Signal:
        """Restore a signal from its fields."""
        assert not body
        return cls(**fields)


@dataclass(frozen=True)
class Answer:
    """What came of the files of a request, in their order.

    Attributes:
        outcomes: one for each file, without their pixels. An error of stage `read` says that the
            process could not read a file; whoever asked may still be able to.
    """

    outcomes: Sequence[Outcome]

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return {"outcomes": [_outcome_to_json(outcome) for outcome in self.outcomes]}

    def body(self) -> list[bytes]:
        """Return nothing."""
        return []

    @classmethod
    def from_json(cls, fields: dict[str, Any], body: bytes) -> Answer:
        """Restore an answer."""
        assert not body
        return cls([_outcome_from_json(outcome) for outcome in fields["outcomes"]])


def _outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    fields = outcome._asdict()
    image, error = fields.pop("image"), fields.pop("error")
    if image:
        fields["image"] = {"width": image.width, "height": image.height, "format": image.format}
    if error:
        fields["error"] = error._asdict()
    return fields


def _outcome_from_json(fields: dict[str, Any]) -> Outcome:
    image, error = fields.pop("image", None), fields.pop("error", None)
    return Outcome(
        DecodedImage(_ELSEWHERE, **image) if image else None,
        Cause(**error) if error else None,
        **fields,
    )


Message = Signal | Request | Answer
_KINDS: dict[str, type[Message]] = {"signal": Signal, "request": Request, "answer": Answer}
_NAMES = {kind: name for name, kind in _KINDS.items()}


# Without the search for circles, as tiny images are so many that it counts.
_ENCODE = json.JSONEncoder(check_circular=False).encode


def send(connection: socket.socket, message: Message) -> None:
    """Send a message, in one piece: a small one costs a single system call."""
    text = _ENCODE({"kind": _NAMES[type(message)], **message.to_json()}).encode()
    body = message.body()
    header = _LENGTHS.pack(len(text), sum(map(len, body)))
    connection.sendall(b"".join((header, text, *body)))


def receive(stream: BinaryIO) -> Message:
    """Wait for a message.

    Raises:
        EOFError: if the other side has closed the connection.
        TimeoutError: after the connection's own timeout.
    """
    text_length, body_length = _LENGTHS.unpack(_read(stream, _LENGTHS.size))
    fields = json.loads(_read(stream, text_length))
    return _KINDS[fields.pop("kind")].from_json(fields, _read(stream, body_length))


def _read(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data
