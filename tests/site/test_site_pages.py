"""Every page in a browser: alone in the world, readable on a phone and in the dark, light, and without JavaScript."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from visits import SITE, built_pages

from richness.site.serving import background
from richness.site.weighing import ALIVE, DRAWN
from richness.site.weighing import seen as fetched

pytestmark = [pytest.mark.site, pytest.mark.browser]
PAGES = built_pages()
LATE = re.compile(
    r"_book/vega/|_book/lab/engine/digits"
)  # fetched when a figure is seen, or a reader turns to a laboratory


def test_nothing_goes_wrong_and_no_one_else_is_asked(by_day: Any) -> None:
    assert by_day.complaints == []


def test_colours_follow_a_reader_in_the_light(by_day: Any) -> None:
    assert by_day.colours.paper > by_day.colours.ink + 100


def test_colours_follow_a_reader_in_the_dark(by_night: Any) -> None:
    assert by_night.colours.ink > by_night.colours.paper + 100


def test_no_page_is_wider_than_a_phone(on_a_phone: Any) -> None:
    assert on_a_phone.width <= 360
    assert on_a_phone.complaints == []


def test_every_button_of_the_theme_shows_an_icon(by_day: Any) -> None:
    assert by_day.bare_icons == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_without_javascript_is_whole(visit: Any, name: str) -> None:
    page = visit(name, java_script_enabled=False).page
    if name == "search.html":
        return  # a search without a script finds nothing, and its page says so
    assert page.locator("article h1").first.is_visible()
    for figure in page.locator("figure.richness-figure").all():
        assert figure.locator(".richness-picture svg:visible").count() == 1
        assert figure.locator("figcaption").is_visible()
        assert figure.locator(".richness-summary").inner_text().strip()
        assert figure.locator("table th[scope=col]").count() > 0
        assert figure.locator("table tbody tr").count() > 0
        assert not figure.locator(".richness-controls").is_visible()
    for laboratory in page.locator("[data-richness-lab]").all():
        assert laboratory.inner_text().strip()


@pytest.mark.parametrize("name", PAGES)
def test_the_first_view_is_light(chromium: Any, site: Path, name: str) -> None:
    with background(site) as address:
        view = fetched(chromium, site, address, name)
    for files, limit in ((view.drawn, DRAWN), (view.alive, ALIVE)):
        assert sum(files.values()) <= 1000 * limit, f"{name} weighs {sum(files.values()) / 1000:.0f} kB: {files}"
    specifications = re.findall(r'richness-spec" data-src="[./]*([^"]+)"', (site / name).read_text(encoding="utf-8"))
    assert [file for file in view.drawn if LATE.match(file) or file in specifications] == []


def test_the_root_leads_to_the_introduction(visit: Any, address: str) -> None:
    visited = visit("", java_script_enabled=False)
    visited.page.wait_for_url(f"{address}chapters/00-introduction.html")
    assert visited.complaints == []


def test_there_are_figures_on_the_pages_that_promise_them(site: Path) -> None:
    for name in ("00-introduction", "02-phase-portrait"):
        html = (site / "chapters" / f"{name}.html").read_text(encoding="utf-8")
        assert "richness-figure" in html or "data-richness-lab" in html, f"{name} shows no figure that answers"


def test_no_page_names_a_script_or_style_of_another_host(site: Path) -> None:
    for name in PAGES:
        html = (SITE / name).read_text(encoding="utf-8")
        tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"(?:https?:)?//[^\"]*\"[^>]*>", html)
        assert [tag for tag in tags if 'rel="canonical"' not in tag] == []
        assert "unpkg" not in html and "jsdelivr" not in html


def test_formulas_are_on_the_page_and_not_left_to_a_script(site: Path) -> None:
    html = (site / "chapters" / "glossary.html").read_text(encoding="utf-8")
    assert 'class="katex"' in html and "<math" in html
    assert "mathjax" not in "".join(re.findall(r"<script[^>]*>", html)).lower()
