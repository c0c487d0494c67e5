"""Chapters are executed before Sphinx reads them: myst-nb finds their outputs, and one that fails is named."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from myst_nb.core.config import NbParserConfig
from myst_nb.core.execute import cache as myst
from sphinx.errors import ExtensionError

from richness.site import executing

pytestmark = pytest.mark.slow
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


@pytest.fixture
def book(tmp_path: Path):
    """``book(**sources)`` executes chapters of one cell each, and returns their folder."""
    config = SimpleNamespace(nb_execution_cache_path=str(tmp_path / "cache"), nb_execution_timeout=60)
    env = SimpleNamespace(doc2path=lambda name: tmp_path / ("prose.md" if name == "prose" else f"{name}.ipynb"))

    def run(**sources: str) -> Path:
        for name, source in sources.items():
            cell = nbformat.v4.new_code_cell(source)
            nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=KERNEL), tmp_path / f"{name}.ipynb")
        executing.execute_chapters(SimpleNamespace(config=config), env, ["prose", *sources])  # type: ignore[arg-type]
        return tmp_path

    return run


def outputs(folder: Path, name: str) -> str:
    """What myst-nb has of a chapter, in a cell of its own reading."""
    path = folder / f"{name}.ipynb"
    config = NbParserConfig(execution_mode="cache", execution_cache_path=str(folder / "cache"))
    client = myst.NotebookClientCache(nbformat.read(path, 4), path, config, logging.getLogger("test"))
    with client:
        return client.notebook.cells[0].outputs[0]["text"]


def test_sphinx_finds_what_was_executed_in_its_own_surroundings(book, monkeypatch, tmp_path):
    monkeypatch.setenv("RICHNESS_BOOK", "yes, a book")
    folder = book(one="import os; print(os.environ['RICHNESS_BOOK'])", two="import os; print(os.getcwd())")
    monkeypatch.setattr(myst, "single_nb_execution", lambda *_, **__: pytest.fail("it was executed again"))
    assert outputs(folder, "one") == "yes, a book\n" and outputs(folder, "two") == f"{tmp_path}\n"
    monkeypatch.setattr(executing, "execute", lambda path, timeout: pytest.fail(f"{path} was executed again"))
    book(one="import os; print(os.environ['RICHNESS_BOOK'])")


def test_every_chapter_that_fails_is_named_and_the_others_stay(book, monkeypatch, tmp_path):
    with pytest.raises(ExtensionError) as failed:
        book(good="print('fine')", bad="raise ValueError('no such luck')", worse="1 / 0")
    said = str(failed.value)
    assert "bad failed" in said and "no such luck" in said and "worse failed" in said and "ZeroDivisionError" in said
    assert "good failed" not in said
    monkeypatch.setattr(myst, "single_nb_execution", lambda *_, **__: pytest.fail("it was executed again"))
    assert outputs(tmp_path, "good") == "fine\n"
