"""What the fork server of `children` imports, once, before any process is forked from it.

Nothing here may use TensorFlow: its threads would not survive the fork.
"""

from beamvec.pipeline.silence import silence

silence()

from beamvec.pipeline.run import launch  # noqa: E402
from beamvec.transforms.inference.model_files import import_tensorflow  # noqa: E402

__all__ = ["launch"]

import_tensorflow()
