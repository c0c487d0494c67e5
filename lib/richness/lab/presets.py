"""Settings that show each phenomenon at the laboratory's size, one tap away; all of them train on the page too.

What each is said to show is measured in ``tests/lab/test_presets.py``.
"""

from __future__ import annotations

from typing import Any

from richness.lab.settings import RunSettings


def _settings(gamma: float, eta: float, **others: Any) -> RunSettings:
    plain = {
        "depth": 3, "width": 64, "loss": "mse", "task": "digits8", "optimizer": "sgd", "batch_size": 64, "steps": 1000,
        "seed": 0,
    }  # fmt: skip
    return {"gamma": gamma, "eta": eta, **plain, **others}


def _preset(
    name: str, title: str, about: str, settings: RunSettings, *also: RunSettings, axis: str = "t", scale: str = "log"
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "about": about,
        "ask": settings,
        "axis": axis,
        "scale": scale,
        "also": list(also),
    }


_HALFSPACE = {"task": "halfspace", "batch_size": 128, "steps": 1500}
_LARGE_BATCH = {"batch_size": 128, "steps": 3000}

#: name, title, about (what to predict and to look for), ask (the run settings), axis (t or tau), scale (of it), and also
#: (settings of further runs to compare).
PRESETS: tuple[dict[str, Any], ...] = (
    _preset(
        "catapult",
        "Catapult",
        "The sharpness starts at 2.5 times the stability line: will the run diverge? Watch the loss leap to three times its "
        "start within ten steps, the sharpness fall back under the line, and the run learn after all.",
        _settings(0.1, 0.9, steps=300),
        _settings(0.1, 0.35, steps=300),
    ),
    _preset(
        "silent_alignment",
        "Silent alignment",
        "When does the kernel turn towards the target: before the loss falls, or with it? Watch the alignment double on the "
        "flat part of the loss when rich (γ = 1000), and the loss fall first at γ = 1.",
        _settings(1000.0, 30.0, **_HALFSPACE),
        _settings(1.0, 0.03, **_HALFSPACE),
    ),
    _preset(
        "steps",
        "Steps",
        "A linear teacher has four outputs, of strengths 4, 2, 1 and 1/2: in which order are they learned? Count the steps "
        "down: each weaker one takes longer to begin.",
        _settings(1e4, 500.0, task="teacher", batch_size=512, steps=3000),
    ),
    _preset(
        "edge_of_stability",
        "Edge of stability",
        "How sharp does it get? Watch the sharpness rise to the line 2/lr_raw and stay about it, at either η: half the "
        "step size, twice the sharpness.",
        _settings(10.0, 70.0, **_LARGE_BATCH),
        _settings(10.0, 35.0, **_LARGE_BATCH),
    ),
    _preset(
        "collapse",
        "Collapse in rescaled time",
        "Two rich runs leave the plateau more than five times apart in steps. Do they in τ = ηt/γ? Switch the axis "
        "and watch the first drops fall on one another.",
        _settings(1e4, 4000.0, **_LARGE_BATCH),
        _settings(1000.0, 70.0, **_LARGE_BATCH),
    ),
)


def preset_of(name: str) -> dict[str, Any]:
    """The preset of that name.

    Raises:
        ValueError: no such preset; the message lists those there are.
    """
    found = next((preset for preset in PRESETS if preset["name"] == name), None)
    if found is None:
        raise ValueError(f"unknown preset {name!r}: choose one of {', '.join(preset['name'] for preset in PRESETS)}")
    return found
