"""What came of an image file on its way out of decoding: an `Outcome`, pixels or an error."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from beamvec.redact import redact
from beamvec.transforms.decoding.pixels import DecodedImage

_MAX_MESSAGE = 300


class Cause(NamedTuple):
    """Why an image file has no pixels.

    Attributes:
        stage: where it failed, as in `Failure`: while the file was read, or decoded.
        error_type: the name of the exception, or `DecoderCrashed` or `DecoderTimeout`.
        message: one printable line of bounded length.
    """

    stage: Literal["read", "decode"]
    error_type: str
    message: str


class Outcome(NamedTuple):
    """What came of an image file: exactly one of `image` and `error` is set.

    Attributes:
        image: the pixels, and what is known of the picture.
        error: why there are none.
        size_bytes: size of the file, None where nobody came so far as to know.
        sha256: of its content, in hex; empty where nobody came so far.
        read_s: seconds of reading it, summed over its tries.
        decode_s: seconds of decoding it, likewise.
        read_retries: how often reading was tried again after a transient error.
    """

    image: DecodedImage | None
    error: Cause | None
    size_bytes: int | None = None
    sha256: str = ""
    read_s: float = 0.0
    decode_s: float = 0.0
    read_retries: int = 0

    def add_effort(self, read_s: float, decode_s: float = 0.0, read_retries: int = 0) -> Outcome:
        """Return the outcome with what reading or another try took before.

        >>> cut = Outcome(None, Cause("decode", "OSError", "cut"), read_s=1, decode_s=3)
        >>> cut.add_effort(2, read_retries=1)[4:]
        (3, 3.0, 1)
        """
        return self._replace(
            read_s=self.read_s + read_s,
            decode_s=self.decode_s + decode_s,
            read_retries=self.read_retries + read_retries,
        )


def describe_error(error: BaseException) -> tuple[str, str]:
    r"""Return an error's type and its message: one printable line, bounded, repeatable.

    >>> describe_error(ValueError("bad\nimage"))
    ('ValueError', 'bad image')
    """
    text = str(error) or "no message"
    # Pillow names the file object, whose address differs from run to run.
    text = re.sub(r" ?<_io\.BytesIO object at 0x[0-9a-f]+>", "", text)
    text = redact(text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return type(error).__name__, text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "…"
