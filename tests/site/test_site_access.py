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
SOME = [name for name in PAGES if any(part in name for part in ("00-", "02-", "10-", "api", "search", "not-built"))]
PHONE = {"width": 360, "height": 740}
INKS = {"rgb(255, 255, 255)", "rgb(34, 34, 34)", "rgb(0, 0, 0)"}  # of numbers that stand on a coloured cell

# What is folded away is read too, once it has unfolded.
UNFOLD = "for (const one of document.querySelectorAll('.bd-article details')) one.open = true"
RUN = """async (rules) => {
  const found = await axe.run(document, { runOnly: { type: "tag", values: rules }, resultTypes: ["violations"] });
  return found.violations.flatMap(({ id, nodes }) =>
    nodes.map((node) => `${id}: ${node.target.join(" ")}: ${node.failureSummary.split("\\n").slice(1).join(";")}`));
}"""


def violations(visited: Any) -> list[str]:
    """What axe finds on a page as it stands."""
    visited.page.evaluate(AXE.read_text(encoding="utf-8"))  # not a script of the page: its policy would refuse one
    return visited.page.evaluate(RUN, RULES)


def unfolded(visited: Any) -> Any:
    """The same visit, with every figure alive and every fold open."""
    scroll_through(visited.page)
    visited.page.evaluate(UNFOLD)
    return visited


def stray_colours(visited: Any) -> list[str]:
    """Words in figures that have a colour of their own: axe does not look into drawings, so it might be unreadable."""
    drawn = visited.page.evaluate(
        "[...document.querySelectorAll('.richness-figure svg text')].map((text) =>"
        " [getComputedStyle(text).fill, getComputedStyle(text.closest('figure')).color, text.textContent])"
    )
    return [words for fill, around, words in drawn if fill != around and fill not in INKS]


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_in_the_light_nor_in_the_dark(visit: Any, name: str) -> None:
    visited = unfolded(visit(name, color_scheme="light", reduced_motion="reduce"))
    for scheme in ("light", "dark"):
        visited.page.emulate_media(color_scheme=scheme)
        visited.page.wait_for_function(f"() => document.documentElement.dataset.theme === '{scheme}'")
        visited.page.wait_for_timeout(300)  # colours pass on from element to element
        assert violations(visited) == [], scheme
        assert stray_colours(visited) == [], scheme


@pytest.mark.parametrize("name", SOME)
def test_axe_finds_nothing_on_a_phone(visit: Any, name: str) -> None:
    assert violations(unfolded(visit(name, viewport=PHONE, reduced_motion="reduce"))) == []


def test_axe_would_find_something(visit: Any) -> None:
    visited = visit("chapters/01-setting.html", reduced_motion="reduce")
    visited.page.evaluate(
        "document.querySelector('article h1').insertAdjacentHTML('afterend', '<input><img src=a.png>')"
    )
    found = {line.split(":")[0] for line in violations(unfolded(visited))}
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
