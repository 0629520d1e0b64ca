"""Frameworks are kept off the screen, in a process of its own: it cannot be undone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SPEAK = """
import logging, os, sys, warnings
{first}
logging.getLogger("apache_beam").error("a log")
warnings.warn("a warning")
print(os.environ.get("TF_CPP_MIN_LOG_LEVEL"), os.environ.get("GRPC_VERBOSITY"))
"""
SILENCE = "from beamvec.pipeline.silence import silence; silence()"


def speak(first: str, **environment: str) -> subprocess.CompletedProcess:
    unset = {"TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY"}
    known = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(
        [sys.executable, "-c", SPEAK.format(first=first)],
        env={**known, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_logs_and_warnings_are_silent():
    done = speak(SILENCE)
    assert (done.stdout, done.stderr) == ("3 NONE\n", "")


def test_they_speak_without_it():
    error = speak("").stderr
    assert "a log" in error
    assert "a warning" in error


@pytest.mark.parametrize("name", ["TF_CPP_MIN_LOG_LEVEL", "GRPC_VERBOSITY"])
def test_what_the_user_has_set_stays(name):
    assert "user" in speak(SILENCE, **{name: "user"}).stdout


def test_importing_beamvec_changes_nothing():
    assert speak("import beamvec; beamvec.open_dataset").stdout == "None None\n"
