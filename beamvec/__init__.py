"""beamvec: turn images into a Parquet dataset of embeddings, on Apache Beam.

What is public is here; everything else may change. Importing it loads neither Beam nor TensorFlow:
each name is loaded when it is first used.
"""

from __future__ import annotations

# As mypy knows it: to import typing takes longer than all before the command heeds Ctrl-C.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from beamvec.embeddings import (
        Batch,
        Dataset,
        Matches,
        RunRecord,
        find_groups,
        open_dataset,
        search,
    )
    from beamvec.errors import (
        ArgumentError,
        BeamvecError,
        DatasetError,
        ImageError,
        InputError,
        ModelError,
        OutputError,
        PipelineError,
        TooManyFailuresError,
    )
    from beamvec.model_spec import ModelSpec
    from beamvec.pipeline.run.extract import extract
    from beamvec.pipeline.run.progress import Progress
    from beamvec.transforms.embedding.embed_images import EmbedImages
    from beamvec.transforms.embedding.embedder import Embedder, load_model

__version__ = "0.2.0"

__all__ = [
    "ArgumentError",
    "Batch",
    "BeamvecError",
    "Dataset",
    "DatasetError",
    "EmbedImages",
    "Embedder",
    "ImageError",
    "InputError",
    "Matches",
    "ModelError",
    "ModelSpec",
    "OutputError",
    "PipelineError",
    "Progress",
    "RunRecord",
    "TooManyFailuresError",
    "__version__",
    "extract",
    "find_groups",
    "load_model",
    "open_dataset",
    "search",
]

_HOMES = {
    "Batch": "beamvec.embeddings",
    "Dataset": "beamvec.embeddings",
    "EmbedImages": "beamvec.transforms.embedding.embed_images",
    "Embedder": "beamvec.transforms.embedding.embedder",
    "Matches": "beamvec.embeddings",
    "ModelSpec": "beamvec.model_spec",
    "Progress": "beamvec.pipeline.run.progress",
    "RunRecord": "beamvec.embeddings",
    "extract": "beamvec.pipeline.run.extract",
    "find_groups": "beamvec.embeddings",
    "load_model": "beamvec.transforms.embedding.embedder",
    "open_dataset": "beamvec.embeddings",
    "search": "beamvec.embeddings",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    home = importlib.import_module(_HOMES.get(name, "beamvec.errors"))
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
