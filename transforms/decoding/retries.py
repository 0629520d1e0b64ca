"""What is decoded again, and when it is given up: the one place that decides this.

Transient errors of storage are not met here: whoever reads has retried them already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from beamvec.transforms.decoding.decoder import CRASHED, TIMED_OUT, DecoderDiedError
from beamvec.transforms.decoding.limits import FILE_TOO_LARGE
from beamvec.transforms.decoding.outcome import Cause, Outcome
from beamvec.transforms.decoding.reading import ImageFile, read_file
from beamvec.transforms.files.readers import ImageReader

Ask = Callable[[Sequence[ImageFile], bool], list[Outcome]]
"""Has a decoder decode some images, alone if that is True, so that no other is busy meanwhile.

Raises `DecoderDiedError` if they bring it down.
"""


def decode_with_retries(
    parcel: Sequence[ImageFile], ask: Ask, reader: ImageReader, max_file_size: int
) -> list[Outcome]:
    """Decode the images of a parcel, whatever some of them do to the decoder.

    - Where a parcel brings the decoder down, it tells which image it was at. One that took too
      long has failed, as it would again; one on which it crashed is decoded once more, alone: the
      process may have been killed for another reason. The others are decoded again, together.
    - What memory did not suffice for, be it that the system killed the decoder, is decoded once
      more while nothing else is.
    - A local file that the decoder cannot read is read by `reader`, which tells errors apart and
      retries those that pass.

    Args:
        parcel: the images; for those that could not be read, the outcome is that error.
        ask: decodes some of them.
        reader: reads what the decoder could not.
        max_file_size: in bytes; what has more is not read.

    Returns:
        An outcome for each image, in their order.
    """
    decoded = iter(_decode_sent([source for source in parcel if not source.error], ask))
    outcomes = [source.fail(source.error) if source.error else next(decoded) for source in parcel]
    return [
        _read_here(source, outcome, ask, reader, max_file_size)
        if _is_unread(source, outcome)
        else outcome
        for source, outcome in zip(parcel, outcomes, strict=True)
    ]


def _decode_sent(sent: Sequence[ImageFile], ask: Ask) -> list[Outcome]:
    if len(sent) == 1:
        return [_decode_lone(sent[0], ask)]
    if not sent:
        return []
    start = time.perf_counter()
    try:
        outcomes = ask(sent, False)
    except DecoderDiedError as death:
        at = death.index if 0 <= death.index < len(sent) else 0
        if death.error_type == TIMED_OUT:
            error = Cause("decode", death.error_type, str(death))
            outcome = sent[at].fail(error, decode_s=time.perf_counter() - start)
        else:
            outcome = _decode_lone(sent[at], ask, alone=death.was_killed)
        others = _decode_sent([*sent[:at], *sent[at + 1 :]], ask)
        return [*others[:at], outcome, *others[at:]]
    return [
        _decode_lone(source, ask, alone=True) if _lacks_memory(outcome) else outcome
        for source, outcome in zip(sent, outcomes, strict=True)
    ]


def _decode_lone(source: ImageFile, ask: Ask, alone: bool = False) -> Outcome:
    start = time.perf_counter()
    tried_again = False
    while True:
        try:
            outcome = ask([source], alone)[0]
        except DecoderDiedError as death:
            is_last = alone or (tried_again and not death.was_killed)
            if is_last or death.error_type != CRASHED:
                error = Cause("decode", death.error_type, _explain(death, alone))
                return source.fail(error, decode_s=time.perf_counter() - start)
            alone = death.was_killed
        else:
            if alone or not _lacks_memory(outcome):
                return outcome
            alone = True
        tried_again = True


def _lacks_memory(outcome: Outcome) -> bool:
    return outcome.error is not None and outcome.error.error_type == MemoryError.__name__


def _explain(death: DecoderDiedError, alone: bool) -> str:
    if not (alone and death.was_killed):
        return str(death)
    return (
        "the decoder was killed by SIGKILL, most likely for want of memory, also when it decoded "
        "alone"
    )


def _is_unread(source: ImageFile, outcome: Outcome) -> bool:
    if outcome.error is None or not isinstance(source.content, str):
        return False
    return outcome.error.stage == "read" and outcome.error.error_type != FILE_TOO_LARGE


def _read_here(
    source: ImageFile, first: Outcome, ask: Ask, reader: ImageReader, max_file_size: int
) -> Outcome:
    # What is read here is no path any more, so this comes to an end.
    read = read_file(source.ref, reader, max_file_size)._replace(out=source.out)
    [outcome] = decode_with_retries([read], ask, reader, max_file_size)
    return outcome.add_effort(first.read_s, first.decode_s)
