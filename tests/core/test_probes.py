"""Probes: what each gives against something independent; a lone cell as in a stack; dims, costs and errors."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from richness import measure, read, rng, save, sweep
from richness.plots.captions import conditions
from richness.runs import probes, training
from richness.runs.probes import PROBES, Probe, register_probe
from richness.runs.results import ResultError
from richness.runs.training import Trainer, train

ALL = tuple(PROBES)

pytestmark = pytest.mark.usefixtures("tidy_registries", "small_spectra")


@pytest.fixture
def small_spectra(monkeypatch):
    """Few eigenvalues and a rough density: as many as a result holds would cost a minute here and show no more."""
    monkeypatch.setattr(probes, "EIGENVALUES", 10)
    monkeypatch.setattr(probes, "DENSITY_STEPS", 10)


def trained(experiment, cells, steps=10):
    trainer = Trainer(experiment, 0, cells)
    for step in range(steps):
        trainer.update(step)
    return trainer


def hessians(trainer):
    """Dense Hessians of the loss on the probe set in raw weights, written out with torch's own; float64 (cells, P, P)."""
    experiment, stack = trainer.experiment, trainer.stack
    x, y = trainer.task.probe(experiment.probe_samples)
    start = experiment.architecture.initialise(0)
    shapes = [w.shape for w in start]
    sizes = [w.numel() for w in start]

    def raw(flat, h):
        layers = [part.view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True)]
        for w in layers[:-1]:
            h = torch.tanh(h @ w.T / w.shape[1] ** 0.5)
        return h @ layers[-1].T / layers[-1].shape[1]

    out = []
    for cell, gamma in enumerate(stack.gamma):
        origin = torch.cat([w.flatten() for w in start])

        def loss(flat, gamma=gamma, origin=origin):
            f = (raw(flat, x.double()) - raw(origin, x.double())) / gamma
            return torch.nn.functional.mse_loss(f, torch.nn.functional.one_hot(y, 10).double())

        at = torch.cat([w[cell].flatten() for w in stack.weights])
        out.append(torch.autograd.functional.hessian(loss, at.detach()))
    return torch.stack(out)


def test_curvature_probes_are_those_of_the_dense_hessian(small):
    experiment = small(width=3, depth=3, activation="tanh", dtype="float64", probe_samples=24)
    trainer = trained(experiment, [(0.5, 0.02), (3.0, 0.1), (3.0, 0.3)])
    spectrum = torch.linalg.eigvalsh(hessians(trainer))
    top = spectrum.flip(1)[:, : probes.EIGENVALUES]
    scale = top[:, :1]
    assert ((trainer.probe("sharpness") - top[:, 0]).abs() < 1e-3 * scale[:, 0]).all()
    assert ((trainer.probe("top_eigenvalues") - top).abs() < 1e-3 * scale).all()
    torch.testing.assert_close(trainer.probe("trace"), spectrum.sum(dim=1), rtol=0.2, atol=float(scale.max()) * 0.05)


def test_the_density_is_that_of_the_dense_hessian(small, monkeypatch):
    """With as many steps as there are parameters: each eigenvalue in its bin, with the share that the directions see of it."""
    experiment = small(width=2, depth=3, activation="tanh", dtype="float64", probe_samples=24)
    trainer = trained(experiment, [(0.5, 0.02), (3.0, 0.3)])
    dense = hessians(trainer)
    size = dense.shape[1]
    monkeypatch.setattr(probes, "DENSITY_STEPS", size)
    found = trainer.probe("spectral_density")
    assert found.shape == (2, len(probes.DENSITY_EDGES) - 1)
    for cell in range(2):
        exact, vectors = torch.linalg.eigh(dense[cell])
        seen = torch.zeros(size, dtype=torch.float64)
        for number in range(probes.DENSITY_DIRECTIONS):
            v = rng.normals(0, "density/direction", number, size)
            seen += (vectors.T @ (v / v.norm())) ** 2 / probes.DENSITY_DIRECTIONS
        within = exact / exact[-1] * (1 - 1e-12)  # λ_max itself lies on a border, and belongs below it
        wanted, _ = np.histogram(within, probes.DENSITY_EDGES, weights=seen)
        np.testing.assert_allclose(found[cell].detach(), wanted, atol=1e-6)


def test_kernel_probes_are_those_of_the_dense_jacobian(small):
    trainer = trained(small(width=5, dtype="float64", probe_samples=20), [(0.5, 0.02), (3.0, 0.3)])
    x, y = trainer.task.probe(20)
    net = trainer.network

    def kernel(weights):
        jacobian = torch.func.jacrev(
            lambda *w: net.forward([layer[None] for layer in w], x.double())[0], argnums=(0, 1, 2)
        )(*weights)
        rows = torch.cat([j.reshape(20, 10, -1) for j in jacobian], dim=2)
        return torch.einsum("akp,bkp->ab", rows, rows)

    wanted = torch.nn.functional.one_hot(y).double()
    centre = torch.eye(20, dtype=torch.float64) - 1 / 20
    target = centre @ wanted @ wanted.T @ centre
    first = kernel([w[0] for w in trainer.start])
    for cell in range(2):
        now = kernel([w[cell].detach() for w in trainer.stack.weights])
        middle = centre @ now @ centre
        aligned = (middle * target).sum() / (middle.norm() * target.norm())
        turned = 1 - (now * first).sum() / (now.norm() * first.norm())
        torch.testing.assert_close(trainer.probe("ntk_alignment")[cell], aligned)
        torch.testing.assert_close(trainer.probe("kernel_change")[cell], turned, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_feature_probes_by_their_definitions(small, network):
    trainer = trained(small(network=network, depth=4, width=5, dtype="float64"), [(0.5, 0.02), (3.0, 0.3)])
    x = trainer.task.probe(32)[0].double()
    now, then = (trainer.network.hidden(weights, x) for weights in (trainer.stack.weights, trainer.start))
    ranks, drifts = trainer.probe("feature_rank"), trainer.probe("drift")
    values = trainer.probe("singular_values")
    assert ranks.shape == drifts.shape == (2, 3) and values.shape == (2, 4, probes.LARGEST)
    for cell in range(2):
        for layer in range(3):
            h, h0 = now[layer][cell].detach(), then[layer][0]
            lam = torch.linalg.eigvalsh(torch.cov(h))
            torch.testing.assert_close(ranks[cell, layer], lam.sum() ** 2 / (lam**2).sum())
            torch.testing.assert_close(drifts[cell, layer], (h - h0).norm() / h0.norm())
        for layer, (w, scale) in enumerate(zip(trainer.stack.weights, trainer.network.scales, strict=True)):
            exact = torch.linalg.svdvals(w[cell].detach().flatten(1) * scale)[: probes.LARGEST]
            torch.testing.assert_close(values[cell, layer, : len(exact)], exact)
            assert values[cell, layer, len(exact) :].isnan().all()


@pytest.mark.slow
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_a_lone_cell_is_probed_as_in_a_stack(small, network):
    width = 64 if network == "mlp" else 8
    experiment = small(network=network, depth=4, width=width, batch_size=32, probes=ALL, probe_points=2, steps=6)
    cells = [(3.0, 0.05), (0.3, 0.01), (3.0, 2.8e3), (3.0, 0.2)]
    whole = train(experiment, 0, cells)
    assert (whole.diverged_at >= 0).tolist() == [False, False, True, False]
    for k, cell in enumerate(cells):
        one = train(experiment, 0, [cell])
        for name in ALL:
            assert np.array_equal(one.probes[name][..., 0], whole.probes[name][..., k], equal_nan=True), name
    for name in ALL:
        dead, lives = whole.probes[name][-1, ..., 2], whole.probes[name][-1, ..., 0]
        assert np.isnan(dead).all() and np.isfinite(lives).any(), name


@pytest.mark.slow
def test_how_many_are_measured_together_changes_nothing(small, monkeypatch):
    """Fewer at once where memory is short; the kernel of a network without factors likewise."""
    experiment = small(network="cnn", depth=4, width=4, probes=ALL, probe_points=2, steps=2)
    cells = [(3.0, 0.05), (0.3, 0.01), (3.0, 0.2)]
    whole = train(experiment, 0, cells).probes
    monkeypatch.setattr(training, "PROBE_BYTES", 1)
    monkeypatch.setattr(probes, "KERNEL_BYTES", 1)
    apart = train(experiment, 0, cells).probes
    for name in ALL:
        assert np.array_equal(whole[name], apart[name], equal_nan=True), name


@pytest.mark.slow
def test_every_probe_has_its_place_in_a_result(small, tmp_path):
    experiment = small(depth=4, probes=("loss", *ALL), probe_points=2, steps=8, record_points=4)
    runs = sweep(experiment)
    shared = ("gamma", "eta", "seed", "step")
    longer = {("spectra", "eigenvalue"): "spectra_eigenvalue"}  # of another length than that of top_eigenvalues
    for name in ALL:
        assert runs[name].dims == (*shared, *(longer.get((name, dim), dim) for dim in PROBES[name].dims)), name
        assert runs[name].attrs["long_name"] == PROBES[name].about and runs[name].attrs["units"]
    assert runs.singular_values.sizes["layer"] == 4 and runs.drift.sizes["hidden"] == 3
    assert runs.eigenvalue.values.tolist() == list(range(1, probes.EIGENVALUES + 1))
    unprobed = [s for s in experiment.recorded_steps if s not in experiment.probed_steps]
    assert unprobed and runs.trace.sel(step=unprobed).isnull().all()
    assert (runs.top_eigenvalues.diff("eigenvalue").sel(step=8) <= 0).all()
    np.testing.assert_allclose(runs.top_eigenvalues.sel(eigenvalue=1, step=8), runs.sharpness.sel(step=8), rtol=2e-3)
    assert float(abs(runs.kernel_change.sel(step=0)).max()) < 1e-6 and (runs.drift.sel(step=0) == 0).all()
    stored = read(save(runs, tmp_path / "all.nc"))
    assert stored.identical(runs)


def test_the_cost_of_every_probe_is_told(small):
    runs = sweep(small(probes=("sharpness", "drift"), probe_points=2, steps=5))
    seconds, share = (json.loads(runs.attrs[key]) for key in ("probe_seconds", "probe_share"))
    assert set(seconds) == set(share) == {"sharpness", "drift"}
    assert all(value > 0 for value in seconds.values()) and 0 < sum(share.values()) < 1
    assert seconds["sharpness"] > seconds["drift"]
    assert "probe_seconds" not in sweep(small(steps=5)).attrs


def test_at_step_0_cells_of_one_gamma_are_measured_once(small):
    """They are one network; its cost is shared, and later each is measured by itself."""
    seen = []
    register_probe("counted", lambda now: seen.append(len(now)) or now.gamma.double())
    cells = [(3.0, 0.1), (0.5, 0.1), (3.0, 0.2), (3.0, 0.3), (0.5, 0.2)]
    experiment = small(probes=("counted", "sharpness"), probe_points=2, steps=4)
    history = train(experiment, 0, cells)
    assert seen[0] == 2 and sum(seen[1:]) >= len(cells)
    assert history.probes["counted"][0].tolist() == [gamma for gamma, _ in cells]
    alone = [train(experiment, 0, [cell]).probes["sharpness"] for cell in cells]
    np.testing.assert_array_equal(history.probes["sharpness"], np.concatenate(alone, axis=1))


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_a_sharpness_begins_where_the_last_one_ended(small, monkeypatch, network):
    """Fewer products than from the gradient, and the same value; cells that die take their vectors with them."""
    cells = [(1.0, 0.02), (0.5, 1e4), (3.0, 0.05)]
    experiment = small(network=network, depth=4, width=8, probes=("sharpness",), probe_points=6, steps=30)
    products, lanczos = [], measure.curvature.lanczos

    def counted(product, start, steps):
        return lanczos(lambda vector: products.append(len(vector)) or product(vector), start, steps)

    monkeypatch.setattr(measure.curvature, "lanczos", counted)
    warm = train(experiment, 0, cells).probes["sharpness"]
    with_memory = sum(products)
    monkeypatch.setattr(probes, "SHARPEST", "forgotten")
    monkeypatch.setattr(training.Piece, "left", property(lambda piece: {}, lambda piece, left: None), raising=False)
    products.clear()
    cold = train(experiment, 0, cells).probes["sharpness"]
    assert with_memory < 0.9 * sum(products)
    np.testing.assert_allclose(warm, cold, rtol=3e-4)


def test_probes_through_the_kernel_are_those_in_torch(small, monkeypatch):
    names = ("sharpness", "along_gradient", "trace", "top_eigenvalues")
    experiment = small(depth=4, dtype="float64", probes=names, probe_points=3, steps=12)
    cells = [(0.3, 0.02), (3.0, 0.1)]
    compiled = train(experiment, 0, cells, engine="fused").probes
    monkeypatch.setattr(probes.compiled, "library", lambda: None)
    plain = train(experiment, 0, cells, engine="fused").probes
    for name in names:
        scale = np.abs(plain[name]).max()
        np.testing.assert_allclose(compiled[name], plain[name], rtol=2e-4, atol=1e-3 * scale, err_msg=name)


def test_which_dtype_trained_each_gamma_and_why(small):
    runs = sweep(small(gammas=[1e-4, 1e-3, 1.0], etas=[1e-9, 2e-9, 3e-9, 4e-9], steps=2))
    assert runs.precision.dims == ("gamma",)
    assert runs.precision.values.tolist() == ["float64", "float32", "float32"]
    assert "1e-7/γ" in runs.precision.attrs["comment"]
    assert "float64 where γ < 0.001, which float32 cannot hold, else float32;" in conditions(runs)
    asked = sweep(small(gammas=[1e-4, 1.0], etas=[1e-9, 2e-9, 3e-9], steps=2, dtype="float64"))
    assert set(asked.precision.values.tolist()) == {"float64"} and "; float64;" in conditions(asked)


# Readers' own.


def norm(now):
    return torch.stack([w.flatten(1).norm(dim=1) for w in now.weights], dim=1)


def test_a_registered_probe_is_recorded_like_any_other(small):
    register_probe("weight_norm", norm, dims=("layer",), about="norm of every layer's raw weights")
    experiment = small(probes=("weight_norm",), steps=4, record_points=3)
    runs = sweep(experiment)
    start = experiment.architecture.initialise(0)
    assert runs.weight_norm.dims == ("gamma", "eta", "seed", "step", "layer")
    np.testing.assert_allclose(runs.weight_norm[0, 0, 0, 0], [float(w.norm()) for w in start], rtol=1e-4)
    assert runs.weight_norm.attrs["long_name"] == "norm of every layer's raw weights"


def test_two_meanings_of_one_dimension_are_kept_apart(small):
    register_probe("first_entries", lambda now: now.weights[0].flatten(1)[:, :7], dims=("layer",))
    runs = sweep(small(probes=("singular_values", "first_entries"), steps=2))
    assert runs.first_entries.dims[-1] == "first_entries_layer" and runs.first_entries.shape[-1] == 7
    assert runs.singular_values.sizes["layer"] == 3


@pytest.mark.parametrize(
    ("measure", "dims", "message"),
    [
        (lambda now: 3.0, (), "must return a tensor .*got float"),
        (lambda now: now.gamma[:1], (), r"must return a tensor \(2 cells\), got shape \(1,\)"),
        (lambda now: now.gamma[:, None], (), r".*got shape \(2, 1\): one value a network"),
        (lambda now: now.gamma, ("layer",), r"must return a tensor \(2 cells, layer\), got shape \(2,\)"),
    ],
)
def test_a_probe_of_the_wrong_shape_is_told_so(small, measure, dims, message):
    register_probe("wrong", measure, dims=dims)
    with pytest.raises(ValueError, match=f"probe 'wrong' {message}"):
        train(small(probes=("wrong",), steps=2), 0, [(1.0, 0.1), (1.0, 0.2)])


def test_a_probe_whose_length_changes_is_told_so(small):
    lengths = iter(range(1, 100))
    register_probe("growing", lambda now: now.gamma[:, None].expand(-1, next(lengths)), dims=("item",))
    with pytest.raises(ValueError, match=r"'growing' returned .*must not change in training"):
        train(small(probes=("growing",), steps=4), 0, [(1.0, 0.1), (1.0, 0.2)])


def test_a_probe_that_gives_nan_leaves_a_nan(small):
    register_probe("nothing", lambda now: now.gamma * torch.nan)
    runs = sweep(small(probes=("nothing",), steps=3))
    assert runs.nothing.isnull().all() and (runs.status == 0).all()


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("sharpness", {}, "'sharpness' is one of the package's own"),
        ("loss", {}, "a result has a variable 'loss' already"),
        ("tau", {}, "a result has a variable 'tau' already"),
        ("two words", {}, "must be a Python identifier"),
        ("mine", {"dims": ("step",)}, "dims must be new names"),
        ("mine", {"dims": ("a", "a")}, "dims must be new names"),
        ("mine", {"needs": ("gpu",)}, "needs nothing, 'classes' or 'hidden', got 'gpu'"),
    ],
)
def test_a_probe_that_cannot_be_registered(name, kwargs, message):
    with pytest.raises(ValueError, match=message):
        register_probe(name, norm, **kwargs)
    with pytest.raises(TypeError, match="takes a function of a snapshot, got Tensor"):
        register_probe("mine", torch.zeros(3))


def test_what_a_probe_needs_is_asked_for_first(small):
    with pytest.raises(ValueError, match="accuracy needs classes"):
        small(task="teacher", probes=("accuracy",))
    with pytest.raises(ValueError, match=r"unknown probe 'sharpnes': choose one of sharpness, .*register_probe"):
        small(probes=("sharpnes",))


def test_reading_a_result_with_a_probe_of_somebody_elses(small, tmp_path):
    register_probe("weight_norm", norm, dims=("layer",))
    path = save(sweep(small(probes=("weight_norm",), steps=2)), tmp_path / "norms.nc")
    del PROBES["weight_norm"]
    with pytest.raises(ResultError, match=r"probe weight_norm of a reader's own: .*richness\.register_probe"):
        read(path)


def test_probes_of_the_table_are_documented():
    for name, probe in PROBES.items():
        assert isinstance(probe, Probe) and len(probe.about) > 20 and probe.units, name


def test_unseen_accuracy_is_counted_in_parts_as_at_once(small):
    trainer = trained(small(task="digits8"), [(1.0, 0.5), (1.0, 5.0)], steps=40)
    x, labels = trainer.task.unseen()
    with torch.no_grad():
        f = trainer.outputs(trainer.stack, trainer.stack.weights, x)
    counted = (f.argmax(dim=-1) == labels).to(torch.float64).mean(dim=1)
    assert trainer.probe("unseen_accuracy").tolist() == pytest.approx(counted.tolist(), abs=2e-4)
    assert counted.min() > 0.12 and counted[0] != counted[1]
