"""What a run needs first, begun before its turn: `Ahead`.

The model is read and compiled by code that leaves Python's lock alone, so on two cores it is ready,
and looked at, when Beam has been imported, which takes about as long. Beam is not imported here.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace

from beamvec.errors import BeamvecError
from beamvec.pipeline.run.config import ExtractConfig
from beamvec.pipeline.run.doubts import Examination
from beamvec.transforms.decoding.limits import Limits
from beamvec.transforms.decoding.pool import SharedPool
from beamvec.transforms.embedding.known_int8 import Known, find_known
from beamvec.transforms.files import storage
from beamvec.transforms.inference import hub, openvino_engine
from beamvec.transforms.inference.description import describe_model
from beamvec.transforms.inference.model import FeatureModel, load_model
from beamvec.transforms.inference.model_files import ModelFiles
from beamvec.transforms.inputs.kept import is_read_once
from beamvec.transforms.inputs.patterns import Patterns
from beamvec.transforms.inputs.uri_list import UriList

_ENGINE = openvino_engine.ENGINE.name


class Ahead:
    """A thread that loads and examines the model of a run, if OpenVINO runs it.

    Only for a run of the local runner, and of local images and a local model, that makes a dataset
    anew: another may have nothing to do, or take what is not known yet. Whatever is wrong the run
    comes upon itself, and tells in its turn; what was begun here in vain is dropped.

    Args:
        config: of the run, as it was given.
    """

    def __init__(self, config: ExtractConfig):
        self._config = config
        self._model: FeatureModel | None = None
        self._examination: Examination | None = None
        self._known: Known | None = None
        # Not a daemon: Python would cut it off in the middle of OpenVINO's code.
        self._thread = threading.Thread(target=self._run, name="ahead")
        if _is_fit(config):
            self._thread.start()

    def take_known(self) -> Known | None:
        """Return what is known of the model in int8, if it was looked for."""
        self._wait()
        return self._known

    def take_examination(self, model: FeatureModel) -> Examination | None:
        """Return the examination of a model if it was begun, else None."""
        self._wait()
        return self._examination if self._model is model else None

    def _wait(self) -> None:
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._load()
        except Exception:  # noqa: BLE001 The run comes upon it, and tells.
            return

    def _load(self) -> None:
        config = self._config
        files = ModelFiles.fetch(config.model.handle)
        model = config.model.choose_engine(files.format)
        files.fingerprint()
        if model.engine != _ENGINE:
            return
        decoders = SharedPool(limits=Limits(config.max_file_size, config.max_pixels))
        decoders.get().start()
        config = config.check()
        if model.precision == "int8":
            said = describe_model(files).override(dict(model.given))
            named = config.calibration_images
            source = Patterns((named,), output=config.output) if named else config.source
            self._known = find_known(files, said, source)
            model = replace(model, int8=self._known.made and self._known.made.model)
        if model.precision != "int8" or model.int8:
            loaded = load_model(model)
            self._examination = Examination(config.source, loaded, decoders)
            self._model = loaded


def _is_fit(config: ExtractConfig) -> bool:
    """Tell whether to begin, without a look at more than the names of files."""
    handle, names = config.model.handle, (*config.source.names, config.calibration_images)
    if hub.is_on_hub(handle) or not all(map(storage.is_local, (handle, config.output, *names))):
        return False
    if not isinstance(config.source, Patterns | UriList) or any(map(is_read_once, names)):
        return False
    is_new = not os.path.lexists(os.path.expanduser(config.output))
    if not is_new or not os.path.exists(os.path.expanduser(handle)):
        return False
    if config.model.engine == _ENGINE or config.model.precision == "int8":
        try:  # Here, so that no two threads import at the same time.
            openvino_engine.import_openvino()
        except BeamvecError:
            return False
    return True
