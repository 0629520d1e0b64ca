"""`beamvec tune`: what runs here, how fast, how near to float32, and what it costs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import samples
from beamvec.embeddings import open_dataset
from beamvec.pipeline.commands.main import main
from beamvec.pipeline.run import trial
from beamvec.pipeline.run.trial import Mark, Marks, Trial, TrialError, try_variant

pytest.importorskip("openvino", reason="needs the extra openvino")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Forty images, one of them broken."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(39):
        data = samples.encode(samples.make_image(seed, 60, 40), "JPEG")
        (folder / f"{seed:02}.jpg").write_bytes(data)
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def test_variants_are_measured_and_compared_to_float32(images, model_path, capfd):
    flags = ["--input", str(images), "--model", model_path, "--engine", "openvino"]
    flags += ["--precision", "float32", "--images", "1000000", "--price", "0.5"]
    assert main(["tune", *flags, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    first, *threads = found["variants"]
    assert first["flags"] == ["--engine", "openvino", "--precision", "float32"]
    assert (first["images"], first["failed"], first["cosine"]) == (40, 1, None)
    assert first["images_per_s"] > 0
    assert 0 < first["decode_share"] < 1
    hours = 1e6 / first["images_per_s"] / 3600
    assert first["hours"] == pytest.approx(hours, rel=0.5)
    assert first["cost"] == pytest.approx(first["hours"] * 0.5)
    assert [row["flags"][4:] != [] for row in threads] == [True, True]
    for row in threads:
        assert row["cosine"]["least"] > 0.99999
        assert row["neighbours_kept"] == 1
    rates = {tuple(row["flags"]): row["images_per_s"] for row in found["variants"]}
    assert tuple(found["fastest"]) == max(rates, key=lambda flags: rates[flags])


def test_the_table_has_flags_to_copy_and_what_cannot_be_run(images, model_path, capfd, monkeypatch):
    monkeypatch.setattr("beamvec.pipeline.commands.tune.vary_threads", lambda _: [])
    flags = ["--input", str(images), "--model", model_path, "--precision", "float16"]
    assert main(["tune", *flags, "--engine", "tensorflow"]) == 0
    text = capfd.readouterr().out
    assert "fastest   --engine tensorflow --precision float32" in text
    assert "tensorflow   float16   --precision float16 needs a GPU" in text
    assert "40 images, of which 1 failed" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--images", "0"], "--images is 0"),
        (["--price", "1"], "--price"),
        (["--images", "9", "--price", "-1"], "--price"),
        (["--input", "nowhere"], "--input nowhere: no such file or folder"),
        (["--model", "nowhere"], "nowhere"),
        (["--images", "9", "--price", "nan"], "--price is nan; it must be"),
        (
            ["--precision", "float32", "--calibration-images", "nowhere"],
            "for --precision int8 only",
        ),
        (
            ["--engine", "tensorflow", "--calibration-images", "nowhere"],
            "is for int8, which is not",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_tried(flags, message, images, model_path, capfd):
    assert main(["tune", "--input", str(images), "--model", model_path, *flags]) == 2
    assert message in capfd.readouterr().err


def test_images_that_all_fail_are_nothing_to_time(model_path, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("beamvec.pipeline.commands.tune.vary_threads", lambda _: [])
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(b"no image")
    flags = ["--input", str(tmp_path), "--model", model_path, "--engine", "openvino", "--json"]
    assert main(["tune", *flags, "--precision", "float32"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "none of the first 3 images can be embedded" in err


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_what_is_fast_and_loses_images_is_not_advised(
    images, model_path, capfd, monkeypatch, random, flags
):
    vectors = random.normal(size=(40, 8)).astype(np.float32)

    def try_variant(arguments, _):
        is_exact = arguments["precision"] == "float32"
        shutil.rmtree(arguments["output"], ignore_errors=True)
        samples.write_dataset(Path(arguments["output"]), vectors if is_exact else vectors[:30])
        return Trial(40, 0 if is_exact else 10, 1.0 if is_exact else 9.0, 1.0, 0.5, None)

    monkeypatch.setattr("beamvec.pipeline.run.tuner.try_variant", try_variant)
    command = ["tune", "--input", str(images), "--model", model_path, "--engine", "openvino"]
    assert main([*command, "--precision", "bfloat16", "--images", "9", *flags]) == 0
    text = capfd.readouterr().out
    assert "no embedding of 10 images that have one in float32" in text
    if flags:
        assert json.loads(text)["fastest"][:4] == ["--engine", "openvino", "--precision", "float32"]
    else:
        assert "fastest   --engine openvino --precision float32" in text


@pytest.mark.parametrize("has_exact", [True, False])
def test_images_to_calibrate_on_are_for_int8_only(
    images, model_path, capfd, monkeypatch, random, has_exact
):
    monkeypatch.setattr("beamvec.pipeline.commands.tune.vary_threads", lambda _: [])
    vectors = random.normal(size=(40, 8)).astype(np.float32)

    def try_variant(arguments, _):
        is_int8 = arguments["precision"] == "int8"
        assert arguments.get("calibration_images") == (str(images) if is_int8 else None)
        if not (is_int8 or has_exact):
            raise TrialError("it does not run")
        shutil.rmtree(arguments["output"], ignore_errors=True)
        samples.write_dataset(Path(arguments["output"]), vectors)
        return Trial(40, 0, 1.0, 1.0, 0.5, None)

    monkeypatch.setattr("beamvec.pipeline.run.tuner.try_variant", try_variant)
    command = ["tune", "--input", str(images), "--model", model_path, "--engine", "openvino"]
    assert main([*command, "--precision", "int8", "--calibration-images", str(images)]) == 0
    text = capfd.readouterr().out
    assert ("cosines are to float32 on openvino" in text) == has_exact
    assert ("nothing tells how near" in text) != has_exact


def test_the_pace_of_a_short_run_is_that_of_all_of_it(
    images, model_path, tmp_path, monkeypatch, capfd
):
    """Chunks that end in the same moment tell no pace."""
    burst = [Mark(0.0, 8, 0.0), Mark(1e-6, 40, 0.0)]
    monkeypatch.setattr(Marks, "points", property(lambda _: burst, lambda *_: None), raising=False)
    for name in ("silence", "end_with"):
        monkeypatch.setattr(trial, name, lambda *_: None)
    monkeypatch.setattr(os, "_exit", lambda _: None)
    arguments = {"input": str(images), "model": model_path, "output": str(tmp_path / "out")}
    asked = json.dumps({**arguments, "max_failure_ratio": 1})
    monkeypatch.setattr(sys, "stdin", io.StringIO(asked))
    monkeypatch.setattr(sys, "argv", ["trial", str(os.getppid()), "0"])
    trial.main()
    told = json.loads(capfd.readouterr().out)
    assert 0 < told["images_per_s"] < 10_000


def test_what_is_stopped_leaves_no_folder(images, model_path, tmp_path):
    command = ["tune", "--input", str(images), "--model", model_path, "--engine", "openvino"]
    with subprocess.Popen(
        [sys.executable, "-m", "beamvec", *command],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
    ) as process:
        while not list(tmp_path.glob("beamvec-tune-*/out/_*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert b"beamvec: stopped" in process.stderr.read()
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_kill_9_ends_what_is_being_tried(model_path, tmp_path):
    code = (
        "import json, sys\nfrom beamvec.pipeline.run import trial\n"
        "trial.try_variant(json.loads(sys.argv[1]), [])"
    )
    # A list from nobody who writes: it would wait for ever.
    os.mkfifo(tmp_path / "list")
    arguments = {"input_list": str(tmp_path / "list"), "output": str(tmp_path / "out")}
    asked = json.dumps({**arguments, "model": model_path})
    with subprocess.Popen([sys.executable, "-c", code, asked]) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (found := children.read_text().split()):
            time.sleep(0.01)
        time.sleep(0.5)
        process.kill()
    with contextlib.suppress(FileNotFoundError):
        while Path(f"/proc/{found[0]}/cmdline").read_bytes():  # A dead process has an empty one.
            time.sleep(0.1)


def test_a_variant_runs_in_a_process_of_its_own(images, model_path, tmp_path):
    arguments = {"input": [str(images)], "model": model_path, "output": str(tmp_path / "out")}
    trial = try_variant({**arguments, "max_failure_ratio": 1, "chunk_size": 8}, [])
    assert (trial.images, trial.failed) == (40, 1)
    assert len(open_dataset(str(tmp_path / "out"))) == 39
    assert trial.first_s > 0
    assert trial.memory_bytes is None or trial.memory_bytes > 50e6
    with pytest.raises(TrialError, match=r"precision=float16.* needs a GPU"):
        try_variant({**arguments, "precision": "float16", "overwrite": True}, [])


def test_a_list_from_a_pipe_is_tried_among_files_with_the_names_of_modules(
    images, model_path, tmp_path
):
    for name in ("json", "queue", "config", "beamvec"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger')")
    flags = ["--input-list", "-", "--model", model_path, "--engine", "openvino"]
    start = "import sys; sys.path = [p for p in sys.path if p]; "
    start += "from beamvec.pipeline.commands.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", start, "tune", *flags, "--precision", "float32", "--json"],
        input="".join(f"{file}\n" for file in sorted(images.iterdir())),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["variants"][0]["images"] == 40
