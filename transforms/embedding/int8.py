"""A model in int8: quantised once for the same model, images and machine, and kept: `make_int8`."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from beamvec.embeddings.fidelity import Fidelity
from beamvec.errors import ArgumentError, InputError, ModelError
from beamvec.transforms.decoding.pool import SharedPool
from beamvec.transforms.decoding.resize import make_resizing
from beamvec.transforms.embedding.calibration import Sample, hash_pixels, take_sample
from beamvec.transforms.embedding.known_int8 import (
    Known,
    MadeInt8,
    find_known,
    hash_parts,
    make_parts,
    write_note,
)
from beamvec.transforms.files import storage
from beamvec.transforms.inference import hub
from beamvec.transforms.inference.compare_int8 import measure_nearness, require_near
from beamvec.transforms.inference.config import Int8Model, ModelConfig
from beamvec.transforms.inference.description import Description, describe_model
from beamvec.transforms.inference.int8_file import Int8File, hash_file, read_int8
from beamvec.transforms.inference.model_files import ModelFiles
from beamvec.transforms.inference.openvino_engine import check_precision, read_model
from beamvec.transforms.inference.quantize import find_nncf, quantize
from beamvec.transforms.inference.trust import check_trusted
from beamvec.transforms.inputs.patterns import Patterns
from beamvec.transforms.inputs.source import Source


@dataclass(frozen=True)
class Calibration:
    """What a model is to be quantised with.

    Attributes:
        digest: SHA-256, in hex, of the pixels to calibrate on.
        note: where it is noted which model was made of these files; None for nowhere.
        sample: the pixels; None if the model is known.
        made: the model, if it is known.
    """

    digest: str
    note: str | None
    sample: Sample | None = None
    made: MadeInt8 | None = None


def calibrate(
    files: ModelFiles,
    said: Description,
    config: ModelConfig,
    source: Source,
    pool: SharedPool,
    known: Known | None = None,
) -> Calibration:
    """Find what was made of an input's images before; else decode them, as the model wants them.

    Args:
        files: the model.
        said: what is said of it.
        config: how it is run.
        source: the input.
        pool: where images are decoded.
        known: what `find_known` returned, if it was called.

    Raises:
        ArgumentError: if it has too few images.
        InputError: if it cannot be listed.
        ModelError: if the model cannot be read.
    """
    find_nncf()
    if not config.trusted:
        check_trusted(files.handle, files.path)
    refs, note, made = known or find_known(files, said, source)
    if made:
        return Calibration(made.fidelity.calibration, note, made=made)
    _, spec = read_model(files, said, -1)
    sample = take_sample(source, refs, make_resizing(spec), pool.get())
    return Calibration(sample.digest, note, sample)


def make_int8(
    files: ModelFiles,
    said: Description,
    calibration: Calibration,
    tell: Callable[[str], None] = lambda _: None,
) -> MadeInt8:
    """Quantise a model, or take what was made before of the same model, pixels and versions.

    It is kept beside the models of hubs. Of several processes that ask at the same time one makes
    it, and the others wait.

    Args:
        files: the model.
        said: what is said of it.
        calibration: what it is calibrated and compared on.
        tell: hears what takes a while.

    Raises:
        ModelError: if it cannot be quantised, compared, or kept.
    """
    if calibration.made:
        return calibration.made
    sample = calibration.sample
    assert sample is not None
    key = _make_key(files, said, sample)
    path = os.path.join(hub.cache_folder(), f"int8-{key}.zip")
    # Without the lock at first: the folder may be one that can only be read.
    found = _find(path)
    if found is None:
        try:
            with _lock(path):
                found = _find(path)
                if found is None:
                    tell(
                        f"calibrating int8 on {len(sample.calibration)} images, and comparing it "
                        f"with float32 on {len(sample.compared)} others ..."
                    )
                    made = _make(files, said, sample, key)
                    storage.write_file(path, made.pack())
                    found = MadeInt8(Int8Model(hash_file(path), path), made.fidelity)
        except OSError as error:
            raise ModelError(
                f"cannot keep the int8 model in {hub.cache_folder()}: {error}; name another folder "
                "in the environment variable TFHUB_CACHE_DIR"
            ) from error
    write_note(calibration.note, found)
    return found


def _find(path: str) -> MadeInt8 | None:
    """Return what was made before; None if it is not there, or damaged."""
    try:
        kept = read_int8(path)
        return MadeInt8(Int8Model(hash_file(path), path), kept.fidelity)
    except (ModelError, OSError):
        return None


def _make_key(files: ModelFiles, said: Description, sample: Sample) -> str:
    """Return the SHA-256, in hex, of all that the quantised model follows from."""
    compared = hash_pixels(sample.compared)
    return hash_parts((*make_parts(files, said), sample.digest, compared))


@contextlib.contextmanager
def _lock(path: str) -> Iterator[None]:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(files: ModelFiles, said: Description, sample: Sample, key: str) -> Int8File:
    made = quantize(files, said, sample.calibration, sample.compared)
    if _make_key(files, said, sample) != key:
        raise ModelError(f"the model {files.handle} has changed meanwhile; start again")
    nearness = measure_nearness(made.float32, made.int8)
    if nearness is None:
        raise ModelError(
            f"the embeddings of {files.handle} hold NaN or infinity for nearly all images that "
            "int8 was to be compared on; see `beamvec model check`"
        )
    counts = len(sample.calibration), len(sample.compared)
    fidelity = Fidelity(sample.digest, *counts, *nearness, find_nncf())
    return Int8File(made.graph, made.weights, made.spec, fidelity)


def find_images(pattern: str, output: str = "") -> Source:
    """Return the images that `calibration_images` names: a file, a folder or a glob.

    Raises:
        ArgumentError: if there are none.
    """
    try:
        return Patterns((pattern,), output=output).check()
    except InputError as error:
        raise ArgumentError(str(error).replace("`input=", "`calibration_images=")) from error


def check_int8() -> None:
    """Raise `ModelError` if this machine cannot quantise a model, or has no use for it."""
    check_precision("int8")
    find_nncf()


def require_images(config: ModelConfig, images: str | None) -> None:
    """Raise `ArgumentError` if images to calibrate on are given for nothing, or are missing."""
    is_int8 = config.precision == "int8"
    if images and not is_int8:
        raise ArgumentError("`calibration_images` is for `precision=int8` only")
    if is_int8 and not images:
        raise ArgumentError(
            "`precision=int8` needs images of the kind that is to be embedded, to quantise the "
            "model with: give some 350 as `calibration_images`, a folder or a glob"
        )


def prepare_int8(
    config: ModelConfig, images: str | None, allow_low_fidelity: bool = False
) -> ModelConfig:
    """Return a configuration whose model is quantised, if its precision is int8; else the same.

    Args:
        config: of the model.
        images: what to calibrate and compare on.
        allow_low_fidelity: whether to take a model that is far from float32.

    Raises:
        ArgumentError: if images are given for another precision, or none, or too few.
        ModelError: if the model cannot be quantised, or is too far from float32.
    """
    require_images(config, images)
    if not images:
        return config
    check_precision(config.precision)
    files = ModelFiles.fetch(config.handle)
    config = config.choose_engine(files.format)
    said = describe_model(files).override(dict(config.given))
    made = make_int8(files, said, calibrate(files, said, config, find_images(images), SharedPool()))
    if not allow_low_fidelity:
        require_near(config.handle, made.fidelity)
    return replace(config, int8=made.model)
