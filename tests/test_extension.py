"""One kind of input, one engine, one column more: an object and an entry of a registry each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from beamvec.embeddings import schema
from beamvec.embeddings.schema import Column
from beamvec.errors import InputError
from beamvec.model_spec import ModelSpec
from beamvec.pipeline.commands import doctor, extract_flags
from beamvec.pipeline.commands.main import main
from beamvec.transforms.inference.engine import CompiledModel, Engine
from beamvec.transforms.inference.registry import ENGINES
from beamvec.transforms.inputs import registry
from beamvec.transforms.inputs.source import Option, Source
from beamvec.transforms.records.images import ImageRef


@dataclass(frozen=True)
class JsonLines(Source):
    """A toy: a file with a JSON object a line, whose label rides along."""

    uri_key: str = "uri"

    kind = "json_lines"
    metavar = "FILE"
    help = "a file with a JSON object a line"
    options = (Option("uri_key", "KEY", "the key of the URI (uri)"),)

    def find_columns(self) -> pa.Schema:
        if not next(self.list_images(), None):
            raise InputError(f"`json_lines={self.names[0]}` is empty")
        return pa.schema([pa.field("label", pa.string())])

    def list_images(self) -> Iterator[ImageRef]:
        with open(self.names[0]) as file:
            for content in map(json.loads, file):
                yield ImageRef(content[self.uri_key], columns=(content["label"],))


@pytest.fixture
def json_lines(monkeypatch):
    sources = (*registry.SOURCES, JsonLines)
    for module in (registry, extract_flags, doctor):
        monkeypatch.setattr(module, "SOURCES", sources)


@pytest.mark.usefixtures("json_lines")
def test_a_kind_of_input(extract, photos, dataset, tmp_path, capsys):
    files = [str(photos / "group0" / name) for name in ("00.jpg", "06.jpg")]
    lines = [json.dumps({"at": uri, "label": f"l{i}"}) for i, uri in enumerate(files)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    flags = ["--json-lines", tmp_path / "a.jsonl", "--uri-key", "at"]
    assert extract(*flags) == 0
    rows = dataset().read_metadata(["uri", "label"]).to_pylist()
    assert rows == [{"uri": uri, "label": f"l{i}"} for i, uri in enumerate(files)]
    assert dataset().run.input.source == "json_lines"
    assert extract(*flags) == 0
    (tmp_path / "a.jsonl").write_text("")
    assert extract(*flags, "--append") == 2
    assert f"--json-lines {tmp_path}/a.jsonl is empty" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["extract", "--help"])
    assert "--json-lines FILE" in capsys.readouterr().out


def compile_mean(_files, _said, config) -> CompiledModel:
    def call(pixels):
        assert pixels.shape == (config.batch_size, 8, 8, 3)
        return pixels.mean(axis=(1, 2)).astype(np.float32)

    return CompiledModel(ModelSpec(size=8, dimension=3), "mean", call)


def test_an_engine(extract, photos, dataset, monkeypatch):
    engine = Engine(
        "mean", ("saved_model",), ("float32",), ("any",), ("numpy",), None, compile_mean
    )
    monkeypatch.setitem(ENGINES, "mean", engine)
    assert extract("--input", photos / "group0", "--engine", "mean", "--batch-size", "3") == 0
    made = dataset()
    assert (made.settings.engine, made.dimension, made.run.input_size) == ("mean", 3, 8)
    assert "tensorflow" not in made.run.versions
    vectors = made.read_vectors()
    assert vectors.min() > 0
    assert vectors.max() < 255
    assert extract("--input", photos / "group0") == 2


def test_an_engine_is_asked_for_what_it_has_only(extract, photos, monkeypatch, capsys):
    engine = Engine(
        "mean", ("saved_model",), ("float32",), ("any",), ("numpy",), None, compile_mean
    )
    monkeypatch.setitem(ENGINES, "mean", engine)
    flags = ["--input", photos, "--engine", "mean"]
    assert extract(*flags, "--precision", "bfloat16") == 2
    assert "--engine mean has no --precision bfloat16; it has float32" in capsys.readouterr().err
    assert extract(*flags, "--require-gpu") == 2


def test_a_column(extract, photos, dataset, monkeypatch, tmp_path):
    landscape = Column("ratio", pa.float64(), ("embeddings",), lambda image: image.width / 40)
    monkeypatch.setattr(schema, "COLUMNS", (*schema.COLUMNS, landscape))
    assert extract("--input", photos, "--max-failure-ratio", "1") == 0
    made = dataset()
    assert made.read_metadata("ratio")["ratio"].to_pylist() == [1.5] * 21
    assert "ratio" not in made.read_failures().column_names
    assert main(["inspect", "--verify", str(tmp_path / "out")]) == 0
