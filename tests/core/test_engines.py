"""The three engines against each other, against torch's own optimisers, and bit for bit against themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from richness.kernel.layout import OPTIMIZER_CODES
from richness.networks.optimizers import ADAM_BETA2, ADAM_EPSILON, OPTIMIZERS, SCHEDULES, schedule, stability_line
from richness.runs import training
from richness.runs.engines import ENGINES, Compiled, Fused, engine_for
from richness.runs.training import History, Trainer, train

CELLS = [(1e-3, 1e-6), (0.3, 0.05), (3.0, 0.4), (40.0, 3.0)]
SIGN_CELLS = [(1e-3, 1e-4), (0.3, 0.01), (3.0, 0.05), (40.0, 0.3)]


def cells_for(optimizer: str) -> list[tuple[float, float]]:
    return SIGN_CELLS if OPTIMIZERS[optimizer].by_sign else CELLS


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("depth", [2, 3, 4, 5, 6])
def test_fused_and_compiled_are_autograd(small, depth, loss, optimizer):
    """Fifty steps in float64, to 1e-10; width and batch are no multiples of anything."""
    fields = {"width": 13, "batch_size": 20, "dtype": "float64", "schedule": "cosine", "warmup": 7}
    experiment = small(depth=depth, loss=loss, optimizer=optimizer, **fields)
    exact = train(experiment, 1, cells_for(optimizer), engine="autograd").loss
    knowing = [name for name in ("fused", "compiled") if not ENGINES[name].refuses(experiment)]
    assert ("compiled" in knowing) == (optimizer in OPTIMIZER_CODES)
    for engine in knowing:
        found = train(experiment, 1, cells_for(optimizer), engine=engine).loss
        np.testing.assert_allclose(found, exact, rtol=1e-10, err_msg=engine)


@pytest.mark.parametrize("activation", ["tanh", "linear"])
@pytest.mark.parametrize("task", ["digits8", "teacher"])
def test_other_activations_and_real_targets(small, activation, task):
    experiment = small(activation=activation, task=task, dtype="float64", depth=4)
    exact = train(experiment, 1, CELLS, engine="autograd").loss
    for engine in ("fused", "compiled"):
        np.testing.assert_allclose(train(experiment, 1, CELLS, engine=engine).loss, exact, rtol=1e-10, err_msg=engine)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_float32_follows_float64(small, loss):
    """A hundred steps of stable cells, at sizes that fill whole tiles and at sizes that do not."""
    for width, batch in ((64, 64), (33, 17)):
        fields = {"width": width, "batch_size": batch, "steps": 100, "loss": loss}
        cells = [(0.3, 0.02), (3.0, 0.2), (40.0, 1.0)]
        exact = train(small(**fields, dtype="float64"), 0, cells, engine="autograd").loss
        for engine in ENGINES:
            single = train(small(**fields, dtype="float32"), 0, cells, engine=engine).loss
            np.testing.assert_allclose(single, exact, rtol=2e-5, err_msg=engine)


# -- the optimisers are torch's ----------------------------------------------------------------------------------------


#: name → torch's own, for an experiment, its weights, η and γ.
TORCHS = {
    "sgd": lambda made, weights, eta, gamma: torch.optim.SGD(weights, lr=made.width * eta),
    "momentum": lambda made, weights, eta, gamma: torch.optim.SGD(weights, lr=made.width * eta, momentum=made.momentum),
    "signsgd": lambda made, weights, eta, gamma: torch.optim.SGD(group_by_layer(weights, eta)),
    "adam": lambda made, weights, eta, gamma: torch.optim.Adam(
        group_by_layer(weights, eta), betas=(made.momentum, ADAM_BETA2), eps=ADAM_EPSILON / (gamma * made.width)
    ),
}


def group_by_layer(weights, eta):
    """Each layer's raw step of an optimiser whose steps do not follow the gradient: η over √fan_in, and η in the readout."""
    rates = [1 / math.sqrt(w.shape[1]) for w in weights[:-1]] + [1.0]
    return [{"params": [w], "lr": eta * rate} for w, rate in zip(weights, rates, strict=True)]


def with_torchs_optimizer(experiment, seed: int, gamma: float, eta: float) -> np.ndarray:
    """One network's losses with a ``torch.optim`` optimiser, each layer's step written out."""
    source, width = experiment.source, experiment.width
    start = experiment.architecture.initialise(seed)
    weights = [w.clone().requires_grad_() for w in start]

    def raw(layers, x):
        for w in layers[:-1]:
            x = torch.relu(x @ w.T / math.sqrt(w.shape[1]))
        return x @ layers[-1].T / width

    optimizer = TORCHS[experiment.optimizer](experiment, weights, eta, gamma)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - t / experiment.steps)
    losses = []
    for step in range(experiment.steps + 1):
        x, y = source.batch(seed, step, experiment.batch_size)
        f = (raw(weights, x.double()) - raw(start, x.double())) / gamma
        loss = torch.nn.functional.mse_loss(f, torch.eye(source.outputs, dtype=torch.float64)[y])
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if experiment.optimizer == "signsgd":
            for w in weights:
                w.grad.sign_()
        optimizer.step()
        decay.step()
    return np.array(losses)


@pytest.mark.parametrize("optimizer", TORCHS)
def test_the_optimizers_are_torchs(small, optimizer):
    experiment = small(optimizer=optimizer, dtype="float64", momentum=0.8, schedule="linear")
    cells = cells_for(optimizer)[1:]
    history = train(experiment, 2, cells)
    for column, (gamma, eta) in enumerate(cells):
        np.testing.assert_allclose(history.loss[:, column], with_torchs_optimizer(experiment, 2, gamma, eta), rtol=1e-9)


def test_schedules():
    assert schedule("constant", 0, 5).tolist() == [1] * 5
    assert schedule("linear", 0, 4).tolist() == [1, 0.75, 0.5, 0.25]
    np.testing.assert_allclose(schedule("cosine", 0, 4), [(1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)])
    for name in SCHEDULES:
        assert schedule(name, 3, 10)[:4].tolist() == pytest.approx([1 / 3, 2 / 3, 1, 1])
        assert len(schedule(name, 10, 10)) == 10


def test_stability_lines_bound_a_quadratic():
    """Heavy ball on ½λw² converges just under its line and not just above; SGD's is β = 0. A sign step has none."""

    def last(beta, share):
        w, v, rate = 1.0, 0.0, 0.1
        for _ in range(4000):
            v = beta * v + share * stability_line(rate, "momentum", beta) * w
            w -= rate * v
        return abs(w)

    for beta in (0.0, 0.5, 0.9):
        assert last(beta, 0.99) < 1e-3 < 1e3 < last(beta, 1.01)
    assert stability_line(0.1, "sgd") == stability_line(0.1, "momentum", 0.0)
    assert math.isnan(stability_line(0.1, "signsgd"))
    with pytest.raises(ValueError, match="unknown optimizer 'sdg'"):
        stability_line(0.1, "sdg")


def test_signs_and_adam_do_not_see_the_scale_of_the_gradients(small):
    """f scales as 1/γ, so do gradients; where f is far from its target (γ small) only η/γ matters: C16's slope 1."""
    for optimizer in ("signsgd", "adam"):
        experiment = small(optimizer=optimizer, dtype="float64", steps=20)
        losses = train(experiment, 0, [(1e-7, 1e-8), (1e-6, 1e-7)]).loss
        np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=2e-5)


# -- bits --------------------------------------------------------------------------------------------------------------


def same(a: History, b: History) -> bool:
    return np.array_equal(a.loss, b.loss, equal_nan=True) and np.array_equal(a.diverged_at, b.diverged_at)


GRID = [(1e-3, e) for e in np.geomspace(1e-7, 1e3, 11)] + [(3.0, e) for e in np.geomspace(1e-3, 300, 12)]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("width", "batch_size"), [(16, 16), (33, 17)])
def test_compiled_bits_depend_on_nothing_else(small, monkeypatch, width, batch_size, dtype, optimizer):
    """Threads, pieces, order, blocks: at any size, odd ones included."""
    experiment = small(width=width, batch_size=batch_size, dtype=dtype, optimizer=optimizer, steps=70)
    whole = train(experiment, 0, GRID, engine="compiled")
    assert optimizer == "adam" or 0 < (whole.diverged_at >= 0).sum() < len(GRID)
    assert same(whole, train(experiment, 0, GRID, engine="compiled", threads=3))
    order = np.random.default_rng(0).permutation(len(GRID))
    mixed = train(experiment, 0, [GRID[k] for k in order], engine="compiled")
    assert np.array_equal(whole.loss[:, order], mixed.loss, equal_nan=True)
    monkeypatch.setattr("richness.runs.training.BLOCK_STEPS", 7)
    monkeypatch.setattr(Compiled, "TOGETHER", 3)
    assert same(whole, train(experiment, 0, GRID, engine="compiled"))
    one = train(experiment, 0, [GRID[5]], engine="compiled")
    assert np.array_equal(whole.loss[:, [5]], one.loss, equal_nan=True)


@pytest.mark.parametrize("engine", ["fused", "autograd"])
def test_bits_of_the_engines_in_torch_do_not_depend_on_the_neighbours(small, engine):
    experiment = small(width=16, batch_size=16, steps=70)
    whole = train(experiment, 0, GRID, engine=engine)
    assert 0 < (whole.diverged_at >= 0).sum() < len(GRID)
    assert same(whole, train(experiment, 0, GRID, engine=engine, threads=2))
    half = [train(experiment, 0, part, engine=engine) for part in (GRID[:9], GRID[9:])]
    assert np.array_equal(whole.loss, np.concatenate([h.loss for h in half], axis=1), equal_nan=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_at_step_0_the_loss_is_that_of_nothing(small, engine):
    """The centred output is exactly 0, at any γ and in either dtype: the loss does not depend on γ at all."""
    for dtype in ("float32", "float64"):
        first = train(small(dtype=dtype, width=33, batch_size=17), 0, CELLS, engine=engine).loss[0]
        assert np.allclose(first, 0.1, rtol=1e-6) and len(set(first)) == 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("engine", ["fused", "autograd"])
@pytest.mark.parametrize("task", ["digits", "teacher", "staircase"])
def test_nothing_between_two_looks_waits_for_the_device(small, task, engine, optimizer):
    """On the meta device values do not exist: whatever asks for one, or mixes in a tensor from the CPU, raises."""
    experiment = small(task=task, optimizer=optimizer).model_copy(update={"device": "meta"})
    trainer = Trainer(experiment, 0, CELLS, engine)
    losses = trainer.advance(*trainer.draw(range(5)))
    assert losses.shape == (5, len(CELLS)) and losses.device.type == "meta"


def test_an_accelerator_draws_longer_blocks_than_a_cache_holds(small):
    """There every draw is a series of launches, which longer blocks spread over more steps."""
    here, there = (small(steps=1000).model_copy(update={"device": device}) for device in ("cpu", "meta"))
    blocks = [Trainer(one, 0, CELLS, "fused").block_steps for one in (here, there)]
    assert blocks[0] <= training.BLOCK_STEPS < blocks[1] <= training.DEVICE_BLOCK_STEPS


# -- choosing and building ---------------------------------------------------------------------------------------------


def test_the_fastest_engine_that_knows_the_network(small):
    assert engine_for(small()) is Compiled
    assert engine_for(small(activation="tanh")) is Compiled
    elsewhere = small().model_copy(update={"device": "meta"})
    assert engine_for(elsewhere) is Fused
    with pytest.raises(ValueError, match="unknown engine 'quick'"):
        engine_for(small(), "quick")
    with pytest.raises(ValueError, match=r"compiled engine runs on a CPU only, not on 'meta': use engine 'fused'"):
        engine_for(elsewhere, "compiled")


def test_a_trainers_cells_share_a_dtype(small):
    with pytest.raises(ValueError, match="share a dtype"):
        Trainer(small(), 0, [(1e-5, 1e-9), (1.0, 0.1)])
