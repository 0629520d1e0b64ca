"""`beamvec extract` on a terminal: exit codes, and what it prints."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from conftest import hash_files

import samples
from beamvec.pipeline.commands.main import main


def read_run(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_too_many_failures_end_with_1_and_name_them(extract, photos, capsys):
    assert extract("--input", photos) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "2 of 23 images failed (8.70%)" in error
    assert "--max-failure-ratio 0.01" in error
    assert "failures" in error


def test_a_finished_dataset_ends_at_once(extract, photos, tmp_path, capsys):
    extract("--input", photos / "group0")
    before = hash_files(tmp_path / "out"), (tmp_path / "out/run.json").stat().st_mtime_ns
    capsys.readouterr()
    assert extract("--input", photos / "group0", "--chunk-size", "3") == 0
    assert "finished already" in capsys.readouterr().out
    assert before == (hash_files(tmp_path / "out"), (tmp_path / "out/run.json").stat().st_mtime_ns)


def test_a_finished_dataset_notices_a_changed_input(extract, photos, tmp_path, capsys):
    folder = tmp_path / "in"
    shutil.copytree(photos / "group0", folder)
    extract("--input", folder)
    samples.make_image(50).save(folder / "new.png")
    assert extract("--input", folder) == 2
    assert "11 images then, 12 now" in capsys.readouterr().err
    assert extract("--input", folder, "--overwrite") == 0
    assert read_run(tmp_path / "out")["counts"]["embeddings"] == 12


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(extract, model_path, photos, tmp_path):
    flags = ["--input", photos, "--chunk-size", "2", "--max-failure-ratio", "1"]
    extract(*flags, output=tmp_path / "reference")
    command = [
        sys.executable,
        "-m",
        "beamvec.pipeline.commands.main",
        "extract",
        *flags,
        "--model",
        model_path,
    ]
    run = subprocess.Popen([*command, "--output", tmp_path / "out", "--direct_num_workers=1"])
    chunks = tmp_path / "out" / "chunks"
    while run.poll() is None and len(list(chunks.glob("*.parquet"))) < 3:
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert extract(*flags) == 0
    assert hash_files(tmp_path / "out") == hash_files(tmp_path / "reference")
    assert read_run(tmp_path / "out")["counts"]["taken_over"] >= 4


def test_ctrl_c_keeps_the_work_and_says_so(model_path, photos, tmp_path):
    pipe = tmp_path / "list"
    os.mkfifo(pipe)  # The run waits for the list until it is interrupted.
    command = [
        sys.executable,
        "-m",
        "beamvec.pipeline.commands.main",
        "extract",
        "--input-list",
        pipe,
    ]
    run = subprocess.Popen(
        [*command, "--model", model_path, "--output", tmp_path / "out"],
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, a shell may have turned Ctrl-C off.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with pipe.open("w") as end:  # For the check of the first line.
        end.write(f"{photos}/group0/00.jpg\n")
    while run.poll() is None and not (tmp_path / "out/chunks/run.json").exists():
        time.sleep(0.01)
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the same command goes on" in error
    assert "Traceback" not in error


def test_sigterm_keeps_the_work_as_ctrl_c_does(model_path, photos, tmp_path):
    flags = ["--input", photos / "group0", "--model", model_path, "--output", tmp_path / "out"]
    command = [sys.executable, "-m", "beamvec", "extract", *flags, "--chunk-size", "1"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while run.poll() is None and not list((tmp_path / "out").glob("chunks/*.parquet")):
        time.sleep(0.001)
    run.send_signal(signal.SIGTERM)
    _, error = run.communicate(timeout=60)
    assert (run.returncode, "the same command goes on" in error) == (143, True)
    assert "Traceback" not in error
    assert subprocess.run(command, capture_output=True, check=True).returncode == 0


def test_a_limit_takes_the_first_images_and_an_append_the_rest(extract, photos, dataset, capsys):
    names = sorted(map(str, (photos / "group0").glob("*.*")))
    assert extract("--input", photos / "group0", "--limit", "3") == 0
    assert sorted(dataset().read_uris()) == names[:3]
    assert dataset().run.input.limit == 3
    capsys.readouterr()
    assert extract("--input", photos / "group0", "--limit", "3") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert extract("--input", photos / "group0", "--limit", "5") == 2
    told = capsys.readouterr().err
    assert "3 images then, 5 now, --limit 3 then, --limit 5 now" in told
    assert "--append" in told
    assert extract("--input", photos / "group0", "--limit", "5", "--append") == 0
    assert sorted(dataset().read_uris()) == names[:5]
    assert extract("--input", photos / "group0", "--append") == 0
    assert sorted(dataset().read_uris()) == names


def test_a_limit_holds_for_lists_and_containers(extract, photos, tmp_path):
    uris = sorted(map(str, (photos / "group0").glob("*.jpg")), reverse=True)
    (tmp_path / "list.txt").write_text("\n".join([uris[0], *uris]))
    extract("--input-list", tmp_path / "list.txt", "--limit", "3", output=tmp_path / "a")
    counts = read_run(tmp_path / "a")["counts"]
    assert (counts["inputs"], counts["embeddings"], counts["duplicates"]) == (3, 2, 1)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for uri in uris:
            archive.write(uri, Path(uri).name)
    extract("--input-zip", tmp_path / "in.zip", "--limit", "2", output=tmp_path / "b")
    assert read_run(tmp_path / "b")["counts"]["inputs"] == 2


def test_half_a_run_goes_on_with_another_limit(extract, photos, dataset):
    flags = ["--input", photos / "group0", "--chunk-size", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("beamvec.transforms.output.merge.merge_shard", lambda *_: 1 / 0)
        assert extract(*flags, "--limit", "4") == 3
    assert extract(*flags, "--limit", "8") == 0
    assert (len(dataset()), dataset().run.counts.taken_over) == (8, 4)


def test_a_dry_run_tells_and_writes_nothing(extract, photos, tmp_path, model_path, capsys):
    flags = ["--input", photos / "group0", "--limit", "4", "--dry-run"]
    assert extract(*flags) == 0
    told = capsys.readouterr().out
    for word in ("4 images", "the first 4 at most", model_path, "tensorflow, float32", " new\n"):
        assert word in told
    assert f"beamvec tune --input {photos / 'group0'} --model {model_path}" in told
    assert not (tmp_path / "out").exists()
    extract("--input", photos / "group0")
    before = hash_files(tmp_path / "out"), sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert extract("--input", photos / "group0", "--dry-run", "--overwrite") == 0
    assert "holds a dataset of 11 embeddings and 0 failures: which would be replaced" in (
        capsys.readouterr().out
    )
    assert extract("--input", photos / "group0", "--dry-run", "--resize", "pad") == 2
    assert extract("--input", "/nowhere", "--dry-run") == 2
    assert before == (hash_files(tmp_path / "out"), sorted(tmp_path.rglob("*")))


def test_a_dry_run_fetches_no_model(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    words = ["extract", "--input", str(photos), "--output", str(tmp_path / "out"), "--dry-run"]
    assert main(words) == 0
    assert "would be downloaded first" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_quiet_shows_nothing_and_verbose_names_each_failure(extract, photos, capsys):
    flags = ["--input", photos, "--max-failure-ratio", "1"]
    assert extract(*flags, "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert extract(*flags, "--overwrite", "--verbose") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines if line.startswith("failed: ")] == [
        str(photos / name) for name in ("broken.jpg", "empty.png")
    ]
    assert any(line.startswith("model: ") for line in lines)


def test_a_log_of_json_is_json_to_the_end(extract, photos, capsys):
    assert extract("--input", photos, "--log-format", "json", "--verbose") == 1
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.err.splitlines()]
    assert [line["event"] for line in lines].count("failed") == 2
    assert (lines[-1]["level"], "2 of 23" in lines[-1]["message"]) == ("error", True)
    assert json.loads(shown.out)["counts"]["failures"] == 2


def test_half_a_run_whose_chunk_files_were_damaged_ends_with_the_same_bytes(
    extract, photos, tmp_path, capsys
):
    flags = ["--input", photos / "group0", "--chunk-size", "2"]
    assert extract(*flags, output=tmp_path / "whole") == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("beamvec.transforms.output.merge.merge_shard", lambda *_: 1 / 0)
        assert extract(*flags) == 3
    files = sorted(f for f in (tmp_path / "out" / "chunks").glob("*.parquet"))
    files[0].write_bytes(files[1].read_bytes())
    files[2].write_bytes(files[2].read_bytes()[:-1])
    content = bytearray(files[3].read_bytes())
    content[77] ^= 8
    files[3].write_bytes(content)
    capsys.readouterr()
    assert extract(*flags) == 0
    assert "damaged      3 chunk files, computed again" in capsys.readouterr().out
    assert read_run(tmp_path / "out")["counts"]["damaged"] == 3
    assert hash_files(tmp_path / "out") == hash_files(tmp_path / "whole")


def test_a_failing_pipeline_ends_with_3_and_no_traceback(extract, photos, tmp_path, capsys):
    flags = ["--input", photos / "group0"]
    blocker = tmp_path / "out" / "embeddings"

    # A file where a table wants its folder: a fault of the output that shows up late.
    import beamvec.pipeline.run.launch as module

    prepare = module.prepare_output

    def prepare_and_block(*args, **kwargs):
        prepared = prepare(*args, **kwargs)
        blocker.write_text("in the way")
        return prepared

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "prepare_output", prepare_and_block)
        assert extract(*flags) == 3
    error = capsys.readouterr().err
    assert "the pipeline failed" in error
    assert "Traceback" not in error
    assert extract(*flags) == 2  # What is in the way is the user's.
    blocker.unlink()
    assert extract(*flags) == 0
    assert read_run(tmp_path / "out")["counts"]["taken_over"] == 11


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input", "/nowhere"], "no such file or folder"),
        (["--input", "{photos}/*.nothing"], "no file matches"),
        (["--input", "{tmp}"], "no images in this folder"),
        (["--input-list", "/nowhere.txt"], "cannot read --input-list"),
        (["--input-list", "/dev/null"], "is empty"),
        (["--manifest", "/nowhere.csv"], "cannot read --manifest"),
        (["--manifest", "{photos}/notes.txt"], "must end in .csv"),
        (["--input", "{photos}", "--batch-size", "1"], "--batch-size 1 is out of range"),
        (["--input", "{photos}", "--chunk-size", "0"], "--chunk-size 0 is out of range"),
        (["--input", "{photos}", "--chunk-sise", "4"], "did you mean --chunk-size?"),
        (["--input", "{photos}", "stray"], "--input stray: no such file or folder"),
        (["--input", "{photos}", "--runner", "NoSuch"], "--runner NoSuch"),
        (["--input", "{photos}", "--direct_num_workers", "x"], "invalid int value"),
        (["--input", "{photos}", "--manifest", "x.csv"], "not allowed with"),
        (["--input", "ftp://host/x"], "no filesystem for ftp://"),
        (["--input", "{photos}", "--output", "ftp://host/x"], "no filesystem for ftp://"),
        (["--input", "{photos}", "--model", "ftp://host/x"], "no filesystem for ftp://"),
        ([], "one of the arguments --input"),
    ],
)
def test_mistakes_end_with_2_and_one_line(extract, photos, tmp_path, capsys, flags, message):
    empty = tmp_path / "empty"
    empty.mkdir()
    filled = [flag.format(photos=photos, tmp=empty) for flag in flags]
    assert extract(*filled) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("beamvec: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_ends_with_2(extract, photos, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert extract("--input", photos, output=tmp_path / "file" / "out") == 2
    assert "cannot write to --output" in capsys.readouterr().err


def test_verbose_shows_the_whole_error_and_still_ends_with_3(extract, photos, capsys, monkeypatch):
    def fail(*_):
        raise OSError("the disk is on fire")

    monkeypatch.setattr("beamvec.transforms.output.chunk_files.write_chunk", fail)
    assert extract("--input", photos / "group0", "--verbose") == 3
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.splitlines()[-1].startswith("beamvec: the pipeline failed: ")
    assert "the disk is on fire" in error.splitlines()[-1]
