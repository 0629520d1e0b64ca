"""What a run is to do: arguments checked, by name, before anything else happens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from beamvec.embeddings.schema import FORMAT_VERSION
from beamvec.errors import ArgumentError, InputError
from beamvec.pipeline.run.config import ExtractConfig, find_output, make_config, make_spec
from beamvec.transforms.inference.spec import ModelSpec
from beamvec.transforms.inputs.patterns import Patterns

GIVEN = {"input": "photos", "output": "out"}
CONFIG = ExtractConfig(Patterns(("photos",)), "out", ModelSpec("m"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"output": ""}, "`output` is empty"),
        ({"output": None}, "`output` is empty"),
        ({"resize": "strech"}, "`resize=strech`: it takes stretch, crop, pad"),
        ({"chunk_size": 0}, "`chunk_size=0` is out of range; it takes 1 to 100000"),
        ({"chunk_size": 100_001}, "`chunk_size=100001`"),
        ({"rows_per_shard": 0}, "`rows_per_shard=0` is out of range"),
        ({"max_file_size": 0}, "`max_file_size=0` is out of range; it takes 1 to 1099511627776"),
        ({"max_failure_ratio": 1.01}, "`max_failure_ratio=1.01`"),
        ({"max_failure_ratio": -0.1}, "it takes 0.0 to 1.0"),
        ({"max_failure_ratio": float("nan")}, "`max_failure_ratio=nan`"),
        ({"append": True, "overwrite": True}, "exclude each other"),
        ({"batch_size": 1}, "`batch_size=1` is out of range"),
        ({"engine": "jax"}, "`engine=jax` is none of beamvec's"),
        ({"precision": "float8"}, "has no `precision=float8`"),
        ({"model": ""}, "`model` is empty"),
        ({"input": None}, "nothing names the input"),
        ({"manifest": "a.csv"}, "`input` and `manifest` names the input"),
    ],
)
def test_mistakes_name_the_argument_its_value_and_the_range(arguments, told):
    with pytest.raises(ArgumentError) as caught:
        make_config({**GIVEN, **arguments})
    assert told in str(caught.value)


def test_paths_may_be_paths():
    made = make_config({"input": Path("photos"), "output": Path("out"), "model": Path("m")})
    assert made == CONFIG


def test_arguments_that_are_not_of_a_run_are_left_alone():
    assert make_config({**GIVEN, "model": "m", "verbose": True, "command": "extract"}) == CONFIG


def test_a_configuration_touches_no_disk(tmp_path):
    nowhere = str(tmp_path / "nowhere")
    make_config({"input": nowhere, "output": nowhere, "model": nowhere})
    with pytest.raises(InputError, match="no such file or folder"):
        replace(CONFIG, source=Patterns((nowhere,))).check()


def test_a_checked_configuration_has_full_paths(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checked = replace(CONFIG, source=Patterns((str(photos),)), output="sub/../out/").check()
    assert checked.output == checked.layout.path == str(tmp_path / "out")


def test_places_are_all_that_is_read_and_written():
    made = replace(CONFIG, source=Patterns(("a", "b")))
    assert made.places == [("input", "a"), ("input", "b"), ("output", "out")]


def test_a_home_is_found_and_a_uri_stays(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert find_output("~/out") == "/home/me/out"
    monkeypatch.setattr("beamvec.transforms.files.storage.check_store", lambda _: None)
    assert find_output("gs://bucket/out/") == "gs://bucket/out"


def test_an_output_without_a_filesystem_is_refused():
    with pytest.raises(ArgumentError, match="`output=ftp://host/x`: no filesystem for ftp://"):
        find_output("ftp://host/x")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"resize": "pad"}, {"resize": "pad"}),
        ({"rows_per_shard": 7}, {"rows_per_shard": 7}),
        ({"max_file_size": 7}, {"max_file_size": 7}),
        ({"model": ModelSpec("m", "openvino")}, {"engine": "openvino"}),
        ({"model": ModelSpec("m", precision="bfloat16")}, {"precision": "bfloat16"}),
        ({"chunk_size": 9, "append": True, "model": ModelSpec("other", batch_size=8)}, {}),
    ],
)
def test_settings_are_what_changes_a_byte_and_nothing_else(changes, expected):
    usual = CONFIG.make_settings("ab")
    assert usual.format_version == FORMAT_VERSION
    assert replace(CONFIG, **changes).make_settings("ab") == replace(usual, **expected)


def test_own_columns_are_settings():
    columns = pa.schema([pa.field("label", pa.string()), pa.field("score", pa.float64())])
    made = replace(CONFIG, source=Patterns(("photos",), columns)).make_settings("ab")
    assert made.columns == {"label": "string", "score": "double"}


@pytest.mark.parametrize(
    ("arguments", "spec"),
    [
        ({}, ModelSpec()),
        ({"require_gpu": True}, ModelSpec(device="gpu")),
        ({"require_gpu": False, "batch_size": 8}, ModelSpec(batch_size=8)),
    ],
)
def test_a_spec_is_made_of_the_arguments_that_are_given(arguments, spec):
    assert make_spec(arguments) == spec
