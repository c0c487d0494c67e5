"""The list of studies: what is registered wrongly is told, with the study's name, when recipes and claims are collected."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from richness import registry
from richness.analysis import ledger
from richness.analysis.ledger import Claim
from richness.runs import recipes

CACHES = (ledger.claims, recipes.all_recipes, recipes.paper_recipes, recipes._named_recipes)
CLAIM = Claim("K9", "one", "a sentence", 1.0, "06-similarity")


@pytest.fixture(autouse=True)
def collected_anew() -> Iterator[None]:
    for one in CACHES:
        one.cache_clear()
    yield
    for one in CACHES:
        one.cache_clear()


def hold(monkeypatch: pytest.MonkeyPatch, *holdings: dict[str, Any]) -> None:
    """Make the studies be ``studies.first``, ``studies.second`` …, whose modules hold that."""
    modules = []
    for place, held in zip(("first", "second"), holdings, strict=False):
        modules.append(ModuleType(f"studies.{place}"))
        vars(modules[-1]).update(held)
    monkeypatch.setattr(registry, "study_modules", lambda name: modules)
    monkeypatch.setattr(ledger, "study_modules", lambda name: modules)


@pytest.mark.parametrize("study", ["dynamcs", "neighbours.byond", "nieghbours.beyond"])
def test_a_misspelt_study_is_named(monkeypatch: pytest.MonkeyPatch, study: str) -> None:
    monkeypatch.setattr(registry, "STUDIES", ("dynamics", study))
    with pytest.raises(
        ModuleNotFoundError, match=f"lists '{study}', and there is no folder richness/studies/.*correct"
    ):
        registry.study_modules("recipes")


def test_a_study_need_not_have_every_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "STUDIES", ("afterwards", "dynamics"))
    assert [module.__name__ for module in registry.study_modules("recipes")] == ["richness.studies.dynamics.recipes"]


def test_claims_without_rows_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    hold(monkeypatch, {"CLAIMS": (CLAIM,)})
    with pytest.raises(ValueError, match=r"studies\.first has CLAIMS .*add rows\(load\)"):
        ledger.ledger()


@pytest.mark.parametrize("owners", [["first", "second"], ["first", "first"]])
def test_a_claim_is_told_from_every_other(monkeypatch: pytest.MonkeyPatch, owners: list[str]) -> None:
    held = [{"CLAIMS": (CLAIM,) * owners.count(name), "rows": list} for name in dict.fromkeys(owners)]
    hold(monkeypatch, *held)
    with pytest.raises(ValueError, match=rf"studies\.{owners[1]}: \('K9', 'one'\) is taken already, by studies\.first"):
        ledger.claims()


@pytest.mark.parametrize("tables", [("RECIPES", "RECIPES"), ("RECIPES", "PAPER_ONLY"), ("PAPER_ONLY", "PAPER_ONLY")])
def test_two_recipes_of_one_name_are_told(monkeypatch: pytest.MonkeyPatch, tables: tuple[str, str]) -> None:
    hold(monkeypatch, *({table: {"mine": str}} for table in tables))
    with pytest.raises(ValueError, match=r"studies\.second: 'mine' is taken already, by studies\.first"):
        recipes.names("laptop")


def test_a_study_may_have_recipes_at_the_papers_size_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    hold(monkeypatch, {"PAPER_ONLY": {"large": str}}, {"RECIPES": {"small": str}})
    assert recipes.names("laptop") == ["small"] and recipes.names("paper") == ["small", "large"]
