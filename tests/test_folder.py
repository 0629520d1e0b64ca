"""What is in an output folder before a run, of this version and of others."""

from __future__ import annotations

import json
from dataclasses import replace

import old_formats
import pytest
from conftest import hash_files

import samples
from beamvec.embeddings import RunRecord, open_dataset
from beamvec.embeddings.layout import FolderState, Layout, success_content
from beamvec.embeddings.schema import FORMAT_VERSION
from beamvec.embeddings.settings import Settings
from beamvec.errors import OutputError
from beamvec.model_spec import ModelSpec
from beamvec.pipeline.commands.main import main
from beamvec.pipeline.run.claim import Claim, Publication, read_claim
from beamvec.pipeline.run.folder import (
    FoundOutput,
    find_output,
    prepare_output,
    read_record,
    write_failed,
)
from beamvec.transforms.inference.model_files import ModelFiles

SETTINGS = Settings("f" * 64, format_version=FORMAT_VERSION)
RECORD = RunRecord(SETTINGS, "m", 3, state="running")


@pytest.fixture
def layout(tmp_path):
    return Layout(str(tmp_path / "out"))


def read_run(output):
    return json.loads((output / "run.json").read_text())


def test_an_empty_folder_is_empty(layout):
    assert find_output(layout, SETTINGS, overwrite=False) == FoundOutput(FolderState.EMPTY)


def test_a_begun_run_can_go_on_with_the_same_settings_only(layout):
    prepare_output(layout, Claim(RECORD), FoundOutput(FolderState.EMPTY))
    found = find_output(layout, SETTINGS, overwrite=False)
    assert found.state is FolderState.UNFINISHED
    assert found.can_go_on(RECORD)
    assert not found.can_go_on(replace(RECORD, generation=1))
    other = replace(SETTINGS, said=ModelSpec(resize="crop"))
    with pytest.raises(OutputError, match=r"unfinished run .* resize is stretch, not crop"):
        find_output(layout, other, overwrite=False)
    found = find_output(layout, other, overwrite=True)
    assert not found.can_go_on(replace(RECORD, settings=other))


def test_chunks_are_kept_only_for_a_run_that_can_go_on(layout, tmp_path):
    prepare_output(layout, Claim(RECORD), FoundOutput(FolderState.EMPTY))
    chunk = tmp_path / "out" / "chunks" / f"{'ab' * 32}.parquet"
    chunk.write_bytes(b"")
    prepare_output(layout, Claim(RECORD), find_output(layout, SETTINGS, overwrite=False))
    assert chunk.exists()
    other = replace(RECORD, settings=replace(SETTINGS, said=ModelSpec(resize="crop")))
    found = find_output(layout, other.settings, overwrite=True)
    prepare_output(layout, Claim(other), found)
    assert not chunk.exists()


def test_a_failed_run_can_go_on(layout, tmp_path):
    claim, _ = prepare_output(layout, Claim(RECORD), FoundOutput(FolderState.EMPTY))
    assert read_run(tmp_path / "out")["state"] == "running"
    write_failed(layout, claim, "no space left")
    run = read_run(tmp_path / "out")
    assert (run["state"], run["error"]) == ("failed", "no space left")
    assert find_output(layout, SETTINGS, overwrite=False).can_go_on(RECORD)


def test_a_failed_append_leaves_the_record_of_the_dataset_alone(layout, tmp_path):
    finished = replace(RECORD, state="finished")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(finished.to_json())
    (tmp_path / "out" / "_SUCCESS").write_bytes(success_content(finished.to_json().encode()))
    later = replace(RECORD, generation=1)
    claim, _ = prepare_output(layout, Claim(later), FoundOutput(FolderState.FINISHED, finished))
    write_failed(layout, claim, "no space left")
    assert read_record(layout.run_file) == finished
    assert read_claim(layout).run == replace(later, state="failed", error="no space left")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"settings": 1}'])
def test_a_damaged_record_says_what_to_do(layout, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(content)
    with pytest.raises(OutputError, match=r"is damaged: .*; choose another `output`, or remove it"):
        find_output(layout, SETTINGS, overwrite=True)


def test_a_folder_that_is_being_published_is_told_apart(layout):
    Claim(RECORD, publication=Publication(("embeddings/part-00000-of-00001.parquet",))).write(
        layout
    )
    found = find_output(layout, SETTINGS, overwrite=False)
    assert found.state is FolderState.PUBLISHING


def test_half_a_run_of_format_1_is_started_over(extract, photos, model_path, tmp_path, capsys):
    output = tmp_path / "out"
    old_formats.begin(output, ModelFiles.fetch(model_path).fingerprint())
    (output / "chunks" / f"{'0' * 64}.parquet").write_bytes(b"PAR1 of another version PAR1")
    assert extract("--input", photos / "group0") == 0
    shown = capsys.readouterr()
    assert "begun by another version of beamvec (format 1, this one writes 3)" in shown.err
    assert "it is started over" in shown.err
    run = read_run(output)
    assert run["counts"]["taken_over"] == 0
    assert len(run["notes"]) == 1
    assert not (output / "chunks").exists()
    extract("--input", photos / "group0", output=tmp_path / "undisturbed")
    assert hash_files(output) == hash_files(tmp_path / "undisturbed")


def test_half_a_run_of_format_1_with_other_settings_is_refused(extract, photos, tmp_path, capsys):
    old_formats.begin(tmp_path / "out", "0" * 64)
    assert extract("--input", photos / "group0") == 2
    assert "run made with other settings: model is 000" in capsys.readouterr().err
    assert extract("--input", photos / "group0", "--overwrite") == 0


@pytest.mark.parametrize("kind", ["input", "input_list", "manifest"])
def test_a_dataset_of_format_1_is_read_left_alone_and_appended_to(
    extract, photos, tmp_path, capsys, kind
):
    one, two = (str(photos / "group0" / name) for name in ("00.jpg", "06.jpg"))
    named = tmp_path / "named.csv"
    named.write_text(f"{one}\n" if kind == "input_list" else f"uri\n{one}\n")
    flags = ["--" + kind.replace("_", "-"), one if kind == "input" else named]
    extract(*flags)
    output = tmp_path / "out"
    old_formats.age(output)
    aged = (output / "run.json").read_text()
    capsys.readouterr()
    assert main(["inspect", "--verify", str(output)]) == 0
    assert "made by beamvec 0.1.0" in capsys.readouterr().out
    assert extract(*flags) == 0
    assert "finished already" in capsys.readouterr().out
    assert (output / "run.json").read_text() == aged
    assert extract("--input", two, "--append") == 0
    dataset = open_dataset(str(output))
    assert sorted(dataset.read_uris()) == [one, two]
    run = dataset.run
    assert (run.version, run.input.source, len(run.input.names)) == ("0.1.0", kind, 1)
    assert [later.input.names for later in run.appended] == [(two,)]
    assert main(["inspect", "--verify", str(output)]) == 0
    assert extract(*flags) == 0


def test_a_dataset_of_a_later_format_is_refused_by_name(extract, photos, tmp_path, capsys):
    extract("--input", photos / "group0")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    run["settings"]["format_version"] = 99
    samples.write_record(tmp_path / "out", {**run, "model": {"of": "tomorrow"}})
    for command in (["inspect", str(tmp_path / "out")], None):
        code = main(command) if command else extract("--input", photos / "group0", "--overwrite")
        assert code == 2
        error = capsys.readouterr().err
        assert "is of format 99, and this beamvec reads formats up to 3; upgrade beamvec" in error
        assert error.count("\n") == 1


def test_a_folder_of_a_dataset_is_no_place_for_another(extract, photos, tmp_path, capsys):
    assert extract("--input", photos / "group0") == 0
    before = hash_files(tmp_path / "out")
    for name in ("embeddings", "_inputs"):
        output = tmp_path / "out" / name
        assert extract("--input", photos / "group0", output=output) == 2
        told = f"--output {output} is a folder of the dataset {tmp_path / 'out'}"
        assert told in capsys.readouterr().err
    assert hash_files(tmp_path / "out") == before
    assert extract("--input", photos / "group0", output=tmp_path / "embeddings") == 0


def test_files_of_others_are_never_overwritten(extract, photos, tmp_path, capsys):
    (tmp_path / "out" / "embeddings").mkdir(parents=True)
    (tmp_path / "out" / "embeddings" / "thesis.txt").write_text("ten years of work")
    assert extract("--input", photos, "--overwrite") == 2
    assert "choose another --output" in capsys.readouterr().err
    assert (tmp_path / "out" / "embeddings" / "thesis.txt").exists()


def test_other_settings_are_refused_by_name(extract, photos, tmp_path, capsys):
    extract("--input", photos / "group0")
    samples.save_tiny_model(str(tmp_path / "other"), seed=1)
    before = hash_files(tmp_path / "out")
    assert extract("--input", photos / "group0", "--resize", "pad") == 2
    assert "resize is stretch, not pad" in capsys.readouterr().err
    assert extract("--input", photos / "group0", model=str(tmp_path / "other")) == 2
    assert "model is " in capsys.readouterr().err
    assert hash_files(tmp_path / "out") == before
    assert extract("--input", photos / "group0", "--resize", "pad", "--overwrite") == 0
    assert hash_files(tmp_path / "out") != before
