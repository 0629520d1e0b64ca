"""What a run is to do: arguments checked, by name, before anything else happens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from beamvec.embeddings.schema import FORMAT_VERSION
from beamvec.errors import ArgumentError, InputError
from beamvec.model_spec import ModelSpec
from beamvec.pipeline.run.config import ExtractConfig, find_output, make_config, make_model_config
from beamvec.transforms.inference.config import ModelConfig
from beamvec.transforms.inputs.patterns import Patterns

GIVEN = {"input": "photos", "output": "out"}
CONFIG = ExtractConfig(Patterns(("photos",)), "out", ModelConfig("m"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"output": ""}, "`output` is empty"),
        ({"output": None}, "`output` is empty"),
        ({"resize": "strech"}, "`resize=strech` is unknown; it takes stretch, crop, pad"),
        ({"spec": {"scale": "one"}}, "`spec`: scale=one is no number"),
        ({"spec": {"scal": 1}}, "`spec`: a model has no scal; did you mean scale?"),
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
        ({"precision": "float8"}, "`precision=float8` is unknown"),
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
        ({"rows_per_shard": 7}, {"rows_per_shard": 7}),
        ({"max_file_size": 7}, {"max_file_size": 7}),
        ({"model": ModelConfig("m", "openvino")}, {"engine": "openvino"}),
        ({"model": ModelConfig("m", precision="bfloat16")}, {"precision": "bfloat16"}),
        ({"model": ModelConfig("m", xla="on")}, {"xla": "on"}),
        ({"chunk_size": 9, "append": True, "model": ModelConfig("other", batch_size=8)}, {}),
    ],
)
def test_settings_are_what_changes_a_byte_and_nothing_else(changes, expected):
    said = ModelSpec(resize="pad")
    usual = CONFIG.make_settings("ab", said)
    assert (usual.said, usual.format_version) == (said, FORMAT_VERSION)
    assert replace(CONFIG, **changes).make_settings("ab", said) == replace(usual, **expected)


def test_own_columns_are_settings():
    columns = pa.schema([pa.field("label", pa.string()), pa.field("score", pa.float64())])
    made = replace(CONFIG, source=Patterns(("photos",), columns)).make_settings("ab", ModelSpec())
    assert made.columns == {"label": "string", "score": "double"}


@pytest.mark.parametrize(
    ("arguments", "config"),
    [
        ({}, ModelConfig()),
        ({"require_gpu": True}, ModelConfig(device="gpu")),
        ({"require_gpu": False, "batch_size": 8}, ModelConfig(batch_size=8)),
        ({"resize": "pad"}, ModelConfig(given=(("resize", "pad"),))),
        (
            {"spec": {"scale": "1/255", "mean": 1}, "trust_model": True},
            ModelConfig(given=(("mean", (1.0,) * 3), ("scale", 1 / 255)), trusted=True),
        ),
    ],
)
def test_a_config_is_made_of_the_arguments_that_are_given(arguments, config):
    assert make_model_config(arguments) == config
