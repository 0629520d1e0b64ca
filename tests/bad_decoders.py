"""Decoders that crash and hang on certain files, for the tests of `DecoderPool`."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

from beamvec.transforms.decoding.pixels import DecodedImage, decode_image
from beamvec.transforms.decoding.resize import Resizing


def decode(data: bytes, resizing: Resizing, before_large, max_pixels: int) -> DecodedImage:
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
    elif command == "hang-in-c":  # It holds Python's lock, as some decoders do.
        Path(argument).touch()
        ctypes.PyDLL(None).sleep(600)
    elif command == "nap":
        time.sleep(float(argument))
    elif command == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif command == "signal":
        os.kill(os.getpid(), int(argument))
    elif command == "meet":
        _meet(Path(argument))
    elif command == "no-memory-once" and not Path(argument).exists():
        Path(argument).touch()
        raise MemoryError
    elif command == "crash-once" and not Path(argument).exists():
        Path(argument).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    elif command == "large":
        before_large(2 << 30)
        with open(argument, "a") as log:
            log.write("in ")
            log.flush()
            time.sleep(0.1)
            log.write("out ")
    return decode_image(data, resizing, before_large, max_pixels)


def _meet(folder: Path) -> None:
    """End by SIGKILL if another process is here at the same time, as where memory is short."""
    mark = folder / str(os.getpid())
    mark.touch()
    for _ in range(100):
        if len(list(folder.iterdir())) > 1:
            time.sleep(0.2)  # The other one is to see it too.
            mark.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
    mark.unlink()
