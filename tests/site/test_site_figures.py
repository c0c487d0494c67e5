"""Figures on the built pages: each becomes alive in its place, and answers to a slider, a key and a click."""

from __future__ import annotations

from typing import Any

import pytest
from visits import SITE, Visit, built_pages

pytestmark = [pytest.mark.site, pytest.mark.browser]
ALL = built_pages()


def with_figures() -> list[str]:
    """The pages that have a figure; where nothing was built, one that does not exist."""
    if ALL == ["not-built"]:
        return ALL
    return [name for name in ALL if '"richness-figure"' in (SITE / name).read_text(encoding="utf-8")]


PAGES = with_figures()


def alive(visited: Visit, figure: Any) -> None:
    """Bring a figure into view and wait until it is alive."""
    figure.scroll_into_view_if_needed()
    identity = figure.get_attribute("id")
    visited.page.wait_for_function(
        f"() => document.getElementById('{identity}').dataset.state === 'live'", timeout=60_000
    )


def drawing(figure: Any) -> str:
    """All drawn paths of a figure, with what paints them."""
    return figure.locator(".richness-stage svg").evaluate("(svg) => svg.innerHTML")


def changes(visited: Visit, figure: Any, before: str, tries: int = 30) -> bool:
    """Whether the drawing differs from `before` within `tries` tenths of a second."""
    for _ in range(tries):
        if drawing(figure) != before:
            return True
        visited.page.wait_for_timeout(100)
    return False


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_becomes_alive_without_a_jump(visit: Any, name: str) -> None:
    visited = visit(name)
    for figure in visited.page.locator("figure.richness-figure").all():
        before = figure.locator(".richness-picture").bounding_box()
        alive(visited, figure)
        after = figure.locator(".richness-picture").bounding_box()
        assert figure.locator(".richness-picture svg").count() == 1
        assert abs(after["height"] - before["height"]) <= 24, "the text below must not jump"
    assert visited.complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_every_slider_changes_the_drawing_by_key(visit: Any, name: str) -> None:
    visited = visit(name)
    for figure in visited.page.locator("figure.richness-figure").all():
        alive(visited, figure)
        for slider in figure.locator("input[type=range]").all():
            assert slider.evaluate("(input) => input.labels.length") == 1
            before, said = drawing(figure), slider.get_attribute("aria-valuetext")
            slider.focus()
            low = float(slider.input_value()) <= float(slider.get_attribute("min"))
            for press in ("ArrowRight" if low else "ArrowLeft", *["PageUp" if low else "PageDown"] * 10):
                # Several steps of a slider may have the same nearest run.
                visited.page.keyboard.press(press)
                if changes(visited, figure, before, tries=5):
                    break
            assert slider.get_attribute("aria-valuetext") != said
            assert drawing(figure) != before, f"{slider.get_attribute('data-signal')} changes nothing"
    assert visited.complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_every_choice_changes_the_drawing(visit: Any, name: str) -> None:
    visited = visit(name)
    for figure in visited.page.locator("figure.richness-figure").all():
        alive(visited, figure)
        for choice in figure.locator("input[type=radio]:not(:checked)").all():
            before = drawing(figure)
            choice.check()
            assert changes(visited, figure, before), f"{choice.get_attribute('data-signal')} changes nothing"
    assert visited.complaints == []


EXPLORER = "fig-explorer"  # other figures with a slider have no plane to click on


def with_explorer() -> list[str]:
    """The pages that have the explorer, which stands in one chapter at least."""
    if ALL == ["not-built"]:
        return ALL
    found = [name for name in PAGES if f'id="{EXPLORER}"' in (SITE / name).read_text(encoding="utf-8")]
    return found or ["no page has the explorer"]


@pytest.mark.parametrize("name", with_explorer())
def test_a_click_on_the_explorers_plane_changes_its_curves(visit: Any, name: str) -> None:
    visited = visit(name)
    for figure in visited.page.locator(f"#{EXPLORER}").all():
        alive(visited, figure)
        figure.locator(".richness-picture").scroll_into_view_if_needed()
        box = figure.locator(".richness-stage svg").bounding_box()
        changed = False
        for x, y in ((0.25, 0.35), (0.3, 0.5), (0.2, 0.6), (0.35, 0.25)):
            before = drawing(figure)
            visited.page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
            changed = changed or changes(visited, figure, before)
            if changed:
                break
        assert changed, "a click on the plane changes nothing"
    assert visited.complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_a_figure_whose_data_is_lost_keeps_its_picture_and_says_so(chromium: Any, address: str, name: str) -> None:
    context = chromium.new_context()
    context.route("**/_figures/*.json", lambda route: route.abort())
    page = context.new_page()
    page.goto(address + name, wait_until="load")
    figure = page.locator("figure.richness-figure").first
    figure.scroll_into_view_if_needed()
    figure.locator(".richness-message").wait_for(state="visible", timeout=30_000)
    assert figure.get_attribute("data-state") == "static"
    assert figure.locator(".richness-picture svg:visible").count() == 1
    context.close()
