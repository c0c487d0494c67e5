"""The chapters as files, their set-up cell, the repository's address, and reruns through Papermill."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import pytest

from richness.site import address, extension, notebooks

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=[path.stem for path in CHAPTERS])


def _code(path: Path) -> list:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def test_the_book_has_its_chapters():
    stems = {path.stem for path in CHAPTERS}
    assert "02-phase-portrait" in stems and len(stems) >= 4


@each_chapter
def test_a_chapter_is_valid_and_stripped(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    for cell in _code(path):
        assert not cell.outputs and cell.execution_count is None, f"{path.name}: strip the outputs before you commit"
        assert "execution" not in cell.metadata


@each_chapter
def test_a_chapter_has_one_cell_of_plain_typed_parameters(path):
    tagged = [cell for cell in _code(path) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1, f"{path.name} needs exactly one cell tagged 'parameters'"
    values = {}
    for node in ast.parse(tagged[0].source).body:
        assert isinstance(node, ast.Assign | ast.AnnAssign), f"{path.name}: only assignments in the parameters cell"
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        assert isinstance(target, ast.Name) and node.value is not None
        values[target.id] = ast.literal_eval(node.value)
    assert values["scale"] in ("smoke", "laptop", "paper")
    assert type(values["seed"]) is int and values["seed"] >= 0


@each_chapter
def test_a_chapter_begins_with_the_set_up_cell(path):
    minutes = address.expected_minutes(ROOT).get(path.stem)
    assert minutes, f"add its minutes to chapters/parameters/laptop.yml: `{path.stem}: 1`"
    assert _code(path)[0].source == notebooks.colab_cell(address.address_of(ROOT), minutes), "run: richness address URL"
    assert set(address.CELL_TAGS) <= set(_code(path)[0].metadata.get("tags", []))


@each_chapter
def test_a_chapter_stays_short(path):
    cells = [cell for cell in _code(path)[1:] if "parameters" not in cell.metadata.get("tags", [])]
    source = [line for cell in cells for line in cell.source.splitlines() if line.strip()]
    assert len(source) <= 120, f"{path.name} has {len(source)} lines of code; the library should carry the work"


# The address ---------------------------------------------------------------------------------------------------------


def test_the_address_is_the_same_everywhere_and_its_placeholder_the_one_that_the_site_hides():
    assert [place.path.name for place in address.differences(ROOT)] == []
    assert extension.PLACEHOLDER == address.PLACEHOLDER


@pytest.fixture
def book(tmp_path) -> Path:
    """A book of one chapter, with the files that carry the address."""
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: chapters/01-one\n")
    config = "title: A book\nrepository:\n  # its address\n  url: https://github.com/OWNER/richness\nurl: kept\n"
    (tmp_path / "_config.yml").write_text(config)
    (tmp_path / "CITATION.cff").write_text("cff-version: 1.2.0\nrepository-code: https://github.com/OWNER/richness\n")
    (tmp_path / "README.md").write_text("# Title\n\n<!-- launch -->\n<!-- /launch -->\n\nText.\n")
    cells = [nbformat.v4.new_markdown_cell("# One"), nbformat.v4.new_code_cell("x = 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "chapters" / "01-one.ipynb")
    return tmp_path


def test_one_command_writes_the_address_everywhere(book, richness, monkeypatch):
    monkeypatch.chdir(book)
    answer = richness("address", "https://github.com/somebody/richness.git/")
    assert answer.code == 0 and answer.out.count("wrote") == 4, answer.err
    new = "https://github.com/somebody/richness"
    assert address.address_of(book) == new and "url: kept" in (book / "_config.yml").read_text()
    assert new in (book / "CITATION.cff").read_text()
    assert (
        "colab.research.google.com/github/somebody/richness/blob/main/chapters/01-one.ipynb"
        in (book / "README.md").read_text()
    )
    chapter = nbformat.read(book / "chapters" / "01-one.ipynb", 4)
    nbformat.validate(chapter)
    assert [cell.cell_type for cell in chapter.cells] == ["markdown", "code", "code"]
    assert chapter.cells[1].source == notebooks.colab_cell(new) and chapter.cells[2].source == "x = 1"
    assert "nothing to change" in richness("address", new).out
    assert richness("address", "https://github.com/other/richness").out.count("wrote") == 4
    assert len(nbformat.read(book / "chapters" / "01-one.ipynb", 4).cells) == 3, "replaced, not added once more"


def _on_colab(monkeypatch, source: str, installed: bool, codes: tuple[int, ...] = ()) -> tuple[list, list]:
    """Runs the set-up cell as Colab would; returns the commands it ran and whether widgets were switched on."""
    ran: list = []
    switched: list = []
    colab = types.ModuleType("google.colab")
    colab.output = types.SimpleNamespace(enable_custom_widget_manager=lambda: switched.append(True))  # type: ignore[attr-defined]
    google = types.ModuleType("google")
    google.colab = colab  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google", google)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    answers = iter(codes)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: ran.append(command) or types.SimpleNamespace(returncode=next(answers))
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    exec(source, {})
    return ran, switched


def test_off_colab_the_set_up_cell_does_nothing(monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it ran something"))
    exec(notebooks.colab_cell("https://github.com/somebody/richness"), {})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("released", [True, False])
def test_on_colab_torch_and_numpy_stay_as_they_are(monkeypatch, capsys, released):
    cell = notebooks.colab_cell("https://github.com/somebody/richness", 7)
    ran, switched = _on_colab(monkeypatch, cell, installed=False, codes=(0,) if released else (1, 0))
    assert len(ran) == 2 - released and switched == [True]
    version = importlib.metadata.version("richness")
    wheel = f"https://github.com/somebody/richness/releases/download/v{version}/richness-{version}-py3-none-any.whl"
    asked = ["richness @ " + wheel, "richness @ git+https://github.com/somebody/richness"]
    assert [command[-1] for command in ran] == asked[: len(ran)] and not any("-U" in command for command in ran)
    for command in ran:
        kept = Path(command[command.index("-c") + 1]).read_text().split()
        assert kept == [f"{name}=={importlib.metadata.version(name)}" for name in ("torch", "numpy")]
    assert "about 7 minutes" in capsys.readouterr().out


@pytest.mark.parametrize(("there", "words"), [("/usr/bin/nvidia-smi", "on the GPU"), (None, "Change runtime type")])
def test_on_colab_the_cell_says_where_it_computes(monkeypatch, capsys, there, words):
    monkeypatch.setattr(shutil, "which", lambda name: there)
    ran, _ = _on_colab(monkeypatch, notebooks.colab_cell("https://github.com/somebody/richness"), installed=True)
    said = capsys.readouterr().out
    assert ran == [] and words in said and "about a minute" in said


def test_on_colab_an_unset_address_is_explained(monkeypatch, capsys):
    ran, switched = _on_colab(monkeypatch, notebooks.colab_cell(address.PLACEHOLDER + "richness"), installed=False)
    said = capsys.readouterr().out
    assert ran == [] and switched == [True] and "set ADDRESS" in said and "Ready" not in said


def test_on_colab_what_is_not_installed_is_not_called_ready(monkeypatch, capsys):
    cell = notebooks.colab_cell("https://github.com/somebody/richness")
    ran, _ = _on_colab(monkeypatch, cell, installed=False, codes=(1, 1))
    said = capsys.readouterr().out
    assert len(ran) == 2 and "Not ready" in said and "Ready" not in said
