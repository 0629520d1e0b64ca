"""Where the command `beamvec` starts: nothing is imported before Ctrl-C ends it quietly.

Python raises an exception for Ctrl-C, which in the middle of an import ends as a traceback. Until
`main` is there to catch it, the signal has its plain effect instead. Only the command imports this
module, the library never does.
"""

from __future__ import annotations

import signal

_IS_PYTHONS = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _IS_PYTHONS:  # Else somebody has turned it off, such as a shell for what runs behind.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run() -> int:
    """Run the command line of this process, and return its exit code."""
    from beamvec.pipeline.commands.main import main

    return main(heed_ctrl_c=_IS_PYTHONS)
