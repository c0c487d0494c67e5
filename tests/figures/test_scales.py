"""Results of two scales side by side, and the line under a figure that says what it was drawn from."""

from __future__ import annotations

import gzip

import pytest

import richness
from richness.analysis import ledger as claims
from richness.plots import ledger
from richness.plots.provenance import Provenance, command
from richness.runs import places, results
from richness.runs.sweep import sweep
from richness.studies.optimizers import figures as optimizers_figures
from richness.studies.portrait import analysis as portraits
from richness.studies.portrait import figures as portrait_figures

pytestmark = pytest.mark.slow  # all of them together; they would double `make check`

NAME = "phase_portrait_mlp3_mse"


@pytest.fixture(scope="module")
def paper():
    """What stands for a result at paper scale: the recipe with a narrow network, few steps and a coarse grid."""
    reduced = {
        "width": 16,
        "steps": 60,
        "seeds": [0, 1],
        "task": "digits8",
        "gammas": "1e-3:1e3:13",
        "etas": "1e-7:1e4:60",
    }
    experiment = richness.Experiment.model_validate(richness.recipe(NAME, "smoke").model_dump() | reduced)
    return sweep(experiment, name=NAME, scale="paper")


@pytest.fixture
def both(paper, tmp_path, monkeypatch):
    """A folder of results that holds the headline portrait at two scales, and nothing else."""
    laptop = places.precomputed_path(NAME, "laptop").read_bytes()
    monkeypatch.setattr(places, "precomputed_folder", lambda: tmp_path)
    results.save(paper, places.precomputed_path(NAME, "paper"))
    (tmp_path / "laptop").mkdir()
    places.precomputed_path(NAME, "laptop").write_bytes(laptop)
    return [richness.load(NAME, scale) for scale in results.scales_of(NAME)]


def test_a_result_of_another_scale_is_loaded_beside_the_laptops(both):
    assert [runs.attrs["scale"] for runs in both] == ["laptop", "paper"]
    assert richness.load(NAME).attrs["scale"] == "paper", "the largest, where none is named"


def test_the_portrait_shows_both_scales(both):
    figure = portrait_figures.compare_scales(both, label="scales")
    assert set(figure.table.scale) == {"laptop", "paper"}
    assert "at laptop scale" in figure.summary
    drawn = str(figure.specification)
    assert "'laptop'" in drawn and "'paper'" in drawn
    alone = portrait_figures.compare_scales(both[:1])
    assert set(alone.table.scale) == {"laptop"}
    measured = figure.table.set_index(["scale", "boundary", "side"]).slope
    for key, slope in alone.table.set_index(["scale", "boundary", "side"]).slope.items():
        assert measured[key] == pytest.approx(slope, nan_ok=True), "the other scale changes nothing of this one"


def test_any_results_are_compared_by_the_names_that_they_are_given(both):
    coarse = both[0].isel(
        eta=slice(None, None, 2)
    )  # whose exponents, unlike the narrow one's, are measured on any machine
    mapping = {"coarse": coarse, "as in the book": both[0]}
    figure = richness.compare(mapping)
    assert set(figure.table["result"]) == set(mapping) and "of coarse" in figure.summary
    scales = portrait_figures.compare_scales([coarse.assign_attrs(scale="paper"), both[0]])
    assert figure.table.slope.equals(scales.table.slope), "the numbers are those of the scales"
    with pytest.raises(ValueError, match="results: expected a mapping"):
        richness.compare(both)
    with pytest.raises(ValueError, match="1 to 8 results"):
        richness.compare({})


def test_the_ledger_shows_the_other_scale(both, monkeypatch):
    monkeypatch.setattr(claims, "study_modules", lambda name: [portraits])
    monkeypatch.setattr(claims, "claims", claims.claims.__wrapped__)  # past its cache, which holds those of all studies
    rows = claims.rows_of_other_scales("laptop")
    assert rows and {row["scale"] for row in rows} == {"paper"}
    assert {row["id"] for row in rows} >= {"C1", "C2"}
    assert "paper" in ledger.ledger_table(rows)._repr_html_()
    places.precomputed_path(NAME, "paper").unlink()
    assert claims.rows_of_other_scales("laptop") == []


def test_a_figure_names_the_results_it_was_drawn_from(both):
    figure = portrait_figures.boundary_fits(both[0], "eta_max")
    assert [runs.attrs["scale"] for runs in figure.sources] == ["laptop"]
    html = figure.html()
    attrs = both[0].attrs
    for word in (NAME, attrs["recipe_hash"][:12], results.data_hash(both[0])[:12], attrs["git_commit"][:10], "laptop",
                 "seeds 0", str(attrs["device"]), f"{attrs['wall_seconds']:.0f} s", command(both[0])):  # fmt: skip
        assert str(word) in html.partition("richness-made")[2], word
    assert "Drawn from 2 results" in portrait_figures.compare_scales(both).html()
    named = optimizers_figures.all_boundaries(results=both[:1])
    assert len(named.sources) == 1, "given by name"
    bare = both[0].assign_attrs(git_commit="")
    del bare.attrs["git_commit"]
    assert portrait_figures.boundary_fits(bare, "eta_max").sources == (), "numbers that no sweep made name nothing"


def test_the_line_costs_a_page_little():
    eight = [richness.load(f"portrait_mlp{L}_{loss}") for L in (2, 3, 4, 6) for loss in ("mse", "cross_entropy")]
    figure = portrait_figures.exponents_by_depth(eight)
    assert len(figure.sources) == 8
    cost = len(gzip.compress(figure.html().encode())) - len(gzip.compress(figure.drawn_from().html().encode()))
    assert cost < 900, f"eight results cost {cost} bytes"


def test_the_hash_is_of_the_numbers_alone(both):
    runs = both[1]
    assert results.data_hash(runs) == results.data_hash(runs.assign_attrs(date="another day", device="another"))
    assert results.data_hash(runs) != results.data_hash(runs.assign(late_loss=runs.late_loss * 2))
    assert results.data_hash(runs) != results.data_hash(runs.rename(late_loss="later_loss"))
    assert Provenance(runs).rows()["data's hash"] == results.data_hash(runs)


def test_the_command_of_a_changed_recipe_is_spelled_out(both, monkeypatch, tmp_path):
    monkeypatch.setattr(places, "runs_folder", lambda: tmp_path / "runs")
    assert command(both[0]) == f"richness precompute {NAME} --scale laptop"
    changed = richness.load_or_run("laboratory_mlp3_mse", "smoke", depth=4, warmup=3)
    assert command(changed).startswith("richness sweep") and "--depth 4" in command(changed)
    assert "--warmup 3" in command(changed)
