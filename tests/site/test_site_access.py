"""Every page through axe-core: WCAG 2.1 A and AA and axe's best practices, in light and dark, wide and on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from looks import unfold, violations
from visits import READ_ON_A_PHONE, each_page

pytestmark = [pytest.mark.site, pytest.mark.browser]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_light_nor_in_the_dark(by_night: Any, scheme: str) -> None:
    assert by_night.violations[scheme] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_words_in_a_figure_have_a_colour_of_their_own(by_night: Any, scheme: str) -> None:
    assert by_night.stray_colours[scheme] == []


@pytest.mark.parametrize("on_a_phone", each_page("on a phone", READ_ON_A_PHONE), indirect=True)
def test_axe_finds_nothing_on_a_phone(on_a_phone: Any) -> None:
    assert on_a_phone.complaints == [], "the page is there"
    assert on_a_phone.violations == []  # None where it was not read


def test_motion_stops_for_those_who_asked(by_night: Any) -> None:
    assert by_night.longest_motion <= 0.001  # seconds


def test_axe_would_find_something(visit: Any) -> None:
    visited = visit("chapters/01-setting.html", reduced_motion="reduce")
    visited.page.evaluate(
        "document.querySelector('article h1').insertAdjacentHTML('afterend', '<input><img src=a.png>')"
    )
    found = {line.split(":")[0] for line in violations(unfold(visited))}
    assert {"label", "image-alt"} <= found
