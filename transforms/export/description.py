"""`beamvec.json` beside a model: what the model is, what it wants to see, and where it comes from.

A JSON object with the fields of `ModelSpec` that are not defaults, and besides

- `model`: the name of the file that it describes, if the model is a single file;
- `weights`: a word or two on the weights, such as `imagenet`; `random` is warned of;
- `source`: what the model was made from, such as `keras:ResNet50V2`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from beamvec.embeddings.model_spec import ModelSpec

DESCRIPTION = "beamvec.json"


def write_description(
    folder: str, spec: ModelSpec, weights: str, source: str, model: str = ""
) -> None:
    """Write `beamvec.json` into a model's folder.

    Args:
        folder: where the model is.
        spec: what the model wants to see, and where its features are.
        weights: a word or two on the weights.
        source: what the model was made from.
        model: the name of the model's file; empty if the whole folder is the model.
    """
    fields = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    unusual = {name: value for name, value in fields.items() if value != getattr(_USUAL, name)}
    named = {"model": model} if model else {}
    content = {**named, **unusual, "weights": weights, "source": source}
    Path(folder, DESCRIPTION).write_text(json.dumps(content, indent=2) + "\n")


_USUAL = ModelSpec()
