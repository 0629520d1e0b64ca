"""What is decoded again, and when it is given up: the one place that decides this.

Transient errors of storage are not met here: whoever reads has retried them already.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from beamvec.transforms.decoding.decoder import CRASHED, DecoderDiedError
from beamvec.transforms.decoding.outcome import Cause, Outcome
from beamvec.transforms.decoding.reading import ImageFile, read_file
from beamvec.transforms.files.readers import ImageReader

Ask = Callable[[Sequence[ImageFile]], list[Outcome]]
"""Has a decoder decode some images, and raises `DecoderDiedError` if they bring it down."""


def decode_with_retries(
    parcel: Sequence[ImageFile], ask: Ask, reader: ImageReader
) -> list[Outcome]:
    """Decode the images of a parcel, whatever some of them do to the decoder.

    - A parcel that brings the decoder down is decoded image by image, to tell which it was.
    - A lone image on which the decoder crashes is decoded once more: the process may have been
      killed for another reason, such as a lack of memory. One that takes too long is not, as it
      would again.
    - A local file that the decoder cannot read is read by `reader`, which tells errors apart and
      retries those that pass.

    Args:
        parcel: the images; for those that could not be read, the outcome is that error.
        ask: decodes some of them.
        reader: reads what the decoder could not.

    Returns:
        An outcome for each image, in their order.
    """
    decoded = iter(_decode_sent([source for source in parcel if not source.error], ask))
    outcomes = [source.fail(source.error) if source.error else next(decoded) for source in parcel]
    return [
        _read_here(source, outcome, ask, reader) if _is_unread(source, outcome) else outcome
        for source, outcome in zip(parcel, outcomes, strict=True)
    ]


def _decode_sent(sent: Sequence[ImageFile], ask: Ask) -> list[Outcome]:
    if len(sent) > 1:
        with contextlib.suppress(DecoderDiedError):
            return ask(sent)
    return [_decode_lone(source, ask) for source in sent]


def _decode_lone(source: ImageFile, ask: Ask) -> Outcome:
    start = time.perf_counter()
    try:
        try:
            return ask([source])[0]
        except DecoderDiedError as death:
            if death.error_type != CRASHED:
                raise
            return ask([source])[0]
    except DecoderDiedError as death:
        error = Cause("decode", death.error_type, str(death))
        return source.fail(error, decode_s=time.perf_counter() - start)


def _is_unread(source: ImageFile, outcome: Outcome) -> bool:
    was_path = isinstance(source.content, str)
    return was_path and outcome.error is not None and outcome.error.stage == "read"


def _read_here(source: ImageFile, first: Outcome, ask: Ask, reader: ImageReader) -> Outcome:
    # What is read here is no path any more, so this comes to an end.
    [outcome] = decode_with_retries([read_file(source.ref, reader)], ask, reader)
    return outcome.add_effort(first.read_s, first.decode_s)
