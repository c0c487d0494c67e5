"""Networks from one function: the same numbers as the engines that know them, the paper's scales, errors that help."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from alike import measure_coordinates
from hypothesis import given, settings
from hypothesis import strategies as st

from richness import Experiment, kernel, networks, sweep
from richness.networks import NETWORKS, Network, hidden_bias, hidden_weight, readout_bias, readout_weight
from richness.runs.training import Trainer, train


def mlp_again(inputs, outputs, width, depth, activation):
    """The MLP, as a reader would write it; its weights are those of the package's own."""
    act = {"relu": torch.relu, "tanh": torch.tanh, "linear": lambda h: h}[activation]
    sizes = [inputs] + [width] * (depth - 1)
    hidden = [hidden_weight(f"mlp/weight{k}", width, into) for k, into in enumerate(sizes[:-1])]
    readout = readout_weight(f"mlp/weight{depth - 1}", outputs, width)

    def layers(w, x):
        rows = [x @ w["mlp/weight0"].T]
        for k in range(1, depth - 1):
            rows.append(act(rows[-1]) @ w[f"mlp/weight{k}"].T)
        return rows

    def apply(w, x):
        return act(layers(w, x)[-1]) @ w[readout.name].T

    return Network(inputs, outputs, width, depth, (*hidden, readout), apply, layers)


@pytest.fixture(scope="module", autouse=True)
def again():
    NETWORKS["mlp_again"] = mlp_again
    yield
    del NETWORKS["mlp_again"]


experiments = st.fixed_dictionaries(
    {
        "depth": st.integers(2, 6),
        "width": st.integers(1, 24),
        "batch_size": st.integers(1, 20),
        "activation": st.sampled_from(["relu", "tanh", "linear"]),
        "loss": st.sampled_from(["mse", "cross_entropy"]),
        "optimizer": st.sampled_from(["sgd", "momentum", "adam", "signsgd"]),
        "schedule": st.sampled_from(["constant", "linear", "cosine"]),
        "warmup": st.integers(0, 20),
    }
)


@pytest.mark.slow
@given(fields=experiments, seed=st.integers(0, 5), log_gamma=st.floats(-2, 2), share=st.floats(0.01, 0.3))
@settings(max_examples=30, deadline=None)
def test_fused_compiled_and_general_are_the_same(fields, seed, log_gamma, share):
    """Float64, 50 steps, relative to the loss. The step stays where trajectories do not amplify rounding.

    A step by sign makes a whole step of a gradient's rounding. Under MSE on classes the outputs of those absent from a batch
    have gradient 0 at step 0, so there the targets are real.
    """
    gamma = 10.0**log_gamma
    by_sign = fields["optimizer"] in ("adam", "signsgd")
    natural = networks.parameterization.natural_eta(gamma, fields["depth"]) ** (0.5 if by_sign else 1.0)
    etas = [share * natural * factor for factor in ((0.01, 0.02, 0.03) if by_sign else (0.1, 0.3, 1.0))]
    task = "teacher" if by_sign and fields["loss"] == "mse" else "digits8"
    described = Experiment(**fields, steps=50, task=task, dtype="float64", gammas=[gamma], etas=etas)
    cells = [(gamma, eta) for eta in etas]
    engines = ["fused"] + (["compiled"] if kernel.library() else [])
    general = train(described.model_copy(update={"network": "mlp_again"}), seed, cells, engine="autograd").loss
    assert np.isfinite(general).all()
    for engine in engines:
        found = train(described, seed, cells, engine=engine).loss
        np.testing.assert_allclose(found, general, rtol=1e-10, atol=0, err_msg=engine)


def cnn_by_hand(weights, x, side):
    """f̃ of one network of depth 4, written out with explicit sums over the kernel's places."""

    def conv(image, kernel):
        height = image.shape[-1]
        padded = torch.nn.functional.pad(image, (1, 1, 1, 1))
        places = [padded[:, :, i : i + height, j : j + height] for i in range(3) for j in range(3)]
        flat = kernel.reshape(*kernel.shape[:2], 9)
        out = sum(torch.einsum("bchw,oc->bohw", place, flat[:, :, k]) for k, place in enumerate(places))
        return out / math.sqrt(9 * kernel.shape[1])

    def pool(image):
        return (image[..., ::2, :] + image[..., 1::2, :]).unflatten(-1, (-1, 2)).sum(-1) / 4

    h = pool(torch.relu(conv(x.reshape(len(x), -1, side, side), weights[0])))
    h = pool(torch.relu(conv(h, weights[1]))).flatten(1)
    h = torch.relu(h @ weights[2].T / math.sqrt(weights[2].shape[1]))
    return h @ weights[3].T / weights[3].shape[1]


@pytest.mark.parametrize(("inputs", "side"), [(64, 8), (784, 28), (3 * 256, 16)])
def test_the_cnn_is_the_written_out_network(inputs, side):
    net = networks.build("cnn", inputs, 10, 5, 4, "relu")
    cells = [net.initialise(seed) for seed in (0, 1, 2)]
    x = torch.randn(3, inputs, dtype=torch.float64)
    out = net.forward([torch.stack(layer) for layer in zip(*cells, strict=True)], x)
    assert out.shape == (3, 3, 10)
    for cell, weights in enumerate(cells):
        torch.testing.assert_close(out[cell], cnn_by_hand(weights, x, side))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "signsgd", "adam"])
def test_the_cnn_trains_as_one_network_alone(small, optimizer):
    """Against torch's own module, optimiser and loss, one network at a time, its scales folded into parameters' steps."""
    experiment = small(network="cnn", depth=4, width=6, optimizer=optimizer, dtype="float64", steps=20)
    eta = 1e-3 if optimizer in ("adam", "signsgd") else 0.05
    found = train(experiment, 0, [(0.5, eta), (2.0, 3 * eta)]).loss
    for column, (gamma, rate) in enumerate([(0.5, eta), (2.0, 3 * eta)]):
        np.testing.assert_allclose(found[:, column], alone(experiment, gamma, rate), rtol=1e-9)


def alone(experiment, gamma, eta):
    start = experiment.architecture.initialise(0)
    weights = [w.clone().requires_grad_() for w in start]
    width, by_sign = experiment.width, experiment.optimizer in ("adam", "signsgd")
    fans = [9, 9 * width, 4 * width, width]
    groups = []
    for layer, (w, fan) in enumerate(zip(weights, fans, strict=True)):
        raw = (eta if layer == 3 else eta / math.sqrt(fan)) if by_sign else width * eta
        groups.append({"params": [w], "lr": raw})
    if experiment.optimizer == "adam":
        torchs = torch.optim.Adam(groups, betas=(0.9, 0.999), eps=1e-8 / (gamma * width))
    else:
        torchs = torch.optim.SGD(groups, lr=0, momentum=0.9 if experiment.optimizer == "momentum" else 0)
    losses = []
    for step in range(experiment.steps + 1):
        x, y = experiment.source.batch(0, step, experiment.batch_size)
        f = (cnn_by_hand(weights, x.double(), 8) - cnn_by_hand(start, x.double(), 8)) / gamma
        loss = torch.nn.functional.mse_loss(f, torch.nn.functional.one_hot(y, 10).double())
        losses.append(loss.item())
        torchs.zero_grad()
        loss.backward()
        for w in weights:
            if experiment.optimizer == "signsgd":
                w.grad.sign_()
        torchs.step()
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cnns_bits_do_not_depend_on_its_neighbours(small, dtype):
    experiment = small(
        network="cnn", depth=4, width=8, dtype=dtype, steps=30, probes=("sharpness", "accuracy"), probe_points=3
    )
    cells = [(1e-2, 1e-5), (1e-2, 10.0), (3.0, 0.05), (3.0, 0.2), (3.0, 1e3)]
    whole = train(experiment, 0, cells)
    assert 0 < (whole.diverged_at >= 0).sum() < len(cells)
    threaded = train(experiment, 0, cells, threads=2)
    assert np.array_equal(threaded.loss, whole.loss, equal_nan=True)
    for k, cell in enumerate(cells):
        one = train(experiment, 0, [cell])
        assert np.array_equal(one.loss[:, 0], whole.loss[:, k], equal_nan=True)
        for name in ("sharpness", "accuracy"):
            assert np.array_equal(one.probes[name][:, 0], whole.probes[name][:, k], equal_nan=True), name


@pytest.mark.parametrize("gamma", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("count", [1, 3])
def test_the_cnn_is_exactly_zero_at_step_0(small, gamma, count):
    trainer = Trainer(small(network="cnn", depth=4, width=8), 0, [(gamma, 0.1)] * count)
    x, _ = trainer.batch(0)
    assert (trainer.outputs(trainer.stack, trainer.stack.weights, x) == 0).all()


def coordinates(width, gamma, seed=0, steps=5):
    """Of every hidden layer, of its change and of f, after a few steps of η = γ²/20."""
    fields = {"network": "cnn", "depth": 4, "width": width, "task": "digits8", "steps": steps, "batch_size": 32}
    return np.hstack(measure_coordinates(Experiment(gammas=[gamma], etas=[0.05 * gamma**2], **fields), seed))


def exponents(widths=(32, 64, 128)):
    rows = [np.mean([coordinates(width, 1.0, seed) for seed in (0, 1)], axis=0) for width in widths]
    return np.polyfit(np.log(widths), np.log(rows), 1)[0]


def test_the_cnns_coordinates_are_of_order_one_in_the_width_and_a_wrong_readout_is_noticed(monkeypatch):
    """Every hidden layer, its change and f, at γ = 1 and a fixed step: the exponents in the width are near 0."""
    found = exponents()
    assert (np.abs(found) < 0.15).all(), found

    def wrong(*described):
        right = networks.cnn(*described)
        last = dataclasses.replace(right.parameters[-1], scale=right.width**-0.5)
        return dataclasses.replace(right, parameters=(*right.parameters[:-1], last))

    monkeypatch.setitem(NETWORKS, "cnn", wrong)
    found = exponents()
    assert (found[3:] > 0.25).all(), found


def test_the_cnns_features_move_with_gamma():
    """At the lazy side's natural step, η ∝ γ², features move by order γ while f moves by order one."""
    lazy, rich = (coordinates(32, gamma) for gamma in (0.01, 1.0))
    np.testing.assert_allclose(lazy[3:6], 0.01 * rich[3:6], rtol=0.2)
    assert lazy[6] == pytest.approx(rich[6], rel=0.2)


def test_biases_start_at_zero_and_move_by_order_one_in_the_width(monkeypatch):
    def biased(inputs, outputs, width, depth, activation):
        parameters = (
            hidden_weight("biased/first", width, inputs),
            hidden_bias("biased/offset", width),
            readout_weight("biased/last", outputs, width),
            readout_bias("biased/level", outputs, width),
        )

        def apply(w, x):
            h = torch.relu(x @ w["biased/first"].T + w["biased/offset"])
            return h @ w["biased/last"].T + w["biased/level"]

        return Network(inputs, outputs, width, depth, parameters, apply)

    monkeypatch.setitem(NETWORKS, "biased", biased)
    for optimizer in ("sgd", "signsgd", "adam"):
        moves = []
        for width in (32, 128, 512):
            experiment = Experiment(
                network="biased", depth=2, width=width, optimizer=optimizer, gammas=[1], etas=[0.01], dtype="float64"
            )
            trainer = Trainer(experiment, 0, [(1.0, 0.01)])
            net = trainer.network
            for layer in (1, 3):
                assert (trainer.stack.weights[layer] == 0).all()
            for step in range(3):
                trainer.update(step)
            acting = [w * s for w, s in zip(trainer.stack.weights, net.scales, strict=True)]
            moves.append([float(acting[layer].pow(2).mean().sqrt()) for layer in (1, 3)])
        slopes = np.polyfit(np.log([32, 128, 512]), np.log(moves), 1)[0]
        assert (np.abs(slopes) < 0.25).all(), (optimizer, slopes)


def test_a_cnn_goes_through_a_sweep_like_any_other(small):
    runs = sweep(
        small(network="cnn", depth=4, width=4, steps=12, gammas=[0.5, 1e-4], etas=[1e-9, 0.05, 250.0], record_points=4)
    )
    assert runs.loss.dims == ("gamma", "eta", "seed", "step") and runs.loss.shape == (2, 3, 1, 4)
    assert runs.precision.values.tolist() == ["float64", "float32"]
    assert runs.status.sel(gamma=0.5).values.ravel().tolist() == [0, 0, 1]


def test_what_a_network_costs():
    """Products of one forward pass and numbers kept, counted by hand; a network too large to try in memory is not."""
    net = networks.build("cnn", 64, 10, 16, 4, "relu")
    assert net.products == 64 * 16 * 9 + 16 * 16 * 16 * 9 + 16 * 4 * 16 + 10 * 16
    assert net.units == 16 * 64 + 16 * 16 + 16 + 10
    twin = networks.build("mlp_again", 64, 10, 12, 5, "tanh")
    assert (twin.products, twin.units) == (networks.build("mlp", 64, 10, 12, 5, "tanh").products, 12 * 4 + 10)
    assert networks.build("cnn", 784, 10, 4096, 4, "relu").products > 1e10


def test_what_a_cnn_cannot_be_is_said(small):
    with pytest.raises(ValueError, match=r"square images.*32 inputs: use task 'digits'"):
        small(network="cnn", task="staircase")
    with pytest.raises(ValueError, match=r"at least 3 weight layers.*got depth 2"):
        small(network="cnn", depth=2)
    with pytest.raises(ValueError, match=r"fused engine knows MLPs only, not 'cnn': use engine 'autograd', or 'auto'"):
        train(small(network="cnn", steps=1), 0, [(1.0, 0.1)], engine="fused")
