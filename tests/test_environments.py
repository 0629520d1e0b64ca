"""A run gives the same rows wherever it is started: a table of surroundings, a run in each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import hash_files

NOBODY = "setpriv --reuid=65534 --regid=65534 --clear-groups"
NO_SHM = "unshare -m bash -c 'umount -l /dev/shm; exec \"$@\"' bash"

# What a shell does before it runs "$@", which is the command.
SURROUNDINGS = {
    "few file descriptors": 'ulimit -n 32; "$@"',
    "no home": 'unset HOME XDG_CACHE_HOME; "$@"',
    "no folder for temporary files": 'unset TMPDIR TEMP TMP; "$@"',
    "one that is not there": 'export TMPDIR=/nowhere/at/all; "$@"',
    "files for nobody else": 'umask 077; "$@"',
    "files for everybody": 'umask 0; "$@"',
    "far east": 'export TZ=Pacific/Kiritimati; "$@"',
    "no such time zone": 'export TZ=Nowhere/Land; "$@"',
    "plain C": 'unset LC_ALL; export LANG=C; "$@"',
    "POSIX": 'export LC_ALL=POSIX PYTHONUTF8=0 PYTHONCOERCECLOCALE=0; "$@"',
    "no such language": 'exec env LC_ALL=xx_XX.UTF-8 "$@"',
    "a folder that nobody writes to": 'cd /proc; "$@"',
    "a folder that is gone": 'mkdir gone; cd gone; rmdir ../gone; "$@"',
    "warnings are errors": 'export PYTHONWARNINGS=error; "$@"',
    "no assertions": 'export PYTHONOPTIMIZE=2; "$@"',
    "nothing to read from": '"$@" <&-',
    "nobody to tell": '"$@" >&- 2>&-',
    "nearly no environment": 'exec env -i PATH="$PATH" PYTHONPATH="$PYTHONPATH" "$@"',
    "no shared memory": f'{NO_SHM} "$@"',
    "another user": f'{NOBODY} "$@"',
}
NEEDS = {"no shared memory": NO_SHM, "another user": NOBODY}


@pytest.fixture(scope="module")
def place(photos: Path, model_path: str) -> Iterator[Path]:
    """A folder with some images and a model, which other users may read and write."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o777)
        shutil.copytree(photos / "group0", folder / "photos")
        shutil.copytree(model_path, folder / "model")
        yield folder


def run(place: Path, output: Path, script: str) -> subprocess.CompletedProcess:
    """Run `beamvec extract` in a shell."""
    flags = ["--input", place / "photos", "--model", place / "model", "--output", output]
    command = [sys.executable, "-m", "beamvec", "extract", "--quiet", *map(str, flags)]
    return subprocess.run(
        ["bash", "-c", script, "bash", *command],
        cwd=place,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, map(absolute, sys.path)))},
        capture_output=True,
        text=True,
        check=False,
    )


def absolute(path: str) -> str:
    return path and os.path.abspath(path)


@pytest.fixture(scope="module")
def usual(place: Path) -> dict[str, str]:
    """The files of a run as it is usually started."""
    done = run(place, place / "usual", '"$@"')
    assert (done.returncode, done.stderr) == (0, "")
    return hash_files(place / "usual")


def is_possible(needed: str) -> bool:
    """Tell whether Python, started in this way, can start another one, as a run does."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    command = ["bash", "-c", f'{needed} "$0" -c "$1"', sys.executable, code]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_run_gives_the_same_rows_wherever_it_is_started(name, place, usual):
    needed = NEEDS.get(name)
    if needed and not is_possible(needed):
        pytest.skip(f"this user cannot run Python by: {needed}")
    output = place / name.replace(" ", "-")
    done = run(place, output, SURROUNDINGS[name])
    assert (done.returncode, done.stderr) == (0, "")
    assert hash_files(output) == usual
