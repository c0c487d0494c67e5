"""What is looked for on one visit to a page; the tests judge it, each under its own name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visits import Visit

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
PHONE = {"width": 360, "height": 740}
INKS = {"rgb(255, 255, 255)", "rgb(34, 34, 34)", "rgb(0, 0, 0)"}  # of numbers that stand on a coloured cell

# What is folded away is read too, once it has unfolded.
UNFOLD = "for (const one of document.querySelectorAll('.bd-article details')) one.open = true"
RUN = """async (rules) => {
  const found = await axe.run(document, { runOnly: { type: "tag", values: rules }, resultTypes: ["violations"] });
  if (!found.passes.length) throw new Error("axe has read nothing");
  return found.violations.flatMap(({ id, nodes }) =>
    nodes.map((node) => `${id}: ${node.target.join(" ")}: ${node.failureSummary.split("\\n").slice(1).join(";")}`));
}"""
BARE_ICONS = """[...document.querySelectorAll('.fa-solid, .fa-regular, .fa-brands')]
  .filter((icon) => { const style = getComputedStyle(icon);
    return !(style.maskImage || style.webkitMaskImage || '').includes('data:image/svg'); })
  .map((icon) => icon.className)"""
LONGEST_MOTION = """Math.max(...[...document.querySelectorAll('*')].flatMap((element) => {
  const style = getComputedStyle(element);
  return [...style.transitionDuration.split(','), ...style.animationDuration.split(',')].map(parseFloat); }))"""


@dataclass
class Colours:
    """Mean channels, 0 to 255, of a page's paper and its ink."""

    paper: float
    ink: float


@dataclass
class ByDay:
    """Seen in the light: complaints until every figure lived, and after all were played with; figures by their id."""

    colours: Colours
    bare_icons: list[str]
    complaints: list[str]
    complaints_at_the_end: list[str]
    pictures: dict[str, int] = field(default_factory=dict)  # how many drawings a figure has once it is alive
    jumps: dict[str, float] = field(default_factory=dict)  # by how many pixels its picture grew
    mute: list[str] = field(default_factory=list)  # choices and sliders that change nothing, or say nothing
    unlabelled: list[str] = field(default_factory=list)  # sliders without a label of their own


@dataclass
class ByNight:
    """Seen in the dark, then in the light: what axe finds and words in figures that have a colour of their own."""

    colours: Colours
    longest_motion: float  # seconds
    violations: dict[str, list[str]]
    stray_colours: dict[str, list[str]]


@dataclass
class OnAPhone:
    """Seen on a phone; what axe finds on those of `READ_ON_A_PHONE`, None elsewhere."""

    width: float
    complaints: list[str]
    violations: list[str] | None = None


def by_day(visited: Visit) -> ByDay:
    page = visited.page
    seen = ByDay(read_colours(page, "light"), page.evaluate(BARE_ICONS), [], visited.complaints)
    figures = page.locator("figure.richness-figure").all()
    for figure in figures:
        bring_to_life(visited, figure, seen)
    scroll_through(page)
    page.wait_for_load_state("networkidle")
    seen.complaints = list(visited.complaints)
    for figure in figures:
        try_choices(visited, figure, seen)
    page.reload(wait_until="load")  # each slider is tried where the figure starts, not where a choice has led it
    for figure in page.locator("figure.richness-figure").all():
        alive(visited, figure)
        try_sliders(visited, figure, seen)
    return seen


def by_night(visited: Visit) -> ByNight:
    page = visited.page
    seen = ByNight(read_colours(page, "dark"), page.evaluate(LONGEST_MOTION), {}, {})
    unfold(visited)
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        wait_for_theme(page, scheme)
        page.wait_for_timeout(300)  # colours pass on from element to element
        seen.violations[scheme] = violations(visited)
        seen.stray_colours[scheme] = stray_colours(visited)
    return seen


def on_a_phone(visited: Visit, axe: bool) -> OnAPhone:
    page = visited.page
    scroll_through(page)
    seen = OnAPhone(page.evaluate("document.documentElement.scrollWidth"), list(visited.complaints))
    if axe:
        page.emulate_media(reduced_motion="reduce")
        seen.violations = violations(unfold(visited))
    return seen


# Colours and access -----------------------------------------------------------------------------------------------


def wait_for_theme(page: Any, scheme: str) -> None:
    page.wait_for_function(f"() => document.documentElement.dataset.theme === '{scheme}'", polling=100, timeout=120_000)


def read_colours(page: Any, scheme: str) -> Colours:
    """The colours of a page once it has taken the reader's scheme."""
    wait_for_theme(page, scheme)
    return Colours(lightness(page, "body", "backgroundColor"), lightness(page, "body", "color"))


def lightness(page: Any, selector: str, property: str) -> float:
    """Mean of a computed colour's channels, 0 to 255."""
    colour = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{property}")
    return sum(float(part) for part in re.findall(r"[\d.]+", colour)[:3]) / 3


def violations(visited: Visit) -> list[str]:
    """What axe finds on a page as it stands."""
    visited.page.evaluate(AXE.read_text(encoding="utf-8"))  # not a script of the page: its policy would refuse one
    return visited.page.evaluate(RUN, RULES)


def unfold(visited: Visit) -> Visit:
    """The same visit, with every figure alive and every fold open."""
    scroll_through(visited.page)
    visited.page.evaluate(UNFOLD)
    return visited


def stray_colours(visited: Visit) -> list[str]:
    """Words in figures that have a colour of their own: axe does not look into drawings, so it might be unreadable."""
    drawn = visited.page.evaluate(
        "[...document.querySelectorAll('.richness-figure svg text')].map((text) =>"
        " [getComputedStyle(text).fill, getComputedStyle(text.closest('figure')).color, text.textContent])"
    )
    return [words for fill, around, words in drawn if fill != around and fill not in INKS]


# Figures ----------------------------------------------------------------------------------------------------------


def scroll_through(page: Any) -> None:
    """Scroll to the page's end and wait until every figure on it is alive."""
    page.evaluate(
        """async () => {
          const wait = () => new Promise((done) => setTimeout(done, 30));
          for (let y = 0; y < document.body.scrollHeight; y += 400) { scrollTo(0, y); await wait(); }
          for (const figure of document.querySelectorAll(".richness-figure"))
            for (let tries = 0; figure.dataset.state === "static" && tries < 1000; tries++) {
              figure.scrollIntoView();  // a busy machine draws no frame at some of the stops above
              await wait();
            }
        }"""
    )
    page.wait_for_function(
        "() => [...document.querySelectorAll('.richness-figure')].every((figure) => figure.dataset.state === 'live')",
        timeout=60_000,
    )


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


def bring_to_life(visited: Visit, figure: Any, seen: ByDay) -> None:
    name = figure.get_attribute("id")
    before = figure.locator(".richness-picture").bounding_box()
    alive(visited, figure)
    after = figure.locator(".richness-picture").bounding_box()
    seen.pictures[name] = figure.locator(".richness-picture svg").count()
    seen.jumps[name] = abs(after["height"] - before["height"])


def try_choices(visited: Visit, figure: Any, seen: ByDay) -> None:
    for choice in figure.locator("input[type=radio]:not(:checked)").all():
        before = drawing(figure)
        choice.check()
        if not changes(visited, figure, before):
            seen.mute.append(f"{figure.get_attribute('id')}: the choice {choice.get_attribute('data-signal')}")


def try_sliders(visited: Visit, figure: Any, seen: ByDay) -> None:
    for slider in figure.locator("input[type=range]").all():
        name = f"{figure.get_attribute('id')}: the slider {slider.get_attribute('data-signal')}"
        if slider.evaluate("(input) => input.labels.length") != 1:
            seen.unlabelled.append(name)
        said = slider.get_attribute("aria-valuetext")
        if not moves(visited, figure, slider):
            seen.mute.append(f"{name} changes nothing")
        if slider.get_attribute("aria-valuetext") == said:
            seen.mute.append(f"{name} says nothing")


def moves(visited: Visit, figure: Any, slider: Any) -> bool:
    """Whether some keys change the drawing: several steps of a slider may have the same nearest run."""
    before = drawing(figure)
    slider.focus()
    low = float(slider.input_value()) <= float(slider.get_attribute("min"))

    def key(word: str) -> bool:
        visited.page.keyboard.press(word)
        return changes(visited, figure, before, tries=5)

    words: list[str] = ["ArrowRight" if low else "ArrowLeft", *["PageUp" if low else "PageDown"] * 10]
    return any(map(key, words))
