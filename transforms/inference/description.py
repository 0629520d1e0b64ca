"""What is said of a model, beside it and in it, before it is loaded: `Description`."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from beamvec.errors import ModelError
from beamvec.model_spec import ModelSpec
from beamvec.transforms.inference import brought, metadata
from beamvec.transforms.inference.fields import check_fields
from beamvec.transforms.inference.model_files import DESCRIPTION_FILE, DESCRIPTIONS, ModelFiles

CONVENTION = "TF-Hub's convention"

_OWN = {"weights", "source", "model"}
"""Keys of `beamvec.json` beside the fields of `ModelSpec`."""

_VALUES = {"scale", "mean", "std"}

_MODEL_INFO = "model_info "
"""How Model API's keys start in ONNX files."""


@dataclass(frozen=True)
class Description:
    """What is said of a model.

    Attributes:
        fields: of `ModelSpec`, those that are said.
        source: what says it, for people.
        notes: `weights`, where they come from, such as `random`, and `source`, of the model;
            those that somebody says.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    source: str = CONVENTION
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def tells_values(self) -> bool:
        """Whether it says what values the model wants to see, and not only where they are.

        A file that notes the weights was written by an export, which knows.
        """
        return bool(_VALUES & set(self.fields)) or "weights" in self.notes

    @property
    def spec(self) -> ModelSpec:
        """What is said, over the defaults."""
        return ModelSpec(**self.fields)

    def override(self, fields: Mapping[str, Any]) -> Description:
        """Return what holds if somebody says otherwise for this run."""
        if not fields:
            return self
        source = f"{', '.join(fields)} as given, else {self.source}"
        return replace(self, fields={**self.fields, **fields}, source=source)


def describe_model(files: ModelFiles) -> Description:
    """Find what is said of a model, in the first of these that there is.

    1. `beamvec.json` beside it; 2. `preprocessor_config.json` of Hugging Face; 3. timm's
    `config.json`; 4. metadata in ONNX and OpenVINO files; else nothing, and the TF-Hub convention
    holds.

    Raises:
        ModelError: if one of them is damaged, or says what `ModelSpec` cannot express.
    """
    for folder in _list_folders(files):
        for name, read in zip(DESCRIPTIONS, _READERS, strict=True):
            path = folder / name
            if os.path.lexists(path):  # A link that leads nowhere was meant to say something.
                found = _read(path, read, files)
                if found is not None:
                    return found
    return _describe_inside(files)


def _list_folders(files: ModelFiles) -> Iterator[Path]:
    """Yield where files that describe a model lie: beside it, or above a repository's `onnx`."""
    folder = Path(files.path) if files.format == "saved_model" else Path(files.path).parent
    yield folder
    yield folder / "assets.extra"  # Where beamvec 0.1 noted the weights.
    if folder.name == "onnx":
        yield folder.parent


def _read(
    path: Path, read: Callable[[dict[str, Any], ModelFiles], Description | None], files: ModelFiles
) -> Description | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
        return read(content, files)
    except (OSError, ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        advice = "" if path.name == DESCRIPTION_FILE else f"; a {DESCRIPTION_FILE} goes before it"
        raise ModelError(f"{path}: {error}{advice}") from error


def _read_own(content: dict[str, Any], files: ModelFiles) -> Description:
    named = content.get("model")
    if named is not None and named != Path(files.path).name:
        raise ValueError(
            f"it describes {named}, not {Path(files.path).name}; keep each model in its own folder"
        )
    for name in _OWN & set(content):
        if not isinstance(content[name], str):
            raise ValueError(f"{name} is {json.dumps(content[name])[:60]}, no text")
    said = {name: value for name, value in content.items() if name not in _OWN}
    notes = {str(name): content[name] for name in ("weights", "source") if name in content}
    return Description(check_fields(said), DESCRIPTION_FILE, notes)


def _read_preprocessor(content: dict[str, Any], files: ModelFiles) -> Description:  # noqa: ARG001 As the others.
    fields = check_fields(brought.read_preprocessor(content))
    return Description(fields, "Hugging Face's preprocessor_config.json")


def _read_timm(content: dict[str, Any], files: ModelFiles) -> Description | None:  # noqa: ARG001
    if not isinstance(content.get("pretrained_cfg"), dict):
        return None  # Many tools write a config.json.
    fields = check_fields(brought.read_timm(content["pretrained_cfg"]))
    return Description(fields, "timm's config.json")


_READERS = (_read_own, _read_preprocessor, _read_timm)
"""What reads each of `DESCRIPTIONS`."""


def _describe_inside(files: ModelFiles) -> Description:
    """Return what the model's own file says."""
    if files.format == "saved_model":
        return Description()
    is_onnx = files.format == "onnx"
    read = metadata.read_onnx_metadata if is_onnx else metadata.read_ir_metadata
    found = {name.removeprefix(_MODEL_INFO): value for name, value in read(files.path).items()}
    try:
        if "beamvec" in found:
            said = json.loads(found["beamvec"])
            return replace(_read_own(said, files), source="the metadata in its file")
        fields = brought.read_onnx_metadata(found) or brought.read_model_api(found)
        said = check_fields(fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{files.path}: its metadata: {error}; a {DESCRIPTION_FILE} beside it goes before"
        ) from error
    return Description(said, "the metadata in its file") if said else Description()


def write_description(
    files: ModelFiles, fields: Mapping[str, Any], notes: Mapping[str, str]
) -> str:
    """Write the `beamvec.json` of a model, and return its path.

    Args:
        files: the model.
        fields: of `ModelSpec`, those that are to be said.
        notes: `weights` and `source`, of those that are known.

    Raises:
        OSError: if it cannot be written.
    """
    (folder, *_) = _list_folders(files)
    content: dict[str, Any] = {**notes, **fields}
    if files.format != "saved_model":
        content["model"] = Path(files.path).name
    path = folder / DESCRIPTION_FILE
    unfinished = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(path)
    return str(path)
