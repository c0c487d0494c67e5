"""What the README and its companions promise is there."""

from __future__ import annotations

import re

import pytest
import yaml

from richness.site.__main__ import parser as site_parser

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "chapters/on-github.md"]


def _targets(root) -> set[str]:
    return set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE))


def test_the_readme_opens_with_the_two_commands(root):
    block = (root / "README.md").read_text().split("```")[1]
    assert [line.split("#")[0].strip() for line in block.strip().splitlines()] == ["make book", "make test"]


def test_every_make_command_exists(root):
    assert {"help", "setup", "book", "test", "check", "lab", "serve"} <= _targets(root)
    for name in DOCUMENTS:
        named = set(re.findall(r"(?:`|^)make ([a-z]+)", (root / name).read_text(), re.MULTILINE))
        assert named <= _targets(root), f"{name} promises make {named - _targets(root)}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_richness_command_exists_with_its_options(root, name, promised):
    text = (root / name).read_text()
    typed = re.findall(r"^\.venv/bin/richness ([^\n#]+)", text, re.MULTILINE) + re.findall(r"`richness ([^`]+)`", text)
    for line in typed:
        promised(line, name)


def test_every_linked_file_exists(root):
    for name in DOCUMENTS:
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


def test_the_page_for_a_copy_of_ones_own_names_what_the_workflows_ask_for(root):
    page = (root / "chapters" / "on-github.md").read_text(encoding="utf-8")
    workflows = {path.stem: path.read_text() for path in (root / ".github" / "workflows").glob("*.yml")}
    assert "PUBLISH_PAGES" in page and "vars.PUBLISH_PAGES" in workflows["pages"]
    (pattern,) = yaml.safe_load(workflows["release"])[True]["push"]["tags"]
    assert f"`{pattern}`" in page and "environment:\n      name: github-pages" in workflows["pages"]
    for command in re.findall(r"-m richness\.site (\w+)", page):
        assert command in site_parser().format_help()


def test_versions_agree(root):
    from importlib.metadata import version

    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["version"] == version("richness")
    assert f"## {version('richness')}" in (root / "CHANGELOG.md").read_text()
