"""Builds an image without a container engine: what a Dockerfile says, in a folder of this machine.

The instructions of the last stage are carried out as they stand, with these stand-ins: a new
virtual environment for Python's image, a folder for /opt/beamvec, and files that the test has for
what comes from other stages.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = "/opt/beamvec"


def parse(text: str) -> list[tuple[str, str]]:
    """Return the instructions and what follows each, without comments, in one line."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(word.upper(), rest.strip()) for word, _, rest in pairs]


def defaults(instructions: list[tuple[str, str]]) -> dict[str, str]:
    """Return the build arguments that have a default."""
    return dict(rest.split("=", 1) for word, rest in instructions if word == "ARG" and "=" in rest)


@dataclass
class Image:
    """A built image: the folder that stands for its root, its working directory and so on."""

    root: Path
    folder: Path
    environment: dict[str, str]
    entrypoint: str


def build(
    file: Path, root: Path, arguments: Mapping[str, str], others: Mapping[str, Path]
) -> Image:
    """Build an image.

    Args:
        file: the Dockerfile; the build's context is the project.
        root: an empty folder.
        arguments: build arguments.
        others: for each path that is copied from another stage, what it is here.
    """
    context = Path(__file__).parents[1]
    instructions = parse(file.read_text())
    builder = _Builder(context, root, {**defaults(instructions), **arguments}, others)
    last = max(i for i, (word, _) in enumerate(instructions) if word == "FROM")
    for word, rest in instructions[last + 1 :]:
        getattr(builder, word.lower())(rest)
    return Image(root, builder.folder, builder.environment, builder.entry)


class _Builder:
    def __init__(
        self,
        context: Path,
        root: Path,
        arguments: Mapping[str, str],
        others: Mapping[str, Path],
    ):
        self._context, self._root, self._others = context, root, others
        self._arguments = arguments
        self.folder = root
        self.entry = ""
        subprocess.run([sys.executable, "-m", "venv", str(root / "venv")], check=True)
        self.environment = {"PATH": f"{root}/venv/bin:/usr/bin:/bin", "HOME": str(root)}

    def _here(self, text: str) -> str:
        return re.sub(rf"(?<![\w.]){FOLDER}\b", f"{self._root}{FOLDER}", text)

    def arg(self, _: str) -> None:
        """Build arguments are known from the start."""

    def env(self, rest: str) -> None:
        for word in shlex.split(rest):
            name, value = word.split("=", 1)
            value = value.replace("$PATH", self.environment["PATH"])
            self.environment[name] = self._here(value)

    def workdir(self, rest: str) -> None:
        self.folder = Path(self._here(rest))
        self.folder.mkdir(parents=True, exist_ok=True)

    def copy(self, rest: str) -> None:
        *sources, target = rest.split()
        if sources[0].startswith("--from="):
            found = self._others[sources[1]]
            shutil.copytree(found, f"{self._root}{target}")
            return
        for source in sources:
            path = self._context / source
            into = self.folder / target
            if path.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(path, into, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                into = into / path.name if target.endswith("/") else into
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, into)

    def run(self, rest: str) -> None:
        environment = {**self._arguments, **self.environment, **_proxies()}
        command = ["/bin/sh", "-c", self._here(rest)]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{rest}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    def entrypoint(self, rest: str) -> None:
        self.entry = rest


def _proxies() -> dict[str, str]:
    """What tells pip of this machine where packages come from."""
    names = re.compile("(?i)(pip_|.*_proxy$|ssl_cert|requests_ca)")
    return {name: value for name, value in os.environ.items() if names.match(name)}
