"""The book as one PDF: bound in order, with answers open, from the same pages as the website."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from richness.site import printing
from richness.site.places import SiteError

pytestmark = [pytest.mark.site, pytest.mark.browser]


def test_the_contents_are_the_tables_of_contents_own() -> None:
    pages = printing.contents()
    assert pages[0] == "chapters/00-introduction.html" and "chapters/10-ledger.html" in pages
    assert len(pages) == len(set(pages))


def test_two_pages_are_bound_in_order(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pypdf

    pages = ["chapters/01-setting.html", "chapters/10-ledger.html"]
    monkeypatch.setattr(printing, "contents", lambda: pages)
    with ThreadPoolExecutor(1) as pool:  # this thread's Playwright may be busy with the other tests' browser
        assert pool.submit(printing.bind, tmp_path / "book.pdf").result() == 0
    book = pypdf.PdfReader(tmp_path / "book.pdf")
    titles = [str(item.title) for item in book.outline if not isinstance(item, list)]
    assert titles == ["The setting: one network, one dial", "The ledger"]
    assert book.metadata is not None and book.metadata.title == printing.book_title()
    text = "".join(page.extract_text() for page in book.pages)
    assert text.index("coordinate check") < text.index("How a verdict is given")
    assert "wider means lazier" in text  # an answer that is folded on the page
    assert [path.name for path in tmp_path.iterdir()] == ["book.pdf"]


def test_without_a_browser_it_says_what_to_do(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printing, "chromium", lambda: None)
    with pytest.raises(SiteError, match="install it"):
        printing.bind()
