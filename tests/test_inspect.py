"""`beamvec inspect`."""

from __future__ import annotations

from beamvec.pipeline.commands.main import main


def test_inspect_tells_the_accounts(extract, photos, tmp_path, capsys):
    extract("--input", photos, "--max-failure-ratio", "1")
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "23 inputs = 21 embeddings + 2 failures + 0 duplicates" in out
    assert "21 rows of 16 numbers" in out
    assert "skipped      2 files not looked at: 1 x no extension, 1 x .txt" in out
    assert "1 x decode: image file is truncated" in out
