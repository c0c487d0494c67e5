"""What a chapter takes reaches its recipes; at default values it asks for what is stored, and bad values are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
import xarray as xr
from pydantic import ValidationError

from richness.runs import jobs, recipes
from richness.runs.experiment import Experiment

CHAPTERS = Path(__file__).parents[2] / "chapters"
NAMES = ("02-phase-portrait", "03-performance", "04-dynamics", "05-curvature")


def loads_of(stem: str, **values: Any) -> dict[str, Any]:
    """The names that a chapter has after the cell that loads its results, these parameters in place of its own."""
    cells = [cell for cell in nbformat.read(CHAPTERS / f"{stem}.ipynb", 4).cells if cell.cell_type == "code"]
    at = next(k for k, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    namespace: dict[str, Any] = {}
    for cell in cells[1 : at + 1]:
        exec(cell.source, namespace)
    assert values.keys() <= namespace.keys()
    exec(cells[at + 1].source, namespace | values)
    return namespace


@pytest.fixture
def asked(monkeypatch):
    """What a chapter's recipes have become, by name; nothing is trained, and a result is its description alone."""
    found: dict[str, Any] = {}

    def run(described, name="", **_):
        found[name] = described
        return xr.Dataset(attrs={"recipe": described.model_dump_json()})

    monkeypatch.setattr(jobs, "run", run)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("stem", NAMES)
def test_at_default_values_a_chapter_loads_what_is_stored(stem, monkeypatch):
    monkeypatch.setattr(jobs, "run", lambda *_, name, **__: pytest.fail(f"{name} would be trained"))
    loads_of(stem)


@pytest.mark.parametrize(
    ("stem", "values", "headline", "others"),
    [
        ("02-phase-portrait", {"width": 12, "steps": 40, "task": "digits8", "gammas": "0.1 1:100:3", "depth": 2},
         "phase_portrait_mlp3_mse", "portrait_mlp4_mse"),
        ("03-performance", {"width": 12, "task": "digits8", "gammas": "1 10 100"},
         "performance_mlp3_cross_entropy", "portrait_cnn4_mse"),
        ("04-dynamics", {"width": 12, "batch_size": 8, "steps": 30}, "clocks_mlp6", None),
        ("05-curvature", {"width": 12, "probe_samples": 64, "steps": 40, "gammas": "1 10"},
         "final_sharpness_mlp3_mse", None),
    ],
)  # fmt: skip
def test_what_a_chapter_is_given_reaches_its_recipes(asked, monkeypatch, stem, values, headline, others):
    monkeypatch.setattr("richness.studies.portrait.analysis.rows", lambda *_: [])
    monkeypatch.setattr("richness.studies.dynamics.analysis.rows", lambda *_: [])
    loads_of(stem, scale="smoke", **values)
    changed, plain = asked[headline], recipes.recipe(headline, "smoke")
    assert isinstance(changed, Experiment) and isinstance(plain, Experiment)
    expected = values | ({"gammas": Experiment(gammas=values["gammas"], etas=1).gammas} if "gammas" in values else {})
    assert {name: getattr(changed, name) for name in values} == expected
    share = changed.steps / plain.steps
    assert changed.budgets == tuple(round(budget * share) for budget in plain.budgets)
    if others:
        assert asked[others] == recipes.recipe(others, "smoke")


@pytest.mark.parametrize(
    ("stem", "name", "value", "words"),
    [
        ("02-phase-portrait", "width", -3, "width"), ("02-phase-portrait", "gammas", "much", "gammas"),
        ("02-phase-portrait", "task", "weather", "unknown task 'weather'"), ("02-phase-portrait", "steps", 1.5, "steps"),
        ("03-performance", "task", "teacher", "task 'teacher' has real targets"),
        ("04-dynamics", "batch_size", -1, "batch_size"),
        ("05-curvature", "probe_samples", -1, "probe_samples"),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_in_the_notebook_and_on_the_command_line(
    asked, monkeypatch, richness, tmp_path, stem, name, value, words
):
    with pytest.raises(ValidationError, match=words):
        loads_of(stem, scale="smoke", **{name: value})
    if name == "task" and stem == "03-performance":  # a stream of real targets is good for the losses alone
        return
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: pytest.fail("a kernel was started"))
    answer = richness("rerun", stem, "--scale", "smoke", "-p", name, value, "--out", tmp_path)
    assert answer.code == 2 and words in answer.err, answer.err


@pytest.mark.parametrize(("name", "value"), [("threshold", "0"), ("threshold", "-1"), ("threshold", "low")])
def test_a_threshold_is_a_positive_number(richness, tmp_path, monkeypatch, name, value):
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: pytest.fail("a kernel was started"))
    answer = richness("rerun", "02-phase-portrait", "-p", name, value, "--out", tmp_path)
    assert answer.code == 2 and f"{name}: expected a" in answer.err and value in answer.err
