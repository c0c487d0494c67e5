"""The search against planes whose boundaries are known, and against the full grid; then against real networks."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import xarray as xr
from alike import equal
from hypothesis import given
from hypothesis import strategies as st

from richness import Experiment, read, save, search, sweep
from richness.analysis import boundaries
from richness.data import streams, task
from richness.networks.parameterization import natural_eta
from richness.runs import bracketing, shards
from richness.runs import search as search_module
from richness.runs.outcomes import APPROACHES
from richness.runs.results import ResultError
from richness.runs.training import History

pytestmark = pytest.mark.slow  # all of them together; `make check` has two minutes

FOUND = (boundaries.eta_max, boundaries.eta_min, boundaries.eta_crit)
NEVER_SAME = ("date", "wall_seconds", "cpu_seconds")
Positions = Callable[[float, int], float]  # (γ, seed) -> η


@dataclass
class Planted:
    """A plane to be found: a run's fate as a function of γ, η and the seed alone, with the losses that tell it.

    Below η_min runs are slow, between η_min and η_max the late loss is a bowl, above η_max they are dead (finite, with the
    initial loss) and above 10 η_max they diverge; above η_crit the loss overshoots, but dead networks far up do not.
    η_min goes as 1/T. ``fuzz`` (decades) is how far chance moves each run's boundaries; ``islands`` are (low, high) in
    units of η_max where runs converge again.
    """

    top: Positions = lambda gamma, seed: 30.0 * float(natural_eta(gamma, 3)) * (1 + 0.1 * seed)
    crit: Positions = lambda gamma, seed: 14.0 * float(natural_eta(gamma, 3)) * (1 + 0.07 * seed)
    low: Positions = lambda gamma, seed: 0.2 * float(natural_eta(gamma, 3)) * (1 + gamma) ** (1 / 3) * (1 + 0.05 * seed)
    fuzz: float = 0.0
    islands: tuple[tuple[float, float], ...] = ()
    trained: int = 0

    def train(
        self, experiment: Experiment, seed: int, cells: list, tick: Callable | None = None, **_: object
    ) -> History:
        self.trained += len(cells)
        loss = np.stack([self.losses(experiment, gamma, eta, seed) for gamma, eta in cells], axis=1)
        steps = np.isfinite(loss).sum(axis=0)
        if tick:
            tick(len(cells) * experiment.steps)
        return History(loss, np.where(steps <= experiment.steps, steps, -1), {})

    def losses(self, experiment: Experiment, gamma: float, eta: float, seed: int) -> np.ndarray:
        moved = np.random.default_rng(zlib.crc32(repr((gamma, eta, seed)).encode())).uniform(-self.fuzz, self.fuzz, 3)
        top, crit, low = (
            eta / place(gamma, seed) / 10**m for place, m in zip((self.top, self.crit, self.low), moved, strict=True)
        )
        t = np.arange(experiment.steps + 1)
        inside = top <= 1 or any(a <= eta / self.top(gamma, seed) <= b for a, b in self.islands)
        learned = inside & (low * t / experiment.steps >= 1)
        slow = 1 - 0.1 * min(low, 1.0) * t / experiment.steps
        bowl = 0.3 + 0.25 * np.clip(np.log10(max(top, 1e-9)) / 3 + 0.3, -1, 1) ** 2
        loss = np.where(learned, bowl, np.where(inside, slow, 1.0))
        loss[0] = 1.0
        if crit > 1 and top < 100:
            loss[1:4] = 3.0
        if top > 10 and not inside:
            loss[70:] = np.nan
        return loss


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Planted]]:
    def put(**places: object) -> Planted:
        planted = Planted(**places)  # type: ignore[arg-type]
        monkeypatch.setattr(shards, "train", planted.train)
        return planted

    yield put


def plane(**changes: object) -> Experiment:
    fields: dict = {
        "width": 8, "steps": 100, "gammas": "1e-4:1e3:29", "etas": "1e-12:1e7:58", "seeds": [0, 3, 1], "record_points": 4,
        "band": (0.025, 500.0),
    }  # fmt: skip
    return Experiment(**fields | changes)


def full_grid(experiment: Experiment, per_decade: int = 12) -> list[xr.Dataset]:
    """Every η that a search may run, by the sweep, one γ after another."""
    every = []
    for gamma in experiment.gammas:
        grid = bracketing.Grid.of(experiment, gamma, per_decade)
        etas = [grid.eta(k) for k in range(grid.first, grid.last + 1)]
        every.append(sweep(experiment.model_copy(update={"gammas": (gamma,), "etas": tuple(etas)})))
    return every


def same(found: xr.Dataset, every: list[xr.Dataset]) -> None:
    """All boundaries of a search are those of the full grid, to the cell."""
    for find in FOUND:
        mine, theirs = find(found), xr.concat([find(one) for one in every], "gamma")
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, err_msg=str(mine.name))
        np.testing.assert_allclose(mine.half_cell, theirs.half_cell, rtol=1e-6)
        for count in ("censored", "absent"):
            assert mine.attrs[count] == sum(find(one).attrs[count] for one in every), (mine.name, count)


def same_in_all(a: xr.Dataset, b: xr.Dataset) -> bool:
    return equal(a, b) and all(a.attrs[key] == b.attrs[key] for key in a.attrs if key not in NEVER_SAME)


# -- planted planes ----------------------------------------------------------------------------------------------------


def test_every_boundary_is_found_where_it_was_planted(plant):
    planted = plant()
    found = search(plane(budgets=(25, 50)))
    gamma, seeds = found.gamma.values, found.seed.values
    for find, place in zip(FOUND, (planted.top, planted.low, planted.crit), strict=True):
        boundary = find(found)
        wanted = np.array([[place(g, s) for s in seeds] for g in gamma])
        if "budget" in boundary.dims:
            wanted = wanted[..., None] * 100 / boundary.budget.values
        # a cell is judged by its mean over the last tenth of its budget, so η_min lies up to that share above
        slack = 1 / 24 + (0.05 if boundary.name == "eta_min" else 0)
        assert np.abs(np.log10(boundary.values / wanted)).max() <= slack
        np.testing.assert_allclose(boundary.half_cell, 1 / 24, rtol=1e-5)
        assert boundary.attrs["censored"] == boundary.attrs["absent"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fuzz", "guard", "islands"), [(0.0, 1, ()), (0.04, 1, ()), (0.1, 3, ()), (0.02, 3, ((1.1, 1.5),))]
)
def test_it_is_the_full_grid_for_a_fifth_of_its_cells(plant, fuzz, guard, islands):
    """Also where chance decides near a boundary, and where runs converge again a little above it."""
    planted = plant(fuzz=fuzz, islands=islands)
    found = search(plane(), guard=guard)
    assert found.cells_run == planted.trained == int((found.status != 2).sum())
    assert found.cells_run <= found.cells_full_grid / (5 if guard == 1 else 3)
    every = full_grid(plane())
    assert found.cells_full_grid == sum(int((one.status != 2).sum()) for one in every)
    same(found, every)


def test_an_island_far_above_is_what_a_guard_is_for(plant):
    plant(islands=((1.5, 1.7),))
    experiment = plane(gammas="1:100:3", seeds=[0])
    near, far = (boundaries.eta_max(search(experiment, "eta_max", guard=guard)) for guard in (1, 4))
    whole = np.array([boundaries.eta_max(one)[0, 0] for one in full_grid(experiment)])
    np.testing.assert_allclose(far[:, 0], whole, rtol=1e-9)
    assert (near[:, 0] < 0.8 * whole).any()


def test_where_nothing_learns_or_converges_the_boundary_is_absent(plant):
    plant(
        top=lambda gamma, seed: float(natural_eta(gamma, 3)) * (30 if gamma < 90 else 1e-9),
        low=lambda gamma, seed: float(natural_eta(gamma, 3)) * (0.2 if gamma > 0.05 else 40.0),
    )
    found, every = search(plane()), full_grid(plane())
    assert boundaries.eta_max(found).attrs["absent"] > 0 and boundaries.eta_min(found).attrs["absent"] > 0
    same(found, every)


@pytest.mark.parametrize("cells", [2, 4])
def test_a_narrow_band_of_learning_is_not_missed(plant, cells):
    """At the triangle's tip η_min comes up to η_max: the search descends to the smallest late loss between them."""
    plant(low=lambda gamma, seed: float(natural_eta(gamma, 3)) * 30 / 10 ** (cells / 12))
    experiment = plane(seeds=[0])
    same(search(experiment), full_grid(experiment))


def test_what_ends_at_the_experiments_own_etas_is_censored(plant):
    plant()
    cut = plane(gammas="1e-2:1e2:9", etas=[1e-4, 1.0], band=None)
    found = search(cut)
    assert all(find(found).attrs["censored"] for find in FOUND)
    same(found, full_grid(cut))
    inside = plane(gammas="1e-2:1e2:9", band=(0.5, 20.0))  # η_crit = 14 only
    found = search(inside)
    assert boundaries.eta_max(found).isnull().all() and boundaries.eta_crit(found).notnull().all()
    assert boundaries.eta_max(found).attrs["censored"] == 27
    same(found, full_grid(inside))


@pytest.mark.parametrize("away", [1e-4, 3e3])
def test_boundaries_far_from_where_theory_has_them_are_found(plant, away):
    """Another optimiser's, say: the band is left out, and each step away grows."""
    places = Planted()
    scaled = {
        name: lambda gamma, seed, place=place: away * gamma**0.5 * place(gamma, seed)
        for name, place in (("top", places.top), ("crit", places.crit), ("low", places.low))
    }
    plant(**scaled)
    experiment = plane(band=None, gammas="1e-2:1e2:9")
    found = search(experiment)
    assert found.cells_run < found.cells_full_grid / 10
    same(found, full_grid(experiment))


def test_exponents_that_were_planted_come_out(plant):
    exponent = 0.731
    plant(top=lambda gamma, seed: 20 * gamma**exponent * (1 + 0.1 * seed))
    fit = boundaries.fit(boundaries.eta_max(search(plane(gammas="1:100:9"), "eta_max")), (1, 100))
    assert fit.holds(exponent) and abs(fit.slope - exponent) < 0.02 and fit.width < 0.1


# -- how it gets there -------------------------------------------------------------------------------------------------


@given(
    coming=st.sampled_from((-1, 1)), size=st.integers(1, 300), at=st.integers(-10, 310),
    expected=st.none() | st.floats(-50, 350), guard=st.integers(0, 3), name=st.sampled_from(sorted(APPROACHES)),
)  # fmt: skip
def test_one_line_is_settled_by_few_cells(coming, size, at, expected, guard, name):
    """Whatever was expected: the boundary between two neighbours, or the end of the grid; by 3 log₂ n cells."""
    target = bracketing.Target(name, 100)
    coming = target.coming
    grid = bracketing.Grid(1.0, 1.0, 0.5, 12, 0, size - 1)

    def look(k: int) -> bracketing.Seen:
        # the late loss leads to the event, as a bowl whose bottom lies well beyond the boundary
        return bracketing.Seen(coming * k >= coming * at, abs(k - (at + 400 * coming)))

    line = {0: look(0)} if expected is None else {}
    while wanted := bracketing.next_places(line, target, grid, expected, guard):
        assert wanted <= set(range(size)) - set(line)
        line |= {k: look(k) for k in wanted}
    before, event = bracketing.bracket(line, coming)
    holds = [k for k in range(size) if look(k).event]
    first = min(holds, key=lambda k: coming * k, default=None)
    assert event == first
    assert before == (
        None if first is None and not line else bracketing.bracket({k: look(k) for k in range(size)}, coming)[0]
    )
    assert len(line) <= 3 * np.log2(size + 1) + guard + 5


def test_each_gamma_has_its_own_phase_whatever_the_others(plant):
    plant()
    found = search(plane(seeds=[0]))
    phase = np.mod(12 * np.log10(found.eta.values), 1)
    first = phase[:, 0]
    assert np.nanmax(np.abs(np.exp(2j * np.pi * phase) - np.exp(2j * np.pi * first[:, None]))) < 1e-6
    assert np.unique(np.round(first, 6)).size == first.size and 0.2 < first.std() < 0.4  # uniform: 0.29
    few = plane(gammas=plane().gammas[3:9:2])
    assert [bracketing.Grid.of(few, g, 12) for g in few.gammas] == [
        bracketing.Grid.of(plane(), g, 12) for g in few.gammas
    ]


def test_a_search_is_a_function_of_its_recipe(plant):
    plant(fuzz=0.05)
    here = search(plane())
    assert same_in_all(here, search(plane()))
    with ThreadPoolExecutor(3) as executor:
        assert same_in_all(here, search(plane(), executor=executor))
    assert here.recipe_hash == search_module.identity(plane()) != search_module.identity(plane(), per_decade=13)
    assert search_module.identity(plane(), "eta_max") != search_module.identity(plane()) != plane().hash


def test_a_stopped_search_goes_on_from_its_store(plant, tmp_path, monkeypatch):
    planted = plant(fuzz=0.05)
    whole = search(plane())
    total, planted.trained = planted.trained, 0
    run, calls = shards.run_shard, []

    def fails(*arguments):
        calls.append(1)
        if len(calls) == 9:
            raise ValueError("no more")
        return run(*arguments)

    monkeypatch.setattr(shards, "run_shard", fails)
    with pytest.raises(ResultError, match="no more"):
        search(plane(), store=tmp_path)
    assert 0 < planted.trained < total
    assert same_in_all(whole, search(plane(), store=tmp_path))
    assert planted.trained == total  # nothing twice


def test_only_what_is_asked_for_is_searched(plant):
    planted = plant()
    search(plane(), "eta_crit")
    one, planted.trained = planted.trained, 0
    search(plane(), ["eta_crit", "eta_max", "eta_min"])
    assert one < 0.5 * planted.trained


def test_progress_ends_at_the_whole(plant):
    plant()
    seen = []
    found = search(plane(), progress=lambda p: seen.append((p.done, p.total, p.cells)))
    assert seen[-1] == (found.cells_run * 100, found.cells_run * 100, found.cells_run)
    assert all(done < total for done, total, _ in seen[:-1])
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)


@pytest.mark.parametrize(
    ("changes", "asked", "words"),
    [
        ({}, {"boundaries": ["eta_max", "eta_best"]}, "eta_best"),
        ({}, {"boundaries": []}, "eta_max, eta_min, eta_crit"),
        ({}, {"per_decade": 0}, "per_decade"),
        ({}, {"guard": -1}, "guard"),
        ({"etas": [0.1]}, {}, "both ends"),
    ],
)
def test_a_search_that_makes_no_sense_is_a_sentence(changes, asked, words):
    with pytest.raises(ValueError, match=words):
        search(plane(gammas=[1.0, 2.0], **changes), **asked)


def test_no_gamma_below_zero():
    with pytest.raises(ValueError, match="greater than 0"):
        plane(gammas=[-1.0, 1.0])


@pytest.mark.parametrize("thresholds", [{"eta_max": 0.35}, {"eta_max": 0.5, "eta_min": 0.4, "eta_crit": 2.0}])
def test_a_search_keeps_to_the_thresholds_that_are_given(plant, thresholds):
    """What it finds is what the full grid shows at the same thresholds."""
    plant()
    experiment = plane(gammas=[0.01, 0.1, 1.0, 10.0])
    found = search(experiment, thresholds=thresholds)
    assert json.loads(found.search)["thresholds"] == thresholds
    assert found.recipe_hash not in (
        search(experiment).recipe_hash,
        search(experiment, thresholds={"eta_max": 0.6}).recipe_hash,
    )
    assert search(experiment, thresholds={"eta_max": 0.8}).recipe_hash == search(experiment).recipe_hash
    for measure in FOUND:
        below = {"below": thresholds[measure.__name__]} if measure.__name__ in thresholds else {}
        assert (measure(found, **below).half_cell <= 0.5 / 12 + 1e-9).all()
    with pytest.raises(ValueError, match=r"boundaries that are looked for .eta_max., got .'eta_min'."):
        search(experiment, "eta_max", thresholds={"eta_min": 0.5})


# -- the result --------------------------------------------------------------------------------------------------------


def test_a_file_is_the_result(plant, tmp_path):
    plant()
    found = search(plane(budgets=(50,)), name="mine", scale="laptop")
    assert found.loss.dims == ("gamma", "trial", "seed", "step") and found.eta.dims == ("gamma", "trial")
    assert found.budget_loss.dims == ("gamma", "trial", "seed", "budget")
    assert found.tau.dims == ("gamma", "trial", "step") and found.lr_raw.dims == ("gamma", "trial")
    again = read(save(found, tmp_path / "search.nc"))
    assert again.identical(found)
    assert json.loads(again.search) == {"boundaries": list(APPROACHES), "per_decade": 12, "guard": 1}
    assert (again.status.where(again.eta.isnull()).fillna(2) == 2).all()  # a trial without an η was not run
    ascending = np.diff(found.eta.values, axis=1)
    assert (ascending[np.isfinite(ascending)] > 0).all()


def test_charts_draw_it(plant):
    from richness.studies.portrait import figures

    plant()
    found = search(plane(probes=("loss",)))
    for draw in (figures.portrait, figures.triangle, figures.boundary_fits):
        assert "NaN" not in json.dumps(draw(found).chart.to_dict())


# -- remembered batches, and real networks -----------------------------------------------------------------------------


def test_remembered_batches_are_the_batches():
    digits = task("digits8")
    fresh = {seed: digits.batches(seed, range(4), 8) for seed in range(3)}
    size = sum(part.nbytes for part in fresh[0])
    with streams.remember_batches(2 * size):
        for seed in (0, 1, 2, 0, 0):  # there is room for two: the third puts one out
            for mine, theirs in zip(digits.batches(seed, range(4), 8), fresh[seed], strict=True):
                assert torch.equal(mine, theirs)
        once, twice = (digits.batches(0, range(4), 8) for _ in range(2))
        assert once[0] is twice[0]
    assert digits.batches(0, range(4), 8)[0] is not once[0]


@pytest.mark.slow
def test_real_networks_have_the_boundaries_of_the_full_grid():
    """All three, at every γ and seed: to the cell on the search's own η, within the interval on a common axis."""
    experiment = plane(width=16, batch_size=32, steps=150, gammas="1e-3:1e2:11", seeds=[0, 1])
    found = search(experiment)
    every = full_grid(experiment)
    same(found, every)
    common = sweep(experiment.model_copy(update={"etas": tuple(10.0 ** np.arange(-9, 5, 1 / 12))}))
    mine, theirs = (boundaries.fit(boundaries.eta_max(runs), (1, 100)) for runs in (found, common))
    assert theirs.holds(mine.slope) and mine.holds(theirs.slope)
