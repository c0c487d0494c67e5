"""What the README and its companions promise is there."""

from __future__ import annotations

import re
import shlex

import pytest
import yaml

from richness import cli

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]


def _targets(root) -> set[str]:
    return set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE))


def test_the_readme_opens_with_the_two_commands(root):
    block = (root / "README.md").read_text().split("```")[1]
    assert [line.split("#")[0].strip() for line in block.strip().splitlines()] == ["make book", "make test"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_command_exists(root, name):
    for target in re.findall(r"(?:`|^)make ([a-z]+)", (root / name).read_text(), re.MULTILINE):
        assert target in _targets(root), f"{name} promises make {target}"


@pytest.mark.parametrize("target", ["help", "setup", "book", "test", "check", "lab", "serve"])
def test_make_has_what_was_promised(root, target):
    assert target in _targets(root)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_richness_command_exists_with_its_options(root, name, richness):
    text = (root / name).read_text()
    typed = re.findall(r"^\.venv/bin/richness ([^\n#]+)", text, re.MULTILINE) + re.findall(r"`richness ([^`]+)`", text)
    for line in typed:
        command, *rest = shlex.split(line)
        assert command in cli.COMMANDS, f"{name} promises richness {command}"
        said = richness(command, "--help").out
        for option in rest:
            if option.startswith("-"):
                assert re.search(rf"(?<![\w-]){re.escape(option)}\b", said), f"richness {command} has no {option}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_linked_file_exists(root, name):
    for target in re.findall(r"\]\(([^)#:]+)\)", (root / name).read_text()):
        assert (root / target).exists(), f"{name} links to {target}"


def test_ci_calls_the_readmes_own_test_command(root):
    script = (root / ".ci" / "run").read_text()
    assert "make test" in script and "CI=true" in script


def test_the_workflows_and_the_citation_are_readable(root):
    for path in (root / ".github" / "workflows").glob("*.yml"):
        assert yaml.safe_load(path.read_text())["jobs"]
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["preferred-citation"]["title"].startswith("The Optimization Landscape of SGD")
    assert {author["family-names"] for author in citation["preferred-citation"]["authors"]} == {
        "Atanasov", "Meterez", "Simon", "Pehlevan"
    }  # fmt: skip


def test_versions_agree(root):
    from importlib.metadata import version

    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["version"] == version("richness")
    assert f"## {version('richness')}" in (root / "CHANGELOG.md").read_text()
