"""Figures on the built pages: each becomes alive in its place, and answers to a slider, a key and a click."""

from __future__ import annotations

from typing import Any

import pytest
from looks import alive, changes, drawing
from visits import SITE, built_pages

pytestmark = [pytest.mark.site, pytest.mark.browser]
ALL = built_pages()


def with_figures() -> list[str]:
    """The pages that have a figure; where nothing was built, one that does not exist."""
    if ALL == ["not-built"]:
        return ALL
    return [name for name in ALL if '"richness-figure"' in (SITE / name).read_text(encoding="utf-8")]


PAGES = with_figures()


def test_every_figure_becomes_alive_without_a_jump(by_day: Any) -> None:
    assert [name for name, drawings in by_day.pictures.items() if drawings != 1] == []
    assert {name: pixels for name, pixels in by_day.jumps.items() if pixels > 24} == {}, "the text below must not jump"


def test_every_choice_and_every_slider_changes_the_drawing(by_day: Any) -> None:
    """Sliders by key; each says its new value."""
    assert by_day.mute == []


def test_every_slider_has_one_label(by_day: Any) -> None:
    assert by_day.unlabelled == []


def test_nothing_goes_wrong_while_figures_are_played_with(by_day: Any) -> None:
    assert by_day.complaints_at_the_end == []


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
