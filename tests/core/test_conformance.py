"""Whatever stands in the tables of optimisers, losses, schedules and activations trains alike on every engine that knows it.

The oracle is one network at a time in float64, written out here: products, the centred output, autograd, and the update as its
function says. It knows nothing of stacks, layouts, blocks or engines.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch

import richness
from richness import Experiment, sweep
from richness.networks import ACTIVATIONS, LOSSES, MLP, OPTIMIZERS, SCHEDULES
from richness.networks.losses import Loss, one_hot
from richness.networks.optimizers import ADAM_EPSILON, Optimizer, Step, stability_line
from richness.runs.engines import ENGINES, engine_for
from richness.runs.results import ResultError, read, recipe_of, save
from richness.runs.training import train

pytestmark = pytest.mark.usefixtures("tidy_registries")
CELLS = [(1e-3, 1e-6), (0.3, 0.05), (3.0, 0.4)]
SIGN_CELLS = [(1e-3, 1e-4), (0.3, 0.01), (3.0, 0.05)]


def lion(weight, gradient, memory, size, step):
    """X. Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, without weight decay."""
    direction = (step.beta * memory[0] + (1 - step.beta) * gradient).sign_()
    memory[0].mul_(0.99).add_(gradient, alpha=0.01)
    weight.sub_(size * direction)


def nesterov(weight, gradient, memory, size, step):
    memory[0].mul_(step.beta).add_(gradient)
    weight.sub_(size * (gradient + step.beta * memory[0]))


def huber(outputs, targets):
    rows = one_hot(targets, outputs.shape[-1], outputs.dtype).expand_as(outputs)
    return torch.nn.functional.huber_loss(outputs, rows, reduction="none", delta=0.3).mean(dim=(1, 2))


def hinge(outputs, labels):
    right = outputs.gather(2, labels.expand(len(outputs), -1)[:, :, None])
    return torch.relu(1 + outputs - right).mean(dim=(1, 2))


def normed(weight, gradient, memory, size, step):
    weight.sub_(size * gradient / gradient.norm())


def falling(done):
    return 1 / (1 + 9 * done)


def register_all():
    """By names that the package will never ship: whoever adds Lion to it is to change no test."""
    richness.register_optimizer("readers_lion", lion, memories=1, by_sign=True)
    richness.register_optimizer(
        "readers_nesterov", nesterov, memories=1, stability=lambda beta: (1 + beta) / (1 + 2 * beta)
    )
    richness.register_loss("readers_huber", huber)
    richness.register_loss("readers_hinge", hinge, classes=True)
    richness.register_schedule("readers_falling", falling)
    richness.register_activation("readers_softplus", torch.nn.functional.softplus, version="torch")


@pytest.fixture
def registered():
    register_all()


REGISTERED = {
    "optimizer": ("readers_lion", "readers_nesterov"), "loss": ("readers_huber", "readers_hinge"),
    "schedule": ("readers_falling",), "activation": ("readers_softplus",),
}  # fmt: skip
TABLES = {"optimizer": OPTIMIZERS, "loss": LOSSES, "schedule": SCHEDULES, "activation": ACTIVATIONS}
PARTS = [(kind, name) for kind, table in TABLES.items() for name in (*table, *REGISTERED[kind])]


def oracle(experiment: Experiment, seed: int, gamma: float, eta: float) -> np.ndarray:
    """One network's loss before every step and after the last, float64."""
    source, optimizer = experiment.source, OPTIMIZERS[experiment.optimizer]
    phi, loss, factor = ACTIVATIONS[experiment.activation], LOSSES[experiment.loss], SCHEDULES[experiment.schedule]
    start = experiment.architecture.initialise(seed)
    scales = [1 / math.sqrt(w.shape[1]) for w in start[:-1]] + [1 / experiment.width]
    epsilon = torch.tensor([ADAM_EPSILON / (gamma * experiment.width)], dtype=torch.float64)

    def raw(weights, x):
        for w, scale in zip(weights[:-1], scales[:-1], strict=True):
            x = phi(x @ w.T * scale)
        return x @ weights[-1].T * scales[-1]

    weights = [w.clone() for w in start]
    memory = [[torch.zeros_like(w)[None] for _ in range(optimizer.memories)] for w in weights]
    losses = []
    for number in range(experiment.steps + 1):
        x, y = source.batch(seed, number, experiment.batch_size)
        leaves = [w.requires_grad_() for w in weights]
        outputs = (raw(leaves, x.double()) - raw(start, x.double())) / gamma
        value = loss(outputs[None], y)[0]
        losses.append(value.item())
        pulls, *gradients = torch.autograd.grad(value, [outputs, *leaves])
        if optimizer.by_sign:  # a dead unit's gradient is 0 whoever adds up; one that cancels is 0 but for rounding
            assert (pulls != 0).all() and all(g[g != 0].abs().min() > 1e-9 * g.abs().max() for g in gradients)
        warm, rest = experiment.warmup, experiment.steps - experiment.warmup
        share = (number + 1) / warm if number < warm else factor((number - warm) / rest)
        raw_steps = [
            1 / (s * w.shape[1]) if optimizer.by_sign else experiment.width
            for s, w in zip(scales, weights, strict=True)
        ]
        sizes = [torch.tensor([[[eta * share * each]]], dtype=torch.float64) for each in raw_steps]
        weights = [w.detach()[None] for w in weights]
        for w, gradient, kept, size in zip(weights, gradients, memory, sizes, strict=True):
            optimizer.update(w, gradient[None], kept, size, Step(number, sizes, epsilon, experiment.momentum))
        weights = [w[0] for w in weights]
    return np.array(losses)


@pytest.mark.parametrize(("width", "batch_size"), [(13, 16), (11, 9)])
@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_every_engine_that_knows_it_trains_as_written(small, registered, kind, name, width, batch_size):
    """A step by sign makes a whole step of the rounding of a gradient that is 0, as that of a class which a batch lacks is
    while f is 0: there the targets are real, and `oracle` holds that no gradient cancels."""
    fields = {"steps": 12, "warmup": 3, "dtype": "float64", "width": width, "batch_size": batch_size, "momentum": 0.8}
    experiment = small(**fields | {"schedule": "linear"} | {kind: name})
    cells = CELLS
    if OPTIMIZERS[experiment.optimizer].by_sign:
        cells, experiment = SIGN_CELLS, experiment.model_copy(update={"task": "teacher"})
    expected = np.stack([oracle(experiment, 1, *cell) for cell in cells], axis=1)
    assert (np.ptp(expected, axis=0) > 1e-6).all(), "every one moves"
    knowing = [key for key, engine in ENGINES.items() if not engine.refuses(experiment)]
    assert "autograd" in knowing
    for engine in knowing:
        found = train(experiment, 1, cells, engine=engine).loss
        np.testing.assert_allclose(found, expected, rtol=1e-9, err_msg=engine)


SOFTPLUS = ".*relu or tanh or .*not 'readers_softplus'"
HUBER = "knows the loss mse or cross_entropy only, not 'readers_huber'"


def test_engines_say_what_they_do_not_know(small, registered):
    for fields, best, reasons in (
        (
            {"optimizer": "readers_lion"},
            "fused",
            {"compiled": "knows the optimizer sgd or .* only, not 'readers_lion'"},
        ),
        ({"loss": "readers_huber"}, "autograd", {"compiled": "knows the loss .* not 'readers_huber'", "fused": HUBER}),
        (
            {"activation": "readers_softplus"},
            "autograd",
            {"compiled": ".*not 'readers_softplus'", "fused": ".*relu or tanh or .*not 'readers_softplus'"},
        ),
        ({"schedule": "readers_falling"}, "compiled", {}),
    ):
        experiment = small(**fields)
        assert engine_for(experiment) is ENGINES[best]
        for engine, reason in reasons.items():
            with pytest.raises(ValueError, match=f"the {engine} engine {reason}: use engine '{best}', or 'auto'"):
                engine_for(experiment, engine)
    with pytest.raises(ValueError, match="compiled engine runs on a CPU only, not on 'cuda'"):
        engine_for(small(device="cuda"), "compiled")


def test_what_is_put_into_a_table_by_hand_is_trained_too(small):
    """No way into a table leads to the kernel's taking one optimiser for another."""
    OPTIMIZERS["by_hand"] = OPTIMIZERS["sgd"]
    LOSSES["by_hand"] = LOSSES["mse"]
    runs, expected = sweep(small(optimizer="by_hand", loss="by_hand", dtype="float64")), sweep(small(dtype="float64"))
    np.testing.assert_allclose(runs.loss, expected.loss, rtol=1e-10)


@pytest.mark.parametrize(
    ("table", "name", "thing"),
    [
        (LOSSES, "mse", Loss(huber)),
        (OPTIMIZERS, "sgd", Optimizer(nesterov, 1, False)),
        (ACTIVATIONS, "relu", ACTIVATIONS["tanh"]),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_put_in_the_place_of_the_packages_own_is_what_trains(small, monkeypatch, table, name, thing, engine):
    """No engine takes its own arithmetic for it, and its results are not those of the package's recipe."""
    before, plain = small().hash, train(small(dtype="float64"), 0, CELLS[1:], engine="autograd").loss
    monkeypatch.setitem(table, name, thing)
    experiment = small(dtype="float64")
    assert experiment.hash != before
    if reason := ENGINES[engine].refuses(experiment):
        assert "another stands in its place" in reason
        return
    found = train(experiment, 0, CELLS[1:], engine=engine).loss
    np.testing.assert_allclose(found[:, 0], oracle(experiment, 0, *CELLS[1]), rtol=1e-9)
    assert not np.allclose(found[1:], plain[1:], rtol=1e-6)


class Doubled(MLP):
    """An MLP that an engine's own arithmetic would take for a plain one."""

    def forward(self, weights, x):
        return 2 * super().forward(weights, x)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_an_mlp_became_is_what_trains(small, engine):
    richness.register_network("doubled", Doubled)
    experiment, plain = small(network="doubled", dtype="float64"), small(dtype="float64")
    if reason := ENGINES[engine].refuses(experiment):
        assert reason == "knows MLPs only, not 'doubled'" and engine != "autograd"
        return
    found = train(experiment, 0, [(2.0, 0.1)], engine=engine).loss
    np.testing.assert_allclose(found, train(plain, 0, [(1.0, 0.1)], engine="fused").loss, rtol=1e-9)


@pytest.mark.parametrize(("kind", "function"), [("loss", huber), ("optimizer", lion), ("activation", torch.sin)])
def test_a_bare_function_in_a_table_is_refused(kind, function):
    with pytest.raises(TypeError, match=f"got .*function.*: register yours with richness.register_{kind}"):
        TABLES[kind]["bare"] = function
    assert "bare" not in TABLES[kind]


def test_a_sweep_of_a_readers_own_is_kept_and_read_again(small, registered, tmp_path):
    """With curvature, which differentiates twice; a file names what it was made with."""
    fields = {
        "optimizer": "readers_lion",
        "loss": "readers_huber",
        "schedule": "readers_falling",
        "activation": "readers_softplus",
    }
    fields |= {"probes": ["sharpness", "kernel_change", "spectra"], "probe_points": 3, "record_points": 3}
    experiment = small(**fields, steps=20, etas=[1e-4, 1e-3, 1e-2])
    runs = sweep(experiment, store=tmp_path)
    assert (runs.status == 0).all() and runs.sharpness.notnull().all() and runs.engine == "autograd"
    assert set(experiment.registered) == {
        "optimizer readers_lion",
        "loss readers_huber",
        "schedule readers_falling",
        "activation readers_softplus",
    }
    assert sweep(experiment, store=tmp_path).equals(runs), "all from the store"
    path = save(runs, tmp_path / "mine.nc")
    assert recipe_of(read(path)) == experiment
    del OPTIMIZERS["readers_lion"], OPTIMIZERS._added["readers_lion"]
    with pytest.raises(
        ResultError, match=r"optimizer readers_lion.* register the same again with richness\.register_optimizer"
    ):
        read(path)


@pytest.mark.parametrize(
    ("kind", "name"), [("optimizer", "readers_lion"), ("loss", "readers_huber"), ("activation", "readers_softplus")]
)
def test_curvature_of_a_readers_own_is_that_of_its_loss(small, registered, kind, name):
    """The Hessian written out for MLPs against double backward's, through the largest eigenvalue."""
    from richness import measure
    from richness.runs.probes import Snapshot
    from richness.runs.training import Trainer

    trainer = Trainer(small(**{kind: name}, dtype="float64", width=6, probe_samples=32), 0, [(1.0, 0.01), (2.0, 0.01)])
    for step in range(3):
        trainer.update(step)
    now = Snapshot(trainer.setting, trainer.stack.weights, trainer.stack.gamma)
    plain = measure.sharpness(now.loss, [w.clone() for w in now.weights], tolerance=1e-8)
    written_out = measure.sharpness(now.loss, now.weights, tolerance=1e-8, product=now.product)
    torch.testing.assert_close(written_out, plain, rtol=1e-6, atol=0)


@pytest.mark.slow
def test_spawned_workers_train_with_a_readers_own(small, registered):
    experiment = small(
        optimizer="readers_lion",
        loss="readers_huber",
        schedule="readers_falling",
        activation="readers_softplus",
        steps=6,
        seeds=[0, 1],
    )
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert sweep(experiment, executor=pool).equals(sweep(experiment))


def test_an_edited_activation_is_not_taken_from_the_cache(small):
    losses = []
    for shift in (0.0, 1.0):
        space: dict = {}
        exec(f"import torch\ndef bent(h): return torch.tanh(h + {shift})", space)
        richness.register_activation("bent", space["bent"])
        losses += [sweep(small(network=n, activation="bent", steps=3, depth=3)).loss for n in ("mlp", "standard")]
    assert not losses[0].equals(losses[2]) and not losses[1].equals(losses[3])


def test_settings_are_part_of_what_a_name_stands_for(small):
    prints = set()
    for memories, by_sign in itertools.product((1, 2), (False, True)):
        richness.register_optimizer("readers_lion", lion, memories=memories, by_sign=by_sign)
        prints.add(small(optimizer="readers_lion").hash)
    assert len(prints) == 4


def test_stability_lines_of_a_readers_own(registered):
    assert stability_line(0.5, "readers_nesterov", 0.5) == pytest.approx(2 / 0.5 * 1.5 / 2)
    assert math.isnan(stability_line(0.5, "readers_lion"))
    with pytest.raises(
        ValueError, match=r"unknown optimizer 'loin': choose one of sgd, .*readers_lion.* richness\.register_optimizer"
    ):
        stability_line(0.5, "loin")


@pytest.mark.parametrize("kind", TABLES)
def test_unknown_names_list_what_is_registered_by_now(small, registered, kind):
    listed = ", ".join((*TABLES[kind],))
    assert REGISTERED[kind][0] in listed
    with pytest.raises(
        ValueError, match=f"unknown {kind} 'none': choose one of {listed}, or .*richness.register_{kind}"
    ):
        small(**{kind: "none"})


def test_a_loss_of_classes_refuses_real_targets(small, registered):
    with pytest.raises(
        ValueError, match="readers_hinge needs classes, and task 'teacher' has real targets: use loss 'mse'"
    ):
        small(loss="readers_hinge", task="teacher")


@pytest.mark.parametrize(
    ("register", "function", "fields", "message"),
    [
        (richness.register_loss, hinge, {}, r"loss 'wrong': fails on .* real targets .*classes=True"),
        (richness.register_loss, lambda f, y: f.mean(), {}, r"one loss a cell, \(3,\) .*got shape \(\)"),
        (richness.register_loss, lambda f, y: f.detach().mean(dim=(1, 2)), {}, "has no gradient"),
        (richness.register_loss, lambda f, y: (f - f.mean()).pow(2).mean(dim=(1, 2)), {}, "its own outputs alone"),
        (richness.register_optimizer, lion, {}, "fails on weights .* with 0 memories: IndexError"),
        (richness.register_optimizer, lambda w, g, m, size, step: w - size * g, {}, "must change the weight in place"),
        (richness.register_optimizer, normed, {}, "must not depend on the cells beside it"),
        (richness.register_schedule, lambda done: -done, {}, r"finite number ≥ 0, got -0\.25 at 0\.25"),
        (richness.register_activation, torch.sum, {}, r"φ of a tensor .*must be another, got torch.float64 \(\)"),
    ],
)
def test_what_is_registered_wrongly_is_told_so(register, function, fields, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        register("wrong", function, **fields)
    assert not any("wrong" in table for table in TABLES.values())
