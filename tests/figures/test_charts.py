"""Charts as specifications: what is encoded, on which scales, with the numbers of the result."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
import vl_convert
import xarray as xr
from specifications import check_figure, parts

from richness.analysis import boundaries
from richness.plots import ledger as ledger_tables
from richness.plots import theme
from richness.plots.cells import cells
from richness.studies.optimizers import figures as optimizers_figures
from richness.studies.portrait import figures as portrait_figures

DRAWN = {
    "portrait": lambda runs: portrait_figures.portrait(runs),
    "straightened": lambda runs: portrait_figures.portrait(runs, view="straightened"),
    "triangle": lambda runs: portrait_figures.triangle(runs),
    "explorer": lambda runs: portrait_figures.explorer(runs),
    "eta_max": lambda runs: portrait_figures.boundary_fits(runs),
    "eta_min": lambda runs: portrait_figures.boundary_fits(runs, "eta_min"),
    "eta_star": lambda runs: portrait_figures.boundary_fits(runs, "eta_star"),
    "budgets": lambda runs: portrait_figures.budgets(runs),
    "best_eta": lambda runs: portrait_figures.best_eta(runs),
    "loss_curves": lambda runs: portrait_figures.loss_curves(runs),
    "gallery": lambda runs: portrait_figures.gallery([runs]),
    "by_depth": lambda runs: portrait_figures.exponents_by_depth([runs]),
    "closing": lambda runs: portrait_figures.closing_triangle([runs]),
    "all_boundaries": lambda runs: optimizers_figures.all_boundaries([runs]),
    "ratios": lambda runs: optimizers_figures.ratios(runs, {"the same": runs}),
}


@pytest.fixture(scope="module")
def figures(runs: xr.Dataset) -> dict[str, Any]:
    return {name: draw(runs) for name, draw in DRAWN.items()}


@pytest.fixture(scope="module")
def specs(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: fig.chart.to_dict() for name, fig in figures.items()}


def mark(part: dict[str, Any]) -> str:
    found = part.get("mark", "")
    return found["type"] if isinstance(found, dict) else found


# -- every figure ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRAWN)
def test_it_becomes_a_picture_that_speaks(name: str, figures: dict[str, Any]) -> None:
    words = ("MSE", "digits", "L = 3", "N = 64", "B = 64", "T = 1000", "2 seeds (0, 1)", "lr_raw = N·η")
    check_figure(figures[name], *words)


@pytest.mark.parametrize("name", DRAWN)
def test_one_visual_language(name: str, specs: dict[str, Any]) -> None:
    spec = specs[name]
    assert spec["config"]["background"] == "transparent"
    assert spec["config"]["axis"]["labelColor"] == spec["config"]["axis"]["gridColor"] == "currentColor"
    assert spec["usermeta"]["embedOptions"]["renderer"] == "svg"
    for part in parts(spec):
        for channel in ("color", "fill"):
            coded = part.get(channel)
            if isinstance(coded, dict) and coded.get("field") == "log_gamma":
                assert coded["scale"]["domain"] == [-4, 0, 4]
                assert coded["scale"]["range"] == [theme.LAZY, theme.MIDDLE, theme.RICH]
        for channel in ("x", "y"):
            coded = part.get(channel)
            if isinstance(coded, dict) and "axis" in coded:
                assert coded["scale"]["type"] == "log", f"{name}: {coded}"


@pytest.mark.parametrize("name", DRAWN)
def test_it_fits_a_phone(name: str, specs: dict[str, Any]) -> None:
    """Panels are as wide as a phone allows, and stand one below the other there."""
    assert all(part["width"] <= 290 for part in parts(specs[name]) if isinstance(part.get("width"), int))
    if "concat" in specs[name]:
        assert "windowSize" in specs[name]["columns"]["signal"]
        compiled = vl_convert.vegalite_to_vega(specs[name])
        assert compiled["layout"]["columns"] == specs[name]["columns"]


@pytest.mark.parametrize("version", ["5.20", "6.1"])
@pytest.mark.parametrize("name", ["portrait", "explorer", "budgets"])
def test_older_vega_lite_draws_it_too(name: str, version: str, specs: dict[str, Any]) -> None:
    """Altair 5.5, which Colab has, speaks Vega-Lite 5.20."""
    assert vl_convert.vegalite_to_svg(specs[name], vl_version=version).startswith("<svg")


# -- the theme ---------------------------------------------------------------------------------------------------------


def lightness(colour: str) -> float:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_late_loss_reads_without_colour() -> None:
    shades = [lightness(colour) for colour in theme.LATE_LOSS]
    assert shades == sorted(shades) and min(np.diff(shades)) > 0.05  # dark = learned, steadily lighter


@pytest.mark.parametrize(
    ("value", "words"),
    [(1e-4, "10⁻⁴"), (1e12, "10¹²"), (3.2e-7, "3.2·10⁻⁷"), (1000, "1000"), (0.5, "0.5"), (0.01, "10⁻²"), (0, "0")],
)
def test_numbers_in_words(value: float, words: str) -> None:
    assert theme.power_of_ten(value) == words


def test_axes_are_labelled_in_powers_of_ten(specs: dict[str, Any]) -> None:
    svg = vl_convert.vegalite_to_svg(specs["portrait"])
    for label in ("10⁻⁴", "10⁰", "10⁴", "10⁻⁸"):
        assert f">{label}<" in svg


def test_no_number_is_null_and_empty_scales_are_refused() -> None:
    assert theme.significant(float("nan")) is None and theme.significant(float("inf")) is None
    assert theme.significant(1.23456) == 1.235
    with pytest.raises(ValueError, match="nothing to draw"):
        theme.span([float("nan"), -1])


# -- cells and the portrait --------------------------------------------------------------------------------------------


def test_cells_are_those_of_the_result(runs: xr.Dataset) -> None:
    table = cells(runs)
    run = (runs.status != 2).any("seed")
    assert len(table) == int(run.sum()) < run.size
    for cell in table.iloc[:: len(table) // 40].itertuples():
        here = runs.sel(gamma=cell.gamma, eta=cell.eta)
        assert cell.gamma_low < cell.gamma < cell.gamma_high and cell.eta_low < cell.eta < cell.eta_high
        if cell.state == "diverged":
            assert int((here.status == 1).sum()) * 2 > cell.seeds and math.isnan(cell.late)
        else:
            ratio = float((here.late_loss / here.initial_loss).mean())
            assert cell.late == pytest.approx(ratio, rel=1e-6)
            assert cell.state == ("learned" if ratio < 0.6 else "converged" if ratio < 0.8 else "dead")
    assert set(table.state) == {"learned", "converged", "dead", "diverged"}


def test_a_half_diverged_cell_keeps_its_other_seeds(runs: xr.Dataset) -> None:
    """One of two seeds diverged: the cell still shows the one that did not."""
    table = cells(runs)
    cell = table[table.state == "learned"].iloc[0]
    i, j = cell.place
    changed = runs.copy(deep=True)
    changed.status[i, j, 0] = 1
    changed.late_loss[i, j, 0] = np.nan
    again = cells(changed)
    twin = again[(again.gamma == cell.gamma) & (again.eta == cell.eta)].iloc[0]
    assert twin.diverged == 1 and twin.state == "learned"
    assert twin.late == pytest.approx(float(runs.late_loss[i, j, 1] / runs.initial_loss[i, j, 1]))


def test_trials_instead_of_a_grid(runs: xr.Dataset) -> None:
    """A boundary search has its own η at every γ: the same cells, as a dimension `trial`."""
    eta = xr.DataArray(np.tile(runs.eta.values, (runs.sizes["gamma"], 1)), dims=("gamma", "trial"))
    search = runs.drop_vars(["lr_raw", "tau"]).rename(eta="trial").drop_vars("trial").assign_coords(eta=eta)
    assert cells(search).drop(columns="place").equals(cells(runs).drop(columns="place"))


def test_the_portrait_holds_the_result(runs: xr.Dataset, specs: dict[str, Any]) -> None:
    rows, table = specs["portrait"]["datasets"]["cells"], cells(runs)
    assert len(rows) == len(table)  # cells that were not run have no row
    for row, cell in zip(rows, table.itertuples(), strict=True):
        assert (row["gamma"], row["eta"]) == (float(f"{cell.gamma:.4g}"), float(f"{cell.eta:.4g}"))
        assert row["late"] == theme.significant(cell.late) and row["state"] == cell.state


def test_fates_differ_by_mark(specs: dict[str, Any]) -> None:
    glyphs = {}
    for part in parts(specs["portrait"]):
        for step in part.get("transform", []):
            told = re.search(r"state == '(\w+)'", str(step.get("filter", "")))
            if told:
                glyphs[told[1]] = part["mark"]
    assert set(glyphs) == {"diverged", "dead"}
    assert glyphs["diverged"]["shape"].startswith("M") and not glyphs["diverged"]["filled"]  # a cross, in lines
    assert glyphs["dead"]["shape"] == "circle" and glyphs["dead"]["filled"]


def test_a_lone_diverged_cell_keeps_its_mark(runs: xr.Dataset) -> None:
    """In the raw view only some cells of a long stretch carry the hatch; of a stretch of one, that one."""
    table = cells(runs)
    for _, column in table.groupby("gamma"):
        stretch = (column.state != column.state.shift()).cumsum()
        assert (column.groupby(stretch).hatch.sum() >= 1).all()
        assert 0.2 < column.hatch.mean() < 0.7


def test_the_plane_turns(specs: dict[str, Any]) -> None:
    spec = specs["portrait"]
    view = next(p for p in spec["params"] if p["name"] == "view")
    assert view["value"] == "raw" and view["bind"]["input"] == "radio"
    assert view["bind"]["options"] == ["raw", "straightened"]
    raw, straight = (vl_convert.vegalite_to_svg(specs[name]) for name in ("portrait", "straightened"))
    assert raw != straight and ">10⁻⁸<" in raw and ">10⁻⁸<" not in straight


def test_boundaries_on_the_plane_are_the_findings(runs: xr.Dataset, specs: dict[str, Any]) -> None:
    drawn = [
        row
        for part in parts(specs["portrait"])
        if mark(part) == "point" and "shape" in part.get("encoding", {})
        for row in _values(specs["portrait"], part)
    ]
    largest = boundaries.eta_max(runs)
    mine = {row["gamma"]: row for row in drawn if row["boundary"] == "η_max"}
    for gamma in runs.gamma.values:
        seeds = largest.sel(gamma=gamma).values
        if np.isfinite(seeds).all():
            row = mine[float(f"{gamma:.4g}")]
            assert row["eta"] == pytest.approx(np.exp(np.log(seeds).mean()), rel=1e-3)
            assert row["low"] == pytest.approx(seeds.min(), rel=1e-3)
            assert row["high"] == pytest.approx(seeds.max(), rel=1e-3)
    assert {row["boundary"] for row in drawn} == {"η_max", "η_crit", "η*", "η_min"}


def _values(spec: dict[str, Any], part: dict[str, Any]) -> list[dict[str, Any]]:
    data = part["data"]
    return spec["datasets"][data["name"]] if "name" in data else data["values"]


def test_theory_is_dashed_in_the_colour_of_the_text(specs: dict[str, Any]) -> None:
    for name in ("portrait", "triangle", "eta_max", "budgets"):
        dashed = [p["mark"] for p in parts(specs[name]) if mark(p) == "line" and "strokeDash" in p["mark"]]
        assert dashed and all(m["stroke"] == "currentColor" for m in dashed), name


def test_unknown_view_and_missing_recipe(runs: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="view is one of raw, straightened"):
        portrait_figures.portrait(runs, view="crooked")
    with pytest.raises(ValueError, match="expected the recipe"):
        portrait_figures.portrait(runs.assign_attrs(recipe="{}"))
    with pytest.raises(ValueError, match="every status is not_run"):
        portrait_figures.portrait(runs.assign(status=xr.full_like(runs.status, 2)))


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_learned(name: str, runs: xr.Dataset) -> None:
    """All dead or diverged, as in a run too short: no boundary to mark, and still a figure that says so."""
    idle = runs.assign(
        late_loss=runs.initial_loss.where(runs.status == 0),
        budget_loss=runs.budget_loss.where(runs.budget_loss.isnull(), runs.initial_loss),
    )
    fig = DRAWN[name](idle)
    assert fig.summary.endswith(".") and fig.caption
    assert vl_convert.vegalite_to_svg(fig.chart.to_dict()).startswith("<svg")


# -- the explorer ------------------------------------------------------------------------------------------------------


def test_four_controls_and_a_clock(specs: dict[str, Any]) -> None:
    params = {p["name"]: p for p in specs["explorer"]["params"]}
    assert set(params) == {"hover", "cell", "view", "clock"}
    assert params["hover"]["select"]["on"].startswith("pointerover")
    assert params["cell"]["select"]["on"].startswith("click") and params["cell"]["select"]["clear"] is False
    sliders = params["cell"]["bind"]
    assert sliders["log_gamma"]["name"] == "log10 gamma" and sliders["log_eta"]["name"] == "log10 eta"
    assert (sliders["log_gamma"]["min"], sliders["log_gamma"]["max"]) == (-4, 4)
    assert params["clock"]["bind"]["options"] == ["t", "tau"]


def test_curves_are_of_one_seed(runs: xr.Dataset) -> None:
    for seed in (0, 1):
        spec = portrait_figures.explorer(runs, seed=seed).chart.to_dict()
        for row, cell in zip(spec["datasets"]["cells"], cells(runs).itertuples(), strict=True):
            i, j = cell.place
            curve = runs.loss.values[i, j, seed]
            kept = [theme.significant(v) for v in curve[np.isfinite(curve)]]
            assert row["loss"] == kept
            lam = runs.sharpness.values[i, j, seed]
            assert [v for v in row["lam"] if v is not None] == [theme.significant(v) for v in lam[np.isfinite(lam)]]
            assert row["died"] == int(runs.diverged_at[i, j, seed])


def test_only_the_chosen_cell_is_flattened(specs: dict[str, Any]) -> None:
    flat = [
        part["transform"] for part in parts(specs["explorer"]) if any("flatten" in t for t in part.get("transform", []))
    ]
    assert len(flat) == 2  # loss and sharpness
    for transform in flat:
        kinds = [
            next(iter(k for k in ("filter", "flatten", "joinaggregate", "calculate") if k in t)) for t in transform
        ]
        assert kinds.index("filter") < kinds.index("flatten")


def test_choosing_a_cell_leaves_the_plane_alone(specs: dict[str, Any]) -> None:
    """Neither the cells' data nor their scales hang on the chosen cell: nothing but ring and curves is drawn again."""
    vega = vl_convert.vegalite_to_vega(specs["explorer"])
    plane = next(m for m in vega["marks"] if any(n["type"] == "rect" for n in m.get("marks", [])))
    rect = next(m for m in plane["marks"] if m["type"] == "rect")
    data = next(d for d in vega["data"] if d["name"] == rect["from"]["data"])
    used = json.dumps([rect["encode"], data])
    assert "hover" not in used and '"cell' not in used.replace('"cells"', "")
    scales = {s["name"]: s for s in vega["scales"]}
    for channel in ("x", "y"):
        name = next(rule["scale"] for rule in rect["encode"]["update"][channel] if "scale" in rule)
        assert isinstance(scales[name]["domain"], list), "a domain read from data changes with the chosen cell"


def test_the_stability_line_is_red(specs: dict[str, Any]) -> None:
    rules = [p["mark"] for p in parts(specs["explorer"]) if mark(p) == "rule" and p["mark"].get("stroke")]
    assert [rule["stroke"] for rule in rules] == [theme.STABILITY]
    ratio = next(
        t["calculate"] for p in parts(specs["explorer"]) for t in p.get("transform", []) if t.get("as") == "ratio"
    )
    assert ratio == "datum.lam * 64 * datum.eta / 2"  # λ_max · N·η / 2


def test_without_sharpness(runs: xr.Dataset) -> None:
    spec = portrait_figures.explorer(runs.drop_vars("sharpness")).chart.to_dict()
    assert "λ_max" not in json.dumps([p.get("title") for p in parts(spec)], ensure_ascii=False)
    assert vl_convert.vegalite_to_svg(spec).startswith("<svg")


def test_the_first_cell_is_the_one_asked_for(runs: xr.Dataset) -> None:
    fig = portrait_figures.explorer(runs, gamma=10, eta=30)
    first = next(p for p in fig.chart.to_dict()["params"] if p["name"] == "cell")["value"][0]
    assert first["log_gamma"] == pytest.approx(1) and first["log_eta"] == pytest.approx(np.log10(30), abs=0.11)
    with pytest.raises(ValueError, match="one of the seeds"):
        portrait_figures.explorer(runs, seed=7)


@pytest.mark.slow
def test_the_headline_portrait_is_light(headline: xr.Dataset) -> None:
    import gzip

    spec = json.dumps(
        portrait_figures.explorer(headline).chart.to_dict(), separators=(",", ":"), ensure_ascii=False
    ).encode()
    assert len(spec) < 700_000 and len(gzip.compress(spec)) < 200_000


# -- exponents, curves, ledger -----------------------------------------------------------------------------------------


def test_fits_say_slope_and_interval(runs: xr.Dataset, specs: dict[str, Any], figures: dict[str, Any]) -> None:
    fit = boundaries.fit(boundaries.eta_max(runs), boundaries.RICH_WINDOWS[1])
    words = [v["words"] for p in parts(specs["eta_max"]) if mark(p) == "text" for v in _values(specs["eta_max"], p)]
    low, high = fit.interval
    assert any(f"{fit.slope:.2f} [{low:.2f}, {high:.2f}]" in text for text in words)
    table = figures["eta_max"].table
    assert fit.slope in table["exponent"].to_numpy() and {"predicted", "theory, same γ"} <= set(table.columns)
    with pytest.raises(ValueError, match="no exponent is claimed"):
        portrait_figures.boundary_fits(runs, "eta_crit")


def test_another_threshold_moves_the_points_and_is_said(runs: xr.Dataset, figures: dict[str, Any]) -> None:
    stricter = portrait_figures.boundary_fits(runs, threshold=0.2)
    fit = boundaries.fit(boundaries.eta_max(runs, 0.2), boundaries.RICH_WINDOWS[1])
    assert fit.slope in stricter.table["exponent"].to_numpy() and "late loss < 0.2 ×" in stricter.caption
    assert "late loss < 0.8 ×" in figures["eta_max"].caption and "η*: " in figures["best_eta"].caption
    assert "η_min: smallest η" in figures["budgets"].caption
    with pytest.raises(ValueError, match="a threshold is a positive number, got -1"):
        portrait_figures.boundary_fits(runs, threshold=-1)


def test_budgets_collapse(runs: xr.Dataset, figures: dict[str, Any]) -> None:
    before, after = (float(x) for x in re.findall(r"scatters by (\d+\.\d+)", figures["budgets"].summary))
    assert after < before / 2
    with pytest.raises(ValueError, match="two budgets or more"):
        portrait_figures.budgets(runs.drop_vars("budget_loss").drop_vars("budget"))


def test_loss_curves_hold_the_runs(runs: xr.Dataset) -> None:
    gamma, eta = float(runs.gamma[8]), float(cells(runs).query("gamma == 1.0").eta.iloc[5])
    fig = portrait_figures.loss_curves(runs, [(gamma, eta * 1.01)], seed=1)
    spec = fig.chart.to_dict()
    curve = runs.loss.sel(gamma=gamma, eta=eta, seed=1)
    drawn = spec["concat"][0]
    rows = _values(spec, drawn)
    assert [r["t"] for r in rows] == [int(s) for s in runs.step.values[1:]]
    assert [r["loss"] for r in rows] == [theme.significant(v) for v in curve.values[1:]]
    assert rows[3]["tau"] == pytest.approx(rows[3]["t"] * eta / gamma, rel=1e-3)


ROW = {
    "id": "C1", "part": "lazy", "claim": "largest convergent <η>", "predicted": 2.0, "measured": 2.01,
    "interval": [1.98, 2.03], "reason": "", "window": [1e-4, 1e-2], "seeds": 3, "scale": "laptop",
    "verdict": "partly", "chapter": "02-phase-portrait",
}  # fmt: skip


def test_the_ledger_in_words() -> None:
    unknown = dict.fromkeys(("interval", "measured", "window", "chapter"))
    reason = "not run in this edition"
    idle = ROW | unknown | {"id": "C7", "part": "whole", "verdict": "not-run", "reason": reason, "seeds": 0}
    ledger = ledger_tables.ledger_table([ROW, idle])
    html = ledger._repr_html_()
    assert 'class="richness-badge verdict verdict-partly"' in html and ">partly reproduced<" in html
    assert ">not run<" in html and "not run in this edition" in html
    assert '<a href="02-phase-portrait.html#claim-c1-lazy">C1, lazy</a>' in html
    assert "largest convergent &lt;η&gt;" in html and "1.98 to 2.03" in html and "10⁻⁴ to 10⁻²" in html
    assert ledger.summary == "2 rows for 2 claims: 0 hold in all of their parts, 1 in some, 1 in none."
    with pytest.raises(ValueError, match="the verdict is one of"):
        ledger_tables.ledger_table([ROW | {"verdict": "great"}])
    with pytest.raises(ValueError, match="got none"):
        ledger_tables.ledger_table([])


def test_a_reason_that_all_rows_share_is_read_once() -> None:
    bare = ROW | {"interval": None, "window": None, "verdict": "not-tested", "reason": "no formula was had"}
    said = repr(ledger_tables.verdicts_of([bare | {"measured": value} for value in (0.25, 0.75)]))
    assert said.count("no formula was had") == 1 and "measured 0.25; 0.75 (no formula was had)" in said
    apart = repr(ledger_tables.verdicts_of([bare, bare | {"reason": "a run was lost"}]))
    assert "no formula was had" in apart and "a run was lost" in apart
