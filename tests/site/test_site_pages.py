"""Every page in a browser: alone in the world, readable on a phone and in the dark, light, and without JavaScript."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import looks
import pytest
from visits import SITE, built_pages

from richness.site.policy import policy
from richness.site.serving import background
from richness.site.weighing import ALIVE, DRAWN, watch_page

pytestmark = [pytest.mark.site, pytest.mark.browser]
PAGES = built_pages()
HOME = "chapters/00-introduction.html"
TALLEST = 800  # px of a picture in a window 1280 px wide, about a screen
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
        # a mark that is not cut off at its panel's edge stretches the picture
        assert figure.locator(".richness-picture").bounding_box()["height"] <= TALLEST, figure.get_attribute("id")
    for laboratory in page.locator("[data-richness-lab]").all():
        assert laboratory.inner_text().strip()


@pytest.mark.parametrize("name", PAGES)
def test_the_first_view_is_light(chromium: Any, site: Path, name: str) -> None:
    with background(site) as address:
        view = watch_page(chromium, site, address, name)
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


def test_every_arxiv_number_is_a_link(site: Path) -> None:
    for name in PAGES:
        html = (site / name).read_text(encoding="utf-8")
        words = re.sub(r"<head>.*?</head>|<(a|pre|script)\b.*?</\1>|<[^>]+>", "", html, flags=re.DOTALL)
        assert re.findall(r"arXiv\W{0,2}\d{4}\.\d{4,5}", words, re.IGNORECASE) == [], name


@pytest.mark.parametrize("name", PAGES)
def test_every_page_says_in_its_head_what_it_is(site: Path, name: str) -> None:
    html = (site / name).read_text(encoding="utf-8")
    (about,) = re.findall(r'<meta name="description" content="([^"]+)"', html)
    assert 40 < len(about) <= 210 and "\\" not in about and "{" not in about


def test_a_search_for_the_other_mu_finds_mup(visit: Any) -> None:
    visited = visit("search.html?q=\u03bcP")
    visited.page.locator("#search-results li a").first.wait_for(timeout=30_000)
    assert visited.page.locator("#search-results li a").count() > 3 and visited.complaints == []


def test_the_roots_page_and_the_404_are_whole_pages(visit: Any, site: Path) -> None:
    for name in ("index.html", "404.html"):
        html = (site / name).read_text(encoding="utf-8")
        assert re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)[1] == policy([html])
    visited = visit("404.html")
    assert visited.page.locator("article h1").is_visible() and visited.complaints == []
    assert looks.violations(visited) == []


@pytest.mark.parametrize("name", ["02-phase-portrait", "glossary"])
def test_a_page_opened_as_a_file_says_why_it_shows_pictures_only(chromium: Any, site: Path, name: str) -> None:
    page = chromium.new_page()
    page.goto((site / "chapters" / f"{name}.html").as_uri(), wait_until="load")
    said = page.locator("article .richness-message").filter(has_text="opened as a file")
    assert said.count() == (name != "glossary")
    page.close()


def test_formulas_are_on_the_page_and_not_left_to_a_script(site: Path) -> None:
    html = (site / "chapters" / "glossary.html").read_text(encoding="utf-8")
    assert 'class="katex"' in html and "<math" in html
    assert "mathjax" not in "".join(re.findall(r"<script[^>]*>", html)).lower()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_first_screen_is_an_instrument(visit: Any, width: int, height: int) -> None:
    page = visit(HOME, viewport={"width": width, "height": height}, reduced_motion="reduce").page
    page.wait_for_selector("[data-richness-lab][data-ready]", timeout=60_000)
    seen = [*page.get_by_role("slider").all()[:2], *page.locator(".rl-top svg").all()[:2]]
    if width > 1000:  # on a phone the plane comes next
        seen.append(page.locator(".rl-plane"))
    for part in seen:
        box = part.bounding_box()
        assert box["y"] + box["height"] <= height and box["width"] > width / 5, part
    assert page.locator(".bd-article pre:visible").count() == 1, "the one line that asks for a laboratory elsewhere"


def test_a_prediction_is_made_then_shown_then_marked(visit: Any) -> None:
    seen = visit(HOME, reduced_motion="reduce")
    stops = seen.page.locator(".richness-stop")
    assert stops.count() == 5
    for place, answer, mark, address in (
        (0, "1", "As you said", "gamma=0.1"), (3, "0", "Not this time", "task=teacher"),
    ):  # fmt: skip
        stop = stops.nth(place)
        assert stop.get_by_role("button").is_disabled() and not stop.locator("details").is_visible()
        stop.locator(f"input[value='{answer}']").check()
        stop.get_by_role("button").click()
        seen.page.wait_for_url(re.compile(address))
        assert mark in stop.get_by_role("status").inner_text() and stop.locator("details p").is_visible()
        beside = seen.page.locator(".richness-said").bounding_box()
        assert mark in seen.page.locator(".richness-said").inner_text() and 0 <= beside["y"] < 400
    assert seen.complaints == []
