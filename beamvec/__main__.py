"""`python -m beamvec`: the command line."""

import sys

from beamvec.pipeline.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
