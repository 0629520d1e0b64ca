"""What `beamvec tune` finds on this machine, and what its choice gains over the default.

    python benchmarks/tune.py [--images DIR] [--model DIR] [--rounds 1]

A round is the whole command, a few minutes; its table, and each variant's images/s over the rounds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import inputs
from inputs import Setup
from measure import Failed, Report, take_turns

_COUNT = 2_048


def run(setup: Setup) -> Report:
    """Run the benchmark."""
    report = Report("tune", "what `beamvec tune` finds on this machine")
    photos = setup.photos(setup.scaled(_COUNT))
    report.notes.append(f"{len(photos)} images at most for each")
    listed = setup.write_list(photos)
    command = [sys.executable, "-m", "beamvec", "tune", "--input-list", listed, "--json"]
    command += ["--model", setup.model, "--spec", "scale=1/255"]

    def tune() -> list[dict[str, Any]]:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"exit code {done.returncode}: {done.stderr.splitlines()[-1]}")
        variants: list[dict[str, Any]] = json.loads(done.stdout)["variants"]
        return [each for each in variants if not each["error"]]

    rounds = take_turns({"tune": tune}, setup.rounds, report).get("tune", [])
    rates: dict[str, list[float]] = {}
    for variants in rounds:
        for each in variants:
            rates.setdefault(" ".join(map(str, each["flags"])), []).append(each["images_per_s"])
    for flags, values in rates.items():
        report.add(flags, "images/s", values)
    default, *_ = rates.values() or [[]]
    best = max(rates, key=lambda flags: max(rates[flags]), default="")
    report.add_ratio(f"{best} / the default", rates.get(best, []), default)
    return report


if __name__ == "__main__":
    sys.exit(inputs.run_alone(run, __doc__))
