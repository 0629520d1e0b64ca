"""Containers of every kind, from the command line: as files of their own, run for run."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path

import children
import pytest
from conftest import hash_files
from crashes import Crash
from made_containers import WRITERS, make_contents, write_folder

from beamvec.embeddings import open_dataset
from beamvec.pipeline.commands.main import main
from beamvec.transforms.inputs.registry import make_source
from chaos import Moment, extract_and_die

LENIENT = ("--max-failure-ratio", "1", "--chunk-size", "4")
KINDS = sorted(WRITERS)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A folder that holds containers only."""
    (tmp_path / "box").mkdir()
    return tmp_path / "box"


def flag(kind: str) -> str:
    return f"--input-{kind}"


def rows(output: Path, columns=("sha256", "width", "height", "format", "size_bytes")) -> list:
    """Return what is known of each embedded image and its vector, in the order of hashes."""
    dataset = open_dataset(str(output))
    vectors = dataset.read_vectors()
    known = dataset.read_metadata(list(columns)).to_pylist()
    return sorted(
        (*row.values(), vector.tobytes()) for row, vector in zip(known, vectors, strict=True)
    )


def failures(output: Path) -> list[tuple[str, str, str]]:
    found = open_dataset(str(output)).read_failures().to_pylist()
    return sorted((row["stage"], row["error_type"], row["message"]) for row in found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_gives_what_its_files_give(extract, tmp_path, kind, box):
    contents = make_contents()
    folder, whole = write_folder(tmp_path / "files", contents), tmp_path / "whole"
    assert extract("--input", folder, *LENIENT, output=whole) == 0
    path = WRITERS[kind](box / f"a.{kind}", contents)
    outputs = [tmp_path / name for name in ("one", "two", "three")]
    assert extract(flag(kind), path, *LENIENT, output=outputs[0]) == 0
    assert rows(outputs[0]) == rows(whole)
    assert failures(outputs[0]) == failures(whole)
    assert main(["inspect", "--verify", str(outputs[0])]) == 0
    uris = open_dataset(str(outputs[0])).read_metadata("uri")["uri"].to_pylist()
    assert uris == sorted(uris)
    assert all(uri.startswith(f"{path}#") for uri in uris)
    # Chunks, their order and the way that the container is named change no byte.
    assert extract(flag(kind), box, *LENIENT, "--chunk-size", "5", output=outputs[1]) == 0
    assert extract(flag(kind), f"{box}/*.{kind}", *LENIENT, output=outputs[2]) == 0
    assert hash_files(outputs[1]) == hash_files(outputs[2]) == hash_files(outputs[0])
    assert extract(flag(kind), path, *LENIENT, output=outputs[0]) == 0
    os.utime(path, (1, 1))
    assert extract(flag(kind), path, *LENIENT, output=outputs[0]) == 2


@pytest.mark.parametrize("kind", ["parquet", "zip"])
def test_runs_are_spread_over_parts_and_the_accounts_close(
    extract, tmp_path, kind, box, monkeypatch
):
    monkeypatch.setattr("beamvec.transforms.inputs.containers.RUN_IMAGES", 3)
    for module in ("parquet_files", "tfrecord_files"):
        monkeypatch.setattr(f"beamvec.transforms.inputs.{module}.RUN_IMAGES", 3)
    contents = make_contents(30)
    for name, some in (("a", slice(0, 20)), ("b", slice(20, 30))):
        WRITERS[kind](box / f"{name}.{kind}", dict(list(contents.items())[some]))
    twice = [flag(kind), box, flag(kind), box / f"b.{kind}"]
    flags = ["--rows-per-shard", "8", *LENIENT]
    assert extract(*twice, *flags, "--chunk-size", "2") == 0
    run = open_dataset(str(tmp_path / "out")).run
    assert run.counts.inputs == 40
    assert run.counts.duplicates == 10
    assert run.counts.embeddings + run.counts.failures == 30
    assert len([name for name in run.files if name.startswith("embeddings/")]) == 5
    assert main(["inspect", "--verify", str(tmp_path / "out")]) == 0
    assert extract(*twice, *flags, "--chunk-size", "9", output=tmp_path / "other") == 0
    assert hash_files(tmp_path / "other") == hash_files(tmp_path / "out")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_members_in_no_order_are_read_side_by_side(extract, tmp_path, kind, box, monkeypatch):
    monkeypatch.setattr("beamvec.transforms.inputs.containers.RUN_IMAGES", 5)
    contents = make_contents(24)
    order = sorted(contents, key=lambda name: hashlib.sha256(name.encode()).digest())
    path = WRITERS[kind](box / f"a.{kind}", {name: contents[name] for name in order})
    outputs = [tmp_path / f"out{size}" for size in ("2", "7")]
    for output in outputs:
        flags = ["--rows-per-shard", "12", *LENIENT, "--chunk-size", output.name[3:]]
        assert extract(flag(kind), path, *flags, output=output) == 0
        assert main(["inspect", "--verify", str(output)]) == 0
    assert hash_files(outputs[0]) == hash_files(outputs[1])
    ordered = WRITERS[kind](tmp_path / f"b.{kind}", contents)
    assert extract(flag(kind), ordered, *LENIENT) == 0
    assert rows(outputs[0]) == rows(tmp_path / "out")


@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_append_embeds_what_is_new_and_tries_failures_again(extract, tmp_path, kind, box):
    contents = make_contents()
    first = WRITERS[kind](box / f"a.{kind}", contents)
    assert extract(flag(kind), first, *LENIENT) == 0
    more = {f"x{name}": content for name, content in make_contents(6).items()}
    WRITERS[kind](box / f"b.{kind}", more)
    # Those that failed are not named any more, so that only the dataset tells of them.
    assert extract(flag(kind), box / f"b.{kind}", *LENIENT, "--append") == 0
    run = open_dataset(str(tmp_path / "out")).run
    assert (run.counts.inputs, run.counts.embeddings, run.counts.failures) == (18, 14, 4)
    assert main(["inspect", "--verify", str(tmp_path / "out")]) == 0
    assert extract(flag(kind), box, *LENIENT, "--append") == 0
    run = open_dataset(str(tmp_path / "out")).run
    assert (run.counts.inputs, run.counts.embeddings, run.counts.failures) == (18, 14, 4)
    assert all(stage == "decode" for stage, _, _ in failures(tmp_path / "out"))


@pytest.mark.parametrize("kind", ["tfrecord", "zip"])
def test_a_run_that_is_killed_goes_on(extract, tmp_path, kind, box):
    path = WRITERS[kind](box / f"a.{kind}", make_contents(24))
    command = [flag(kind), path, *LENIENT, "--direct_num_workers=1"]
    with Crash(tmp_path / "whole").watch() as crash:
        assert extract(*command, output=tmp_path / "whole") == 0
    for at in range(1, crash.count, max(1, crash.count // 4)):
        output = tmp_path / f"out{at}"
        with Crash(output, at).watch():
            extract(*command, output=output)
        assert extract(*command, output=output) == 0
        assert hash_files(output) == hash_files(tmp_path / "whole"), at


@pytest.mark.parametrize("kind", KINDS)
def test_input_says_which_flag_takes_a_container(extract, kind, box, capsys):
    path = WRITERS[kind](box / f"a.{kind}", {})
    assert extract("--input", path) == 2
    assert f"holds many; give it to --input-{kind}" in capsys.readouterr().err
    assert extract("--input", f"{box}/*.{kind}") == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_container_ends_the_run_by_name(extract, kind, box, capsys):
    for name in ("a", "b"):
        path = WRITERS[kind](box / f"{name}.{kind}", make_contents())
    path.write_bytes(path.read_bytes()[:-10_000])
    assert extract(flag(kind), box, *LENIENT) == 3
    assert f"--input-{kind} {path} is damaged: " in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["parquet", "tar"])
def test_kill_9_and_resume(extract, tmp_path, kind, box, model_path):
    path = WRITERS[kind](box / f"a.{kind}", make_contents(24))
    output = tmp_path / "out"
    command = [flag(kind), str(path), *LENIENT, "--output", str(output), "--model", model_path]
    log = tmp_path / "log"
    run = children.start(
        extract_and_die, command, tmp_path / "none", output, Moment("chunks", 7, 0), log=log
    )
    assert children.wait(run, log) == -signal.SIGKILL, log.read_text()
    assert list((output / "chunks").iterdir())
    assert extract(flag(kind), path, *LENIENT) == 0
    assert json.loads((output / "run.json").read_text())["counts"]["taken_over"] > 0
    assert extract(flag(kind), path, *LENIENT, output=tmp_path / "whole") == 0
    assert hash_files(output) == hash_files(tmp_path / "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_that_changes_while_it_is_read_is_told(kind, box):
    path = WRITERS[kind](box / f"a.{kind}", make_contents())
    source = make_source({f"input_{kind}": str(path)}).check()
    refs = source.find_some(3)
    os.utime(path, (1, 1))
    results = [result for _, result in source.reader.read_run(refs)]
    assert [str(result.error) for result in results] == [
        "the container has changed since it was listed"
    ] * 3
    path.unlink()
    assert {type(r.error) for _, r in source.reader.read_run(refs)} == {FileNotFoundError}
