"""Every flag of beamvec's own, and what becomes of it."""

from __future__ import annotations

import pytest

from beamvec.errors import ArgumentError
from beamvec.pipeline.commands.flags import flag_of
from beamvec.pipeline.commands.parser import build_parser
from beamvec.pipeline.run import config
from beamvec.pipeline.run.config import make_config, make_model_config
from beamvec.transforms.inference.config import DEFAULT_MODEL, ModelConfig
from beamvec.transforms.inputs.manifest import Manifest
from beamvec.transforms.inputs.patterns import Patterns
from beamvec.transforms.inputs.registry import SOURCES
from beamvec.transforms.inputs.uri_list import UriList

GIVEN = ["extract", "--input", "a", "--output", "out"]


def parse(*flags):
    return build_parser().parse_args([*GIVEN, *flags])


def test_flags_left_out_are_the_defaults_of_the_library():
    made = make_config(vars(parse()))
    assert made == config.ExtractConfig(Patterns(("a",)), "out", ModelConfig())


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        (["--resize", "pad"], "model", ModelConfig(given=(("resize", "pad"),))),
        (["--trust-model"], "model", ModelConfig(trusted=True)),
        (
            ["--spec", "scale=1", "--spec", "pool=mean"],
            "model",
            ModelConfig(given=(("pool", "mean"), ("scale", 1.0))),
        ),
        (["--chunk-size", "7"], "chunk_size", 7),
        (["--rows-per-shard", "9"], "rows_per_shard", 9),
        (["--max-file-size", "9"], "max_file_size", 9),
        (["--max-file-size", "512MB"], "max_file_size", 512_000_000),
        (["--max-file-size", "2GiB"], "max_file_size", 2 << 30),
        (["--max-failure-ratio", "0.5"], "max_failure_ratio", 0.5),
        (["--append"], "append", True),
        (["--overwrite"], "overwrite", True),
        (["--model", "m"], "model", ModelConfig("m")),
        (["--engine", "openvino"], "model", ModelConfig(engine="openvino")),
        (["--precision", "bfloat16"], "model", ModelConfig(precision="bfloat16")),
        (["--batch-size", "8"], "model", ModelConfig(batch_size=8)),
        (["--require-gpu"], "model", ModelConfig(device="gpu")),
        (["--xla", "auto"], "model", ModelConfig(xla="auto")),
        (["--input", "b"], "source", Patterns(("a", "b"))),
        (["--input", "b", "c", "--append"], "source", Patterns(("a", "b", "c"))),
        (["--input", "b", "--append", "--input", "c"], "source", Patterns(("a", "b", "c"))),
        (["--allow-empty"], "source", Patterns(("a",), allow_empty=True)),
        (["--limit", "5"], "source", Patterns(("a",), limit=5)),
    ],
)
def test_every_flag_ends_in_its_field(flags, field, value):
    assert getattr(make_config(vars(parse(*flags))), field) == value


@pytest.mark.parametrize(
    ("flags", "source"),
    [
        (["--input-list", "l"], UriList(("l",))),
        (["--manifest", "m.csv"], Manifest(("m.csv",))),
        (["--manifest", "m.csv", "--uri-column", "path"], Manifest(("m.csv",), uri_column="path")),
    ],
)
def test_every_kind_of_input_has_its_flags(flags, source):
    args = build_parser().parse_args(["extract", "--output", "out", *flags])
    assert make_config(vars(args)).source == source


def test_a_parser_knows_the_flag_of_each_argument():
    flags = parse().parser.flags
    assert {flag_of(kind.kind) for kind in SOURCES} <= set(flags.values())
    assert all(flag == flag_of(name) for name, flag in flags.items())
    assert {"output", "append", "chunk_size", "uri_column"} < set(flags)


def test_flags_of_beam_are_left_over():
    parser = build_parser()
    args, rest = parser.parse_known_args([*GIVEN, "--runner=PrismRunner", "--append"])
    assert (args.append, rest) == (True, ["--runner=PrismRunner"])


def test_a_pattern_that_the_shell_has_expanded_leaves_flags_of_beam_alone():
    words = ["extract", "--input", "a.jpg", "b.jpg", "--runner", "PrismRunner", "--output", "out"]
    args, rest = build_parser().parse_known_args(words)
    assert (args.input, rest) == (["a.jpg", "b.jpg"], ["--runner", "PrismRunner"])


@pytest.mark.parametrize("flag", ["--ap", "--over", "--chunk"])
def test_flags_are_never_abbreviated(flag):
    _, rest = build_parser().parse_known_args([*GIVEN, flag])
    assert rest == [flag]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["extract"], "required"),
        ([*GIVEN, "--chunk-size", "many"], "invalid int value: 'many'"),
        (["search", "out"], "one of the arguments --image --uri is required"),
        (["search", "out", "--uri", "a", "--image", "b"], "not allowed with"),
        (["report", "out"], "--html"),
    ],
)
def test_mistakes_are_usage_errors_that_name_the_command(command, told):
    with pytest.raises(ArgumentError, match=f"{told}.*; see `beamvec.* --help`"):
        build_parser().parse_args(command)


def test_doctor_takes_what_extract_takes_and_needs_none_of_it():
    args = build_parser().parse_args(["doctor"])
    assert set(vars(args)) == set(vars(parse()))
    assert make_model_config(vars(args)) == ModelConfig()


def read_help(command, capsys):
    """Return what `beamvec COMMAND --help` prints."""
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args([command, "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["extract", "doctor", "inspect", "search", "probe", "model"])
def test_every_command_has_help(command, capsys):
    assert f"usage: beamvec {command}" in read_help(command, capsys)


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_help_of_extract_has_groups_an_example_and_whole_urls(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    lines = read_help("extract", capsys).splitlines()
    groups = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert groups == ["options:", "input:", "model:", "output:", "running:", "Beam:", "example:"]
    assert any(line.endswith(f"({DEFAULT_MODEL})") for line in lines)
    example = next(line for line in lines if line.startswith("  beamvec extract"))
    assert build_parser().parse_args(example.split()[1:]).limit == 100
