"""Other parameterisations against networks written out in plain torch; the Gauss–Newton matrix against its dense self."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from richness import Experiment, measure, networks, sweep
from richness.data import task
from richness.networks import LOSSES
from richness.studies.neighbours.consistency.recipes import (
    RECIPES,
    RESIDUAL,
    SCALINGS,
    WIDTHS,
    describe_plane,
    describe_scaling,
)

STEPS, SAMPLES = 12, 24


def described(network, width, gamma, eta, **fields):
    shared = {"task": "digits8_fixed", "batch_size": SAMPLES, "probe_samples": SAMPLES, "steps": STEPS}
    shared |= {"record_points": 100, "dtype": "float64"}
    return Experiment(network=network, width=width, gammas=gamma, etas=eta, **(shared | fields))


def trained(network, width, gamma, eta, **fields):
    return sweep(described(network, width, gamma, eta, **fields))


def descent(forward, weights, lr):
    """Losses of plain gradient descent, written with torch alone: mean over samples and outputs of (f − f₀ − y)²."""
    x, labels = task("digits8_fixed").batch(0, 0, SAMPLES)
    x, y = x.double(), torch.nn.functional.one_hot(labels, 10).double()
    weights = [w.clone().requires_grad_() for w in weights]
    with torch.no_grad():
        start = forward(weights, x)
    losses = []
    for _ in range(STEPS + 1):
        loss = ((forward(weights, x) - start - y) ** 2).mean()
        losses.append(loss.item())
        for w, g in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            w.data -= lr * g
    return np.array(losses)


def through(w, x, *multipliers):
    h = x
    for k, (weight, multiplier) in enumerate(zip(w, multipliers, strict=True)):
        h = (h if k == 0 else torch.relu(h)) @ weight.T * multiplier
    return h


@pytest.mark.parametrize("width", [16, 64])
def test_the_ntk_parameterisation_is_this_books_at_gamma_one_over_root_n(width):
    """NTP: every layer 1/√fan_in, the readout too, and a raw step that does not know N. Exactly the same, in float64."""
    eta = 8.0
    weights = networks.build("mlp", 64, 10, width, 3, "relu").initialise(5)
    theirs = descent(lambda w, x: through(w, x, 1 / 8, width**-0.5, width**-0.5), weights, lr=eta)
    how = SCALINGS["ntk"]
    ours = trained("mlp", width, how.gamma(width), how.eta(eta, width), seeds=5).loss.values.ravel()
    assert theirs[-1] < 0.9 * theirs[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)


@pytest.mark.parametrize("width", [16, 64])
def test_the_standard_parameterisation_is_pytorchs_habit(width):
    lr = 0.2
    draws = networks.build("mlp", 64, 10, width, 3, "relu").initialise(5)
    weights = [w / math.sqrt(w.shape[1]) for w in draws]
    theirs = descent(lambda w, x: through(w, x, 1, 1, 1), weights, lr)
    ours = trained("standard", width, 1.0, lr / width, seeds=5).loss.values.ravel()
    assert theirs[-1] < 0.9 * theirs[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)


def test_where_width_and_inputs_agree_standard_and_ntk_are_one():
    loss = {
        name: trained(SCALINGS[name].network, 64, SCALINGS[name].gamma(64), SCALINGS[name].eta(6.0, 64)).loss.values
        for name in ("ntk", "standard")
    }
    np.testing.assert_allclose(loss["ntk"], loss["standard"], rtol=1e-11)


def test_random_features_have_one_hessian_for_ever():
    runs = trained("random_features", 32, 1.0, 3.0, probes=("loss", "spectra"), probe_points=4)
    first = runs.spectra.isel(gamma=0, eta=0, seed=0, eigenvalue=0).dropna("step").values  # (step, matrix)
    assert float(runs.loss[..., -1].max()) < 0.9 * float(runs.loss[..., 0].max())
    np.testing.assert_allclose(first, first[0, 0], rtol=1e-7)
    net = networks.build("mlp", 64, 10, 32, 3, "relu")
    x = task("digits8_fixed").probe(SAMPLES)[0].double()
    features = torch.relu(net.hidden([w[None] for w in net.initialise(0)], x)[-1])[0] / 32
    expected = 2 / (SAMPLES * 10) * torch.linalg.eigvalsh(features @ features.T)[-1].item()
    assert first[0, 0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("name", "depth"), [("residual", 5), ("residual_two", 6), ("residual_unscaled", 5)])
def test_residual_networks_written_out(name, depth):
    width, act = 16, torch.relu
    net = networks.build(name, 64, 10, width, depth, "relu")
    raw = net.initialise(1)
    x = torch.randn(7, 64, dtype=torch.float64)
    h, rest = x @ raw[0].T / 8, raw[1:-1]
    blocks = len(rest) // 2 if name == "residual_two" else len(rest)
    share = 1.0 if name == "residual_unscaled" else blocks**-0.5
    for b in range(blocks):
        if name == "residual_two":
            h = h + share * act(act(h) @ rest[2 * b].T / 4) @ rest[2 * b + 1].T / 4
        else:
            h = h + share * act(h) @ rest[b].T / 4
    torch.testing.assert_close(net.forward([w[None] for w in raw], x)[0], act(h) @ raw[-1].T / width)


def test_only_scaled_branches_keep_their_size_in_the_depth():
    x = task("digits8_fixed").probe(64)[0].double()

    def last(name, depth):
        net = networks.build(name, 64, 10, 64, depth, "relu")
        return float(net.hidden([w[None] for w in net.initialise(0)], x)[-1].pow(2).mean().sqrt())

    for name, deep in (("residual", 34), ("residual_two", 34)):
        assert last(name, deep) < 2 * last(name, 4)
    assert last("residual_unscaled", 34) > 30 * last("residual_unscaled", 4)


def test_a_residual_network_says_which_depths_there_are():
    with pytest.raises(ValueError, match=r"4, 6, … weight layers .* got depth 5"):
        described("residual_two", 8, 1.0, 1.0, depth=5)


def test_a_fixed_task_gives_the_same_samples_and_is_its_own_probe_set():
    fixed = task("digits8_fixed")
    x, y = fixed.batches(3, range(4, 6), 20)
    assert torch.equal(x[0], x[1]) and torch.equal(x[0], fixed.batch(9, 0, 20)[0])
    assert torch.equal(x[0], fixed.probe(20)[0]) and torch.equal(y[0], fixed.probe(20)[1])
    held_out = fixed.test()[0]
    assert not any(bool((one == held_out).all(dim=1).any()) for one in x[0])
    with pytest.raises(ValueError, match=r"8,000 samples, and 8,001 were asked for"):
        fixed.probe(8001)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_gauss_newton_against_its_dense_self(loss, name):
    net = networks.build(name, 64, 10, 5, 3, "relu")
    weights = [torch.stack([w, w + 0.3]) for w in net.initialise(0)]
    x, y = task("digits8_fixed").probe(6)
    x = x.double()
    product = measure.gauss_newton_vector_product(
        lambda w: 3 * net.forward(w, x), lambda f: LOSSES[loss](f, y), weights
    )
    size = sum(w[0].numel() for w in weights)
    vectors = torch.randn(3, 2, size, dtype=torch.float64)
    for cell in range(2):
        flat = torch.cat([w[cell].flatten() for w in weights])
        parts = [w[cell].shape for w in weights]

        def outputs(theta, parts=parts):
            pieces = theta.split([math.prod(p) for p in parts])
            return 3 * net.forward([t.reshape(p)[None] for t, p in zip(pieces, parts, strict=True)], x)[0].flatten()

        J = torch.autograd.functional.jacobian(outputs, flat)
        f = outputs(flat)
        C = torch.autograd.functional.hessian(lambda f: LOSSES[loss](f.view(1, 6, 10), y)[0], f)
        G = J.T @ C @ J
        for v in vectors:
            torch.testing.assert_close(product(v)[cell], G @ v[cell])


def test_under_mse_gauss_newton_is_the_full_kernel():
    """Two roads to one spectrum: products of G, and the kernel of all samples and outputs."""
    net = networks.build("mlp", 64, 10, 12, 3, "relu")
    weights = [w[None] for w in net.initialise(2)]
    x, y = task("digits8_fixed").probe(8)
    x = x.double()
    found = measure.top_eigenvalues(
        lambda w: LOSSES["mse"](net.forward(w, x), y), weights, 4, 1e-10, 79,
        measure.gauss_newton_vector_product(lambda w: net.forward(w, x), lambda f: LOSSES["mse"](f, y), weights),
    )  # fmt: skip
    kernel = measure.ntk_from_factors(net.factors(weights, x), full=True)
    torch.testing.assert_close(found, 2 / 80 * torch.linalg.eigvalsh(kernel).flip(1)[:, :4], rtol=1e-8, atol=0)


def test_spectra_hold_the_three_side_by_side():
    runs = trained("mlp", 16, 0.5, 1.0, probes=("loss", "sharpness", "spectra"), probe_points=2)
    last = runs.spectra.isel(gamma=0, eta=0, seed=0, step=-1)
    assert float(last[0, 0]) == pytest.approx(float(runs.sharpness.values.ravel()[-1]), rel=1e-2)
    assert (np.diff(last.values, axis=1) <= 1e-9).all()
    assert float(last[0, 0]) != pytest.approx(float(last[1, 0]), rel=1e-4), "H has the residuals' part besides G"


def test_the_recipes_run_what_they_say():
    for scale in ("laptop", "paper"):
        for width in WIDTHS:
            plane = describe_plane(scale, width)
            gammas = set(plane.gammas)
            assert float(f"{width**-0.5:.12g}") in gammas, "the diagonal lies on the plane"
            cells = [(plane.gammas[i], plane.etas[j]) for i, j in plane.cells()]
            np.testing.assert_allclose([eta / gamma**2 for gamma, eta in cells], 3.0, rtol=1e-9)
            assert len(cells) == len(gammas)
    ntk = describe_scaling("laptop", "ntk", 256)
    assert ntk.lr_raw(np.array(ntk.etas)) == pytest.approx(np.array(SCALINGS["ntk"].etas))
    assert all(recipe(scale).source.fixed for recipe in RECIPES.values() for scale in ("smoke", "laptop", "paper"))
    assert set(RESIDUAL) < set(networks.NETWORKS)
