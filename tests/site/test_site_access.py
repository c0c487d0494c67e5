"""Every page through axe-core: WCAG 2.1 A and AA and axe's best practices, in light and dark, wide and on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_site_pages import scroll_through
from visits import built_pages

pytestmark = [pytest.mark.site, pytest.mark.browser]
PAGES = built_pages()
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}

# What is folded away is read too, once it has unfolded.
UNFOLD = "for (const one of document.querySelectorAll('.bd-article details')) one.open = true"
RUN = """async (rules) => {
  const found = await axe.run(document, { runOnly: { type: "tag", values: rules }, resultTypes: ["violations"] });
  return found.violations.flatMap(({ id, nodes }) =>
    nodes.map((node) => `${id}: ${node.target.join(" ")}: ${node.failureSummary.split("\\n").slice(1).join(";")}`));
}"""


def violations(visited: Any) -> list[str]:
    """What axe finds on a page whose figures are alive and whose folded parts are open."""
    scroll_through(visited.page)
    visited.page.evaluate(UNFOLD)
    visited.page.evaluate(AXE.read_text(encoding="utf-8"))  # not a script of the page: its policy would refuse one
    return visited.page.evaluate(RUN, RULES)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Any, name: str, scheme: str) -> None:
    assert violations(visit(name, color_scheme=scheme, viewport=WIDE, reduced_motion="reduce")) == []


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_on_a_phone(visit: Any, name: str) -> None:
    assert violations(visit(name, viewport=PHONE, reduced_motion="reduce")) == []


def test_axe_would_find_something(visit: Any) -> None:
    visited = visit("chapters/01-setting.html", reduced_motion="reduce")
    visited.page.evaluate("document.querySelector('h1').insertAdjacentHTML('afterend', '<input><img src=a.png>')")
    found = {line.split(":")[0] for line in violations(visited)}
    assert {"label", "image-alt"} <= found


@pytest.mark.parametrize("name", PAGES)
def test_motion_stops_for_those_who_asked(visit: Any, name: str) -> None:
    page = visit(name, reduced_motion="reduce").page
    longest = page.evaluate(
        "Math.max(...[...document.querySelectorAll('*')].flatMap((element) => {"
        " const style = getComputedStyle(element);"
        " return [...style.transitionDuration.split(','), ...style.animationDuration.split(',')].map(parseFloat); }))"
    )
    assert longest <= 0.001  # seconds


INKS = {"rgb(255, 255, 255)", "rgb(34, 34, 34)", "rgb(0, 0, 0)"}  # of numbers that stand on a coloured cell


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_in_figures_have_the_colour_of_the_text_around_them(visit: Any, name: str, scheme: str) -> None:
    """Axe does not look into drawings: a colour of its own might be unreadable in the dark or in the light."""
    visited = visit(name, color_scheme=scheme)
    scroll_through(visited.page)
    drawn = visited.page.evaluate(
        "[...document.querySelectorAll('.richness-figure svg text')].map((text) =>"
        " [getComputedStyle(text).fill, getComputedStyle(text.closest('figure')).color, text.textContent])"
    )
    assert [words for fill, around, words in drawn if fill != around and fill not in INKS] == []
