"""`python -m beamvec`: the command line."""

import sys

from beamvec.pipeline.commands.start import run

if __name__ == "__main__":
    sys.exit(run())
