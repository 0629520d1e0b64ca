"""Decoders that crash and hang on certain files, for the tests of `DecoderPool`."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from beamvec.transforms.decoding.pixels import DecodedImage, decode_image


def decode(data: bytes, size: int, resize: str, before_large) -> DecodedImage:
    """Decode as Pillow does, but die or hang where the file's end says so."""
    command, _, argument = data[-200:].rpartition(b"@@")[2].decode("latin-1").partition(" ")
    if command == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif command == "exit":
        os._exit(7)
    elif command == "hang":
        if argument:
            Path(argument).touch()
        time.sleep(600)
    elif command == "crash-once" and not Path(argument).exists():
        Path(argument).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    elif command == "large":
        before_large()
        with open(argument, "a") as log:
            log.write("in ")
            log.flush()
            time.sleep(0.1)
            log.write("out ")
    return decode_image(data, size, resize, before_large)
