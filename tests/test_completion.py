"""What lets a shell complete commands and flags."""

from __future__ import annotations

import subprocess

import pytest

from beamvec.pipeline.commands.main import main


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_each_shell_gets_all_commands_and_flags(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("duplicates", "--max-failure-ratio", "bfloat16"))


def test_bash_completes_flags_and_their_values(tmp_path, capsys):
    main(["completion", "bash"])
    (tmp_path / "beamvec").write_text(capsys.readouterr().out)

    def complete(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        ask = (
            f"source ./beamvec; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
            "_shtab_beamvec; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        done = subprocess.run(
            ["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert complete("beamvec", "insp") == ["inspect"]
    assert complete("beamvec", "extract", "--max-f") == ["--max-file-size", "--max-failure-ratio"]
    assert complete("beamvec", "extract", "--resize", "p") == ["pad"]
    assert complete("beamvec", "inspect", "bea") == []  # A file, and a folder is asked for.
