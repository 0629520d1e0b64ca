"""The errors of beamvec."""

from __future__ import annotations

import pickle

import pytest

from beamvec import errors
from beamvec.embeddings.run_record import RunRecord
from beamvec.embeddings.settings import Settings

KINDS = [
    errors.ArgumentError,
    errors.DatasetError,
    errors.InputError,
    errors.ModelError,
    errors.OutputError,
    errors.PipelineError,
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_one_of_beamvecs_and_shows_no_secret(kind):
    error = kind("cannot fetch https://me:secret@host/m?token=secret")
    assert isinstance(error, errors.BeamvecError)
    assert str(error) == "cannot fetch https://host/m"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_mistakes_of_the_caller_are_value_errors():
    for kind in (errors.ArgumentError, errors.InputError, errors.DatasetError):
        assert issubclass(kind, ValueError)
    assert issubclass(errors.InputError, errors.ArgumentError)


def test_too_many_failures_come_with_the_record():
    record = RunRecord(Settings("f" * 64), "m", 3)
    error = errors.TooManyFailuresError("2 of 3 images failed", record)
    assert (str(error), error.run) == ("2 of 3 images failed", record)
    assert isinstance(error, errors.BeamvecError)
