"""Five stops before the laboratory: a prediction that a reader commits to, a setting that shows what happens, and a mark.

Without scripts the answers are text to unfold; ``site/assets/page.js`` marks what was chosen and sets the page's laboratory.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from richness.lab.presets import preset_of


@dataclass(frozen=True)
class Stop:
    """One prediction.

    Attributes:
        preset: the name of the setting that shows what happens, measured in ``tests/lab/test_presets.py``.
        before: what stands before the reader. question: what to predict.
        choices: the answers on offer. right: the place of the right one.
        because: one sentence, after the mark.
    """

    preset: str
    before: str
    question: str
    choices: tuple[str, ...]
    right: int
    because: str


STOPS = (
    Stop(
        "catapult",
        "γ is small, and the first steps are two and a half times too long for where the network stands.",
        "What will the loss do?",
        ("diverge", "climb, then fall", "fall smoothly"),
        1,
        "It leaps, lands where the landscape is flatter, and learns: a catapult.",
    ),
    Stop(
        "edge_of_stability",
        "As features grow, so does the sharpness. One run takes steps half as long as the other's.",
        "Where does its sharpness end?",
        ("at half the other's", "where the other's does", "at twice the other's"),
        2,
        "Each climbs to its own red line, the sharpness at which steps of that length stop being stable.",
    ),
    Stop(
        "silent_alignment",
        "At γ = 1000 the loss is flat for a long time.",
        "When does the network turn towards its task?",
        ("before the loss falls", "together with the loss", "after it has fallen"),
        0,
        "Alignment grows on the plateau, in silence; at γ = 1 it is the loss that moves first.",
    ),
    Stop(
        "steps",
        "A teacher has four outputs, of strengths 4, 2, 1 and ½; γ is very large.",
        "In which order are they learned?",
        ("all at once", "one by one, the strongest first", "one by one, the weakest first"),
        1,
        "Each drop of the loss is one output, and each weaker one waits longer.",
    ),
    Stop(
        "collapse",
        "Two very rich runs leave their plateaus more than five times apart.",
        "Count time as τ = ηt/γ instead: where are their first drops?",
        ("as far apart", "on one another", "the other way about"),
        1,
        "Richer is slower, and by just that factor: switch the curves to τ and see.",
    ),
)


def five_stops() -> str:
    """HTML of the stops: a group of choices, a button and an answer each."""
    return f'<div class="richness-stops">{"".join(_stop(number, stop) for number, stop in enumerate(STOPS, 1))}</div>'


def _stop(number: int, stop: Stop) -> str:
    choices = "".join(
        f'<label><input type="radio" name="stop-{number}" value="{k}"> {escape(words)}</label>'
        for k, words in enumerate(stop.choices)
    )
    right = f"{stop.choices[stop.right]}. {stop.because}"
    return (
        f'<fieldset class="richness-stop" data-preset="{stop.preset}" data-right="{stop.right}">'
        f"<legend>{number}. {escape(preset_of(stop.preset)['title'])}</legend>"
        f"<p>{escape(stop.before)} <strong>{escape(stop.question)}</strong></p>"
        f'<div class="richness-choices">{choices}</div>'
        '<button type="button" disabled hidden>Show me</button> <span class="richness-mark" role="status"></span>'
        f"<details><summary>Answer</summary><p>{escape(right[0].upper() + right[1:])}</p></details></fieldset>"
    )
