"""How readers come by what is not installed: by names that exist and are other people's well-known ones, never by ours."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tomllib

import pytest

from richness import extras


@pytest.mark.parametrize("extra", ["data", "photos", "cluster"])
def test_the_command_names_what_the_extra_lists(root, extra):
    listed = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    command = extras.install_command(extra)
    assert [one for one in listed if one not in command] == [] and "richness" not in command


def test_the_source_alone_names_where_it_is_written(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(extras, "requires", absent)
    assert "'data' of pyproject.toml" in extras.install_command("data")


def test_nobody_is_sent_to_a_registry_for_our_name(root):
    """Whoever claimed the name there would run code on every reader's machine; an address after ``@`` is ours."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files"], capture_output=True, text=True, check=True).stdout
    suffixes = (".py", ".md", ".ipynb", ".yml", ".js", ".toml", "Makefile", "Dockerfile", ".json", "colab", "run")
    found = []
    for name in listed.splitlines():
        if name.endswith(suffixes) and "CHANGELOG" not in name and not name.startswith("tests/"):
            for line in (root / name).read_text(encoding="utf-8").splitlines():
                if re.search(r"pip3? install[^#|]*?\brichness\b(?!\[?\w*\]? @|[-/.])", line):
                    found.append(f"{name}: {line.strip()[:120]}")
    assert found == []
