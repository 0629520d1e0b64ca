"""What the fork server of `children` imports, once, before any process is forked from it.

Nothing here may use TensorFlow: its threads would not survive the fork.
"""

from pipeline.main import silence

silence()

import pipeline.extract  # noqa: E402
from transforms.saved_model import import_tensorflow  # noqa: E402

__all__ = ["pipeline"]

import_tensorflow()
