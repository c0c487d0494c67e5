"""The laboratory's page in Chromium, under a strict Content-Security-Policy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from richness.book.lab import Lab

pytestmark = pytest.mark.browser

LOSS = 'path[data-curve="loss"][data-role="now"]'
READY = "[data-richness-lab][data-ready]"


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page; at the end it must have seen no error and called nobody outside."""
    context = chromium.new_context(viewport={"width": 1300, "height": 900})
    context.set_default_timeout(10_000)
    tab = context.new_page()
    wrong: list[str] = []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    tab.on("request", lambda r: None if r.url.startswith(("http://127.0.0.1", "data:")) else wrong.append(r.url))
    tab.wrong = wrong  # type: ignore[attr-defined]
    yield tab
    assert wrong == []
    context.close()


@pytest.fixture
def laboratory(monkeypatch: pytest.MonkeyPatch, runs) -> str:
    monkeypatch.setenv("RICHNESS_BOOK", "1")
    return Lab(gamma=1.0, eta=3.0, task="digits", precomputed=runs).html()


def moved(laboratory: str) -> tuple[str, str]:
    """The page as the site's build leaves it: its data in a file."""
    data = re.search(r'<script type="application/json">(.*?)</script>', laboratory, re.DOTALL)
    assert data
    return laboratory.replace(data[0], "").replace(
        "data-richness-lab", 'data-richness-lab data-src="runs.json"', 1
    ), data[1]


def drawn(page: Page) -> str:
    return page.locator(LOSS).first.get_attribute("d") or ""


@pytest.mark.parametrize("name", ["gamma", "eta"])
@pytest.mark.parametrize("inline", [True, False])
def test_the_keyboard_moves_each_slider_and_the_path(
    page: Page, serve: Callable, laboratory: str, name: str, inline: bool
):
    body, data = (laboratory, "") if inline else moved(laboratory)
    page.goto(serve(body, runs=data))
    page.wait_for_selector(READY)
    slider = page.get_by_role("slider", name=name, exact=True)
    before, spoken = drawn(page), slider.get_attribute("aria-valuetext")
    assert before.startswith("M")
    assert re.match(rf"{name} = \S+, ", spoken or "")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert drawn(page) != before
    assert slider.get_attribute("aria-valuetext") != spoken
    page.keyboard.press("ArrowLeft")
    assert drawn(page) == before
    box = slider.bounding_box()
    assert box and box["height"] >= 44


def test_values_are_spoken_with_their_regime(page: Page, serve: Callable, laboratory: str):
    page.goto(serve(laboratory))
    page.wait_for_selector(READY)
    gamma = page.get_by_role("slider", name="gamma", exact=True)
    gamma.focus()
    page.keyboard.press("End")
    expect(gamma).to_have_attribute("aria-valuetext", "gamma = 10000, rich")
    page.keyboard.press("Home")
    expect(gamma).to_have_attribute("aria-valuetext", "gamma = 1e-4, lazy")


def test_a_diverged_run_and_one_off_the_band_are_told(page: Page, serve: Callable, laboratory: str):
    page.goto(serve(laboratory))
    page.wait_for_selector(READY)
    status = page.get_by_role("status")
    expect(status).to_contain_text("learned: loss 0.1 at the start")
    page.get_by_role("slider", name="eta", exact=True).focus()
    page.keyboard.press("End")
    expect(status).to_contain_text("was not run at gamma = 1; shown is the largest that was")
    expect(status).to_contain_text(re.compile(r"diverged at step \d+"))
    expect(page.locator(".rl-died-text")).to_have_text(re.compile(r"diverged at step \d+"))


def test_a_touch_of_the_plane_picks_a_run(page: Page, serve: Callable, laboratory: str):
    page.goto(serve(laboratory))
    page.wait_for_selector(READY)
    before, words = drawn(page), page.get_by_role("status").inner_text()
    box = page.locator(".rl-plane").bounding_box()
    assert box
    page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 0.4 * box["height"])
    assert drawn(page) != before
    assert page.get_by_role("status").inner_text() != words
    assert page.locator('path[data-role="trace"]').count() == 2


def test_tau_and_the_raw_plane_are_one_press_away(page: Page, serve: Callable, laboratory: str):
    page.goto(serve(laboratory))
    page.wait_for_selector(READY)
    page.get_by_role("button", name="τ = ηt/γ").click()
    expect(page.get_by_role("button", name="τ = ηt/γ")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".rl-figure")).to_contain_text("τ = ηt/γ")
    plane = page.locator(".rl-plane").inner_html()
    page.get_by_role("button", name="raw eta").click()
    assert page.locator(".rl-plane").inner_html() != plane


def test_missing_data_are_named(page: Page, serve: Callable, laboratory: str):
    body, _ = moved(laboratory)
    page.goto(serve(body.replace("runs.json", "lost.json")))
    expect(page.get_by_role("status")).to_contain_text("could not be shown: lost.json answered 404")
    assert page.locator("[data-fallback] svg").count() == 1
    assert page.locator("table").count() == 1
    page.wrong.clear()  # type: ignore[attr-defined]  the 404 is what this test is about


def test_a_laboratory_without_data_says_so(page: Page, serve: Callable):
    lost = '<div data-richness-lab data-missing="Runs of depth 9 were not measured."></div>'
    page.goto(serve(lost + "<div data-richness-lab></div>"))
    expect(page.get_by_role("status").first).to_have_text("Runs of depth 9 were not measured.")
    expect(page.get_by_role("status").last).to_contain_text("not on this page")


def test_data_wait_until_they_are_near(page: Page, serve: Callable, laboratory: str):
    body, data = moved(laboratory)
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.goto(serve("<p>far</p>" * 400 + body, runs=data))
    page.wait_for_timeout(300)
    assert not any(url.endswith(("runs.json", "page.js")) for url in asked)
    page.locator("[data-richness-lab]").scroll_into_view_if_needed()
    page.wait_for_selector(READY)
    assert any(url.endswith("runs.json") for url in asked)


def test_two_laboratories_live_side_by_side(page: Page, serve: Callable, laboratory: str):
    page.goto(serve(laboratory + laboratory))
    expect(page.locator("[data-ready]")).to_have_count(2)
    one, two = page.locator("[data-richness-lab]").all()
    before = two.locator(LOSS).get_attribute("d")
    one.get_by_role("slider", name="gamma", exact=True).focus()
    page.keyboard.press("End")
    assert two.locator(LOSS).get_attribute("d") == before
    assert one.locator(LOSS).get_attribute("d") != before


def test_a_phone_shows_it_without_scrolling_sideways(chromium: Browser, serve: Callable, laboratory: str):
    context = chromium.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    context.set_default_timeout(10_000)
    phone = context.new_page()
    phone.goto(serve(laboratory))
    phone.wait_for_selector(READY)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


def test_without_scripts_picture_and_table_remain(chromium: Browser, serve: Callable, laboratory: str):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(serve(laboratory))
    assert page.locator("[data-fallback] svg").is_visible()
    page.locator("summary").click()
    assert page.locator("table").is_visible()
    context.close()


def test_a_move_is_drawn_before_it_returns(page: Page, serve: Callable, laboratory: str):
    """No frame shows a slider that moved and curves that did not: the drawing is done when the event is."""
    page.goto(serve(laboratory))
    page.wait_for_selector(READY)
    changed = page.evaluate(
        """(find) => {
      const slider = document.querySelector('input[type=range]');
      const drawn = () => document.querySelector(find).getAttribute('d');
      return [1, 6, 3].map((value) => {
        const before = drawn();
        slider.value = value;
        slider.dispatchEvent(new Event('input'));
        return drawn() !== before;
      });
    }""",
        LOSS,
    )
    assert changed == [True, True, True]
