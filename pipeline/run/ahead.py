"""What a run needs first, begun before its turn: `load_ahead`.

The model is read and compiled by code that leaves Python's lock alone, so on two cores it is ready
when Beam has been imported, which takes about as long. Beam is not imported here.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace

from beamvec.pipeline.run.config import ExtractConfig
from beamvec.transforms.embedding.known_int8 import choose_images, find_note, read_note
from beamvec.transforms.files import storage
from beamvec.transforms.inference import hub, openvino_engine
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inference.description import describe_model
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.inference.model_files import ModelFiles
from beamvec.transforms.inputs.patterns import Patterns


def load_ahead(config: ExtractConfig) -> None:
    """Begin to load the model of a run in a thread, if OpenVINO runs it; else fingerprint it.

    Only for a run that makes a dataset anew, of a model that is on this machine: another one may
    have nothing to do, or take what is not known yet. The run gets from `load_model` what is
    loaded here. Whatever is wrong it comes upon itself, and tells in its turn.
    """
    model = config.model
    if hub.is_on_hub(model.handle) or not storage.is_local(model.handle):
        return
    if not os.path.exists(os.path.expanduser(model.handle)) or _may_hold_something(config.output):
        return
    if model.engine == openvino_engine.ENGINE.name or model.precision == "int8":
        try:
            # Here, so that no two threads import at the same time.
            openvino_engine.import_openvino()
        except Exception:  # noqa: BLE001 The run comes upon it.
            return
    # Not a daemon: Python would cut it off in the middle of OpenVINO's code.
    threading.Thread(target=_load, args=(config,), name="load ahead").start()


def _may_hold_something(output: str) -> bool:
    if not storage.is_local(output):
        return True
    try:
        return bool(os.listdir(os.path.expanduser(output)))
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _load(config: ExtractConfig) -> None:
    try:
        files = ModelFiles.fetch(config.model.handle)
        files.fingerprint()
        model = config.model.choose_engine(files.format)
        if model.engine == openvino_engine.ENGINE.name:
            model = _find_int8(config, model, files)
            if model.precision != "int8" or model.int8:
                load_model(model)
    except Exception:  # noqa: BLE001 The run comes upon it.
        return


def _find_int8(config: ExtractConfig, model: ModelConfig, files: ModelFiles) -> ModelConfig:
    """Return the model as it was quantised before with the same images, if it was."""
    if model.precision != "int8":
        return model
    said = describe_model(files).override(dict(model.given))
    named = config.calibration_images
    source = Patterns((named,), output=config.output) if named else config.source
    made = read_note(find_note(files, said, source, choose_images(source)))
    return replace(model, int8=made.model) if made else model
