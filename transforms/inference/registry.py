"""The engines there are, a line each; their packages are imported when a model is compiled."""

from __future__ import annotations

from beamvec.transforms.inference import (
    onnxruntime_engine,
    openvino_engine,
    tensorflow_engine,
)
from beamvec.transforms.inference.engine import Engine

ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        tensorflow_engine.ENGINE,
        openvino_engine.ENGINE,
        onnxruntime_engine.ENGINE,
    )
}
