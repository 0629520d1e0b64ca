"""`beamvec model`, and what the commands tell of a model."""

from __future__ import annotations

import shutil

from beamvec.pipeline.commands.main import main
from beamvec.transforms.inference.description import write_description
from beamvec.transforms.inference.model_files import ModelFiles


def test_model_check_tells_what_it_is(model_path, capsys):
    assert main(["model", "check", model_path]) == 0
    out = capsys.readouterr().out
    assert "[N, 32, 32, 3]" in out
    assert "[N, 16]" in out
    assert ModelFiles.fetch(model_path).fingerprint() in out


def test_random_weights_are_named_in_the_summary_and_in_run_json(
    extract, photos, model_path, tmp_path, capsys
):
    copy = tmp_path / "m"
    shutil.copytree(model_path, copy)
    write_description(ModelFiles.fetch(str(copy)), {}, {"weights": "random"})
    assert extract("--input", photos / "group0", model=str(copy)) == 0
    assert "RANDOM WEIGHTS" in capsys.readouterr().out
    assert '"weights": "random"' in (tmp_path / "out" / "run.json").read_text()
    assert main(["inspect", str(tmp_path / "out")]) == 0
    assert "RANDOM WEIGHTS" in capsys.readouterr().out
