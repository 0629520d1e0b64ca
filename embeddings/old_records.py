"""`run.json` as earlier versions wrote it, turned into what `run_record` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def upgrade(content: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the JSON of an earlier format into that of this one, as far as it is sound.

    Not the version tells them apart, but the model, which was an object: a dataset of format 1 that
    was appended to keeps its version, and is written as it is now.
    """
    upgraded = dict(content)
    if isinstance(content.get("model"), dict):
        upgraded |= _upgrade_run(content, content["model"])
    settings = upgraded.get("settings")
    if isinstance(settings, dict) and "resize" in settings:
        resize = {"resize": settings["resize"]}
        upgraded["settings"] = {"said": resize, **settings}
        told = {"size": upgraded.get("input_size", 0), "dimension": upgraded.get("dimension", 0)}
        upgraded["spec"] = resize | told
    if isinstance(content.get("files"), dict):  # Sizes only, in format 2.
        upgraded["files"] = {
            name: {"size_bytes": file} if isinstance(file, int) else file
            for name, file in content["files"].items()
        }
    if isinstance(content.get("appended"), list):
        upgraded["appended"] = [
            upgrade(each) if isinstance(each, dict) else each for each in content["appended"]
        ]
    return upgraded


def _upgrade_run(content: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has other names or another form in format 1."""
    changed = {name: value for name, value in model.items() if name != "handle"}
    changed |= {"model": model.get("handle"), "version": content.get("beamvec", "")}
    settings, named = content.get("settings"), content.get("input")
    if isinstance(settings, dict):
        changed["settings"] = {**settings, "fingerprint": model.get("fingerprint")}
    if isinstance(named, dict):
        lists = [name for name in ("manifest", "list") if named.get(name)]
        changed["input"] = {
            "source": {"manifest": "manifest", "list": "input_list"}[lists[0]]
            if lists
            else "input",
            "names": [named[lists[0]]] if lists else named.get("patterns", []),
            "digest": named.get("digest", ""),
        }
    return changed
