"""`python -m beamvec`: the command line.

`python -m` looks for every module in the working folder first, which the command `beamvec` never
does. Scripts of the user's that are there and called `queue.py` or `pandas.py` would be taken for
the libraries of that name, by beamvec and by the processes that it starts.
"""

import os
import sys


def _forget_working_folder() -> None:
    """Take the working folder off the path, unless beamvec itself is found by it."""
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # It is gone, and Python has left it out.
        return
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if sys.path[0] == folder != home:
        del sys.path[0]


if __name__ == "__main__":
    _forget_working_folder()
    from beamvec.pipeline.commands.start import run

    sys.exit(run())
