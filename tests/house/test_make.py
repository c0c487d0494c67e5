"""The Makefile's refusals: one sentence that names the remedy, before anything is installed."""

from __future__ import annotations

import os
import subprocess

import pytest

TOO_OLD = 'case "$*" in *version_info*) exit 1;; *--version*) echo Python 3.9.2;; esac'
NO_VENV = 'case "$*" in *ensurepip*) exit 1;; esac; exit 0'


def _make(root, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *words], cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("script", "words"),
    [(None, ["found no", "apt-get install python3", "PYTHON="]), (TOO_OLD, ["3.11 or newer", "Python 3.9.2"]),
     (NO_VENV, ["venv module", "python3-venv"])],
    ids=["absent", "too old", "without venv"],
)  # fmt: skip
def test_setup_says_what_python_it_needs(root, tmp_path, script, words):
    python = tmp_path / "python"
    if script:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
    run = _make(root, "setup", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert run.returncode != 0
    said = run.stderr.splitlines()[0]
    assert said.startswith("setup: ") and all(word in said for word in words), said
    assert not (tmp_path / "venv").exists()


def test_help_is_the_default_and_lists_every_command(root):
    said = _make(root).stdout
    for target in ("setup", "book", "test", "check", "lab", "serve"):
        assert f"make {target}" in said


def test_the_ci_script_is_sound_bash(root):
    assert os.access(root / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", str(root / ".ci" / "run")], check=True)
