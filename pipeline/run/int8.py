"""Precision int8 in a run: which quantised model it computes with, and keeping it with the dataset.

The model lies in the dataset's folder, where workers anywhere read it, and later runs: what is
appended or resumed is computed with the very same model, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from beamvec.embeddings.fidelity import Fidelity
from beamvec.embeddings.layout import Layout
from beamvec.embeddings.run_record import RunRecord
from beamvec.errors import OutputError
from beamvec.pipeline.run.config import ExtractConfig
from beamvec.pipeline.run.observer import Observer
from beamvec.pipeline.run.request import Request
from beamvec.transforms.decoding.pool import SharedPool
from beamvec.transforms.embedding.int8 import calibrate, find_images, make_int8
from beamvec.transforms.embedding.known_int8 import Known
from beamvec.transforms.files import storage
from beamvec.transforms.inference.compare_int8 import require_near
from beamvec.transforms.inference.config import Int8Model
from beamvec.transforms.inference.int8_file import hash_file
from beamvec.transforms.inference.openvino_engine import check_precision


@dataclass(frozen=True)
class Int8Run:
    """What a run has of its quantised model; nothing for other precisions.

    Attributes:
        model: where it lies here; None if the precision is another.
        fidelity: how near it is to float32.
    """

    model: Int8Model | None = None
    fidelity: Fidelity | None = None


def choose_int8(
    request: Request, decoders: SharedPool, observer: Observer, known: Known | None = None
) -> Int8Run:
    """Return the quantised model of a run: that of what it goes on with, else a new one.

    Args:
        request: what is asked for. Where its workers are on other machines, these look at their
            processors themselves.
        decoders: where images are decoded.
        observer: hears what takes a while.
        known: of a run that makes a dataset anew, what `find_known` returned if it was called.

    Raises:
        ArgumentError: if there are too few images.
        ModelError: if the model cannot be quantised, is too far from float32, or this machine has
            no use for it.
        OutputError: if the model of what is gone on with is gone, or other images are named.
    """
    config, begun, files, said = request.config, request.begun, request.files, request.said
    if config.model.precision != "int8":
        return Int8Run()
    if request.workers.local:
        check_precision("int8")
    kept = _find_kept(config.layout, begun)
    if kept and not config.calibration_images:
        return kept
    named = config.calibration_images
    source = find_images(named, config.output) if named else config.source
    calibration = calibrate(files, said, config.model, source, decoders, known)
    if begun and begun.fidelity and named and calibration.digest != begun.fidelity.calibration:
        raise OutputError(
            f"{config.output} was made with an int8 model that was calibrated on other images than "
            f"`calibration_images={named}`; leave that out, or choose another `output`"
        )
    if kept:
        return kept
    made = make_int8(files, said, calibration, observer.tell)
    if begun and made.model.sha256 != begun.settings.int8:
        raise OutputError(
            f"{config.layout.int8_file(begun.settings.int8)}, the int8 model that {config.output} "
            "was made with, is missing or damaged, and quantising anew gives another; restore it, "
            "choose another `output`, or replace the dataset with `overwrite=True`"
        )
    if not (begun or config.allow_low_fidelity):
        require_near(config.model.handle, made.fidelity)
    return Int8Run(made.model, made.fidelity)


def _find_kept(layout: Layout, begun: RunRecord | None) -> Int8Run | None:
    """Return the model that lies with what is gone on with, if it is whole."""
    if begun is None:
        return None
    sha256 = begun.settings.int8
    model = Int8Model(sha256, layout.int8_file(sha256))
    try:
        is_whole = hash_file(model.path) == sha256
    except OSError:
        is_whole = False
    return Int8Run(model, begun.fidelity) if is_whole else None


def use_int8(config: ExtractConfig, run: Int8Run) -> ExtractConfig:
    """Return the configuration of workers, who read the quantised model from the dataset."""
    if run.model is None:
        return config
    sha256 = run.model.sha256
    model = Int8Model(sha256, config.layout.int8_file(sha256))
    return replace(config, model=replace(config.model, int8=model))


def keep_int8(layout: Layout, run: Int8Run) -> None:
    """Put the quantised model of a run, if it has one, into the dataset's folder.

    Raises:
        OSError: if it cannot be written.
    """
    if run.model is None:
        return
    target = layout.int8_file(run.model.sha256)
    if run.model.path != target:
        storage.write_file(target, storage.read_bytes(run.model.path))
