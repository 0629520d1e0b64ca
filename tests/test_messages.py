"""What a pool and its decoders say to each other arrives as it was said."""

from __future__ import annotations

import socket
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamvec.transforms.decoding.messages import Answer, Message, Request, Signal, receive, send
from beamvec.transforms.decoding.outcome import Cause, Outcome
from beamvec.transforms.decoding.pixels import DecodedImage
from beamvec.transforms.decoding.resize import Resizing

contents = st.binary(max_size=50) | st.text(st.characters(), max_size=9)
seconds = st.floats(0, 1e4)


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    image = error = None
    if draw(st.booleans()):
        pixels = np.empty((0, 0, 3), np.uint8)  # They do not go by messages.
        image = DecodedImage(pixels, *draw(st.tuples(st.integers(1), st.integers(1), st.text())))
    else:
        error = Cause(*draw(st.tuples(st.sampled_from(["read", "decode"]), *[st.text()] * 2)))
    size_bytes = draw(st.none() | st.integers(0))
    rest = draw(st.tuples(st.text(), seconds, seconds, st.integers(0)))
    return Outcome(image, error, size_bytes, *rest)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    size = draw(st.integers(1, 4))
    request = Request(
        Resizing(size, draw(st.sampled_from(["crop", "pad"]))), draw(st.lists(contents))
    )
    answer = Answer(draw(st.lists(outcomes(), max_size=4)))
    return draw(st.sampled_from([request, Signal("ready"), Signal("turn"), answer]))


def without_pixels(message: Message) -> Message:
    if not isinstance(message, Answer):
        return message
    bare = [o._replace(image=o.image and o.image._replace(pixels=None)) for o in message.outcomes]
    return replace(message, outcomes=bare)


@settings(max_examples=100, deadline=None)
@given(st.lists(messages(), max_size=3))
def test_messages_arrive_as_they_were_sent(sent):
    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.makefile("rb") as stream:
        for message in sent:
            send(ours, message)
        received = [receive(stream) for _ in sent]
        ours.shutdown(socket.SHUT_WR)
        with pytest.raises(EOFError):
            receive(stream)
    assert list(map(without_pixels, received)) == list(map(without_pixels, sent))
