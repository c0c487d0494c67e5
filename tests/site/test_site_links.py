"""Every link of the built site that stays within it leads to a file, and to a place within the file where it names one."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from visits import SITE, built_pages

pytestmark = pytest.mark.site
LIB = Path(__file__).parents[2] / "lib"
PAGES = built_pages()


class Page(HTMLParser):
    """A page's links and the places in it that a link can name."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        self.links += [named[name] for name in ("href", "src", "data-src") if name in named]
        self.places += [named[name] for name in ("id", "name") if named.get(name) and (name == "id" or tag == "a")]


@cache
def parsed(name: str) -> Page:
    return Page((SITE / name).read_text(encoding="utf-8"))


def broken(name: str) -> list[str]:
    """The links of one page that lead nowhere within the site."""
    bad = []
    for link in parsed(name).links:
        target = urlsplit(urljoin("https://here/" + name, link))
        if target.netloc != "here" or target.scheme != "https":
            continue
        path = unquote(target.path).lstrip("/")
        path = path + "index.html" if path == "" or path.endswith("/") else path
        place = unquote(target.fragment) if path.endswith(".html") else ""
        if not (SITE / path).is_file() or (place and place not in parsed(path).places):
            bad.append(link)
    return bad


@pytest.mark.parametrize("name", PAGES)
def test_links_within_the_site_lead_somewhere(site: Path, name: str) -> None:
    assert broken(name) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_pages_places_have_names_of_their_own(site: Path, name: str) -> None:
    places = parsed(name).places
    assert sorted({place for place in places if places.count(place) > 1}) == []


def test_links_elsewhere_are_addresses(site: Path, record_property: pytest.FixtureRequest) -> None:
    """They are listed, not followed: a test asks no one else."""
    hosts = {
        link: urlsplit(link)
        for name in PAGES
        for link in parsed(name).links
        if urlsplit(link).scheme not in ("", "data", "blob")
    }
    record_property("links elsewhere", sorted(hosts))  # type: ignore[operator]
    assert [link for link, parts in hosts.items() if parts.scheme != "https" or "." not in parts.netloc] == []
    assert hosts


def test_a_link_that_leads_nowhere_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("test_site_links.SITE", tmp_path)
    (tmp_path / "a.html").write_text('<a id="x" href="b.html#y">1</a><a href="#x">2</a><img src="c.png"><a href="#z">')
    (tmp_path / "b.html").write_text('<p id="y">')
    parsed.cache_clear()
    assert broken("a.html") == ["c.png", "#z"]
    parsed.cache_clear()


def test_no_file_needs_a_type_that_plain_servers_do_not_know(site: Path) -> None:
    """Debian 12's nginx has no type for .mjs, and a module of unknown type does not run."""
    assert [str(path) for folder in (site, LIB) for path in folder.rglob("*.mjs")] == []
