"""Beam's own options."""

from __future__ import annotations

import pickle

import pytest
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    StandardOptions,
)

from beamvec.errors import ArgumentError
from beamvec.pipeline.run.beam_options import parse_beam_flags
from beamvec.transforms.machine import count_cpus


def test_a_worker_a_core_is_the_default():
    assert parse_beam_flags([]).view_as(DirectOptions).direct_num_workers == count_cpus()


@pytest.mark.parametrize("flags", [["--direct_num_workers=3"], ["--direct_num_workers", "3"]])
def test_another_number_of_workers_is_kept(flags):
    assert parse_beam_flags(flags).view_as(DirectOptions).direct_num_workers == 3


def test_flags_are_options_and_stay_as_they_were_given():
    flags = ["--runner=FlinkRunner"]
    assert parse_beam_flags(flags).view_as(StandardOptions).runner == "FlinkRunner"
    assert flags == ["--runner=FlinkRunner"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--runer=x"], "unknown argument --runer=x; did you mean --runner?"),
        (["--apend"], "unknown argument --apend; did you mean --append?"),
        (
            ["stray"],
            "'stray' belongs to no flag; files, folders and patterns go right after --input",
        ),
        (["--direct_num_workers=x"], "invalid int value"),
    ],
)
def test_what_beam_does_not_know_is_refused_in_one_line(flags, told, capfd):
    with pytest.raises(ArgumentError) as caught:
        parse_beam_flags(flags, ["--append"])
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_views_share_their_values_and_pickles_hide_what_beam_hides():
    options = parse_beam_flags(["--impersonate_service_account=a@b", "--job_name=mine"])
    options.view_as(GoogleCloudOptions).job_name = "yours"
    assert options.view_as(GoogleCloudOptions).job_name == "yours"
    assert options.view_as(GoogleCloudOptions).impersonate_service_account == "a@b"
    kept = pickle.loads(pickle.dumps(options)).view_as(GoogleCloudOptions)
    assert (kept.job_name, kept.impersonate_service_account) == ("yours", None)
    assert b"a@b" not in pickle.dumps(options).replace(b"--impersonate_service_account=a@b", b"")
