"""ResNet, ViT, transformer: torch's own modules with the same weights, µP in every parameter, the lazy limit, lone samples."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from richness import Experiment, networks, rng, sweep
from richness.data import TASKS, Task
from richness.networks import NETWORKS
from richness.runs.experiment import degree
from richness.runs.training import Trainer, train

# ResNet with a wider stage, the others with two blocks.
SIZES = {"resnet": {"depth": 8, "width": 4}, "vit": {"depth": 10, "width": 8},
         "transformer": {"depth": 10, "width": 8, "task": "text"}}  # fmt: skip
INPUTS = {"resnet": 768, "vit": 768, "transformer": 60}  # 16×16 colour, or 6 characters of 10
DEPTH6 = {"resnet": "digits8", "vit": "digits8", "transformer": "text"}


class Block(nn.Module):
    """A basic block as torchvision writes it, with a norm of one group."""

    def __init__(self, into: int, out: int):
        super().__init__()
        stride = 1 if into == out else 2
        self.conv0, self.norm0 = nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.GroupNorm(1, out)
        self.conv1, self.norm1 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.GroupNorm(1, out)
        self.shortcut = (
            nn.Identity()
            if into == out
            else nn.Sequential(nn.Conv2d(into, out, 1, 2, bias=False), nn.GroupNorm(1, out))
        )

    def forward(self, x):
        return torch.relu(self.shortcut(x) + self.norm1(self.conv1(torch.relu(self.norm0(self.conv0(x))))))


def torch_resnet(width: int) -> nn.Sequential:
    """Of depth 8, on 16×16 colour; its parameters come in the order of ours."""
    return nn.Sequential(
        nn.Unflatten(1, (3, 16, 16)),
        *[nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.GroupNorm(1, width), nn.ReLU()],
        *[Block(width, width), Block(width, width), Block(width, 2 * width)],
        *[nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10, bias=False)],
    )


class Layer(nn.Module):
    """A pre-norm block around torch's own attention, whose logits are q·k/√d."""

    def __init__(self, width: int):
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, bias=False, batch_first=True)
        self.before_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width, bias=False), nn.ReLU(), nn.Linear(4 * width, width, bias=False)
        )

    def forward(self, h, mask=None):
        u = self.before_attention(h)
        h = h + self.attention(u, u, u, need_weights=False, attn_mask=mask)[0]
        return h + self.mlp(self.before_mlp(h))


class TorchViT(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4, bias=False)
        self.places = nn.Parameter(torch.empty(16, width))
        self.blocks = nn.Sequential(Layer(width), Layer(width))
        self.last = nn.LayerNorm(width)
        self.readout = nn.Linear(width, 10, bias=False)

    def forward(self, x):
        h = self.patches(x.reshape(-1, 3, 16, 16)).flatten(2).mT + self.places
        return self.readout(self.last(self.blocks(h)).mean(1))


class TorchTransformer(nn.Module):
    """Six characters of ten, torch's own causal mask, the last position read out."""

    def __init__(self, width: int):
        super().__init__()
        self.places = nn.Parameter(torch.empty(6, width))
        self.characters = nn.Linear(10, width, bias=False)
        self.blocks = nn.ModuleList([Layer(width), Layer(width)])
        self.last = nn.LayerNorm(width)
        self.readout = nn.Linear(width, 10, bias=False)

    def forward(self, x):
        h = self.characters(x.reshape(-1, 6, 10)) + self.places
        mask = nn.Transformer.generate_square_subsequent_mask(6, dtype=h.dtype)
        for block in self.blocks:
            h = block(h, mask)
        return self.readout(self.last(h)[:, -1])


MODULES = {"resnet": torch_resnet, "vit": TorchViT, "transformer": TorchTransformer}


def acting(name: str, value: torch.Tensor) -> torch.Tensor:
    """A weight times its scale, as torch's modules want it: gains around 1, and 1/√d of the logits' 1/d in q."""
    if name.endswith("/gain"):
        return 1 + value
    if name.endswith("/characters"):
        return value.T
    if name.endswith("/attention"):
        width = value.shape[1]
        return torch.cat([value[:width] / math.sqrt(width / 4), value[width:]])
    return value


def module_of(net, name: str):
    """Torch's own network of that make, as a function of our raw weights and inputs."""
    module = MODULES[name](net.width).double()
    order = {p.name: k for k, p in enumerate(net.parameters)}
    places = f"{name}/places"
    if places in order:  # torch's modules list a bare parameter before their submodules
        order = {places: 0} | {n: k for k, n in enumerate([n for n in order if n != places], start=1)}
    slots = [(key, p.shape) for key, p in module.named_parameters()]

    def forward(raw, x):
        weights = {p.name: acting(p.name, w * p.scale) for p, w in zip(net.parameters, raw, strict=True)}
        given = {slots[k][0]: weights[n].reshape(slots[k][1]) for n, k in order.items()}
        return torch.func.functional_call(module, given, x)

    return forward


@pytest.mark.parametrize("name", SIZES)
def test_outputs_and_gradients_are_those_of_torchs_own_modules(name):
    net = networks.build(name, INPUTS[name], 10, SIZES[name]["width"], SIZES[name]["depth"], "relu")
    x, aim = torch.randn(5, net.inputs, dtype=torch.float64), torch.randn(5, 10, dtype=torch.float64)
    # Away from initialisation, so that gains and biases say something.
    raw = [(w + 0.3 * torch.randn_like(w)).requires_grad_() for w in net.initialise(3)]
    expected = module_of(net, name)(raw, x)
    found = net.forward([w[None] for w in raw], x)[0]
    torch.testing.assert_close(found, expected)
    theirs = torch.autograd.grad((expected * aim).sum(), raw)
    ours = torch.autograd.grad((found * aim).sum(), raw)
    for a, b in zip(ours, theirs, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b)


def test_descent_of_the_transformer_is_that_of_torchs_own_modules(small, monkeypatch):
    """Four steps of SGD on cross-entropy, centred and at γ ≠ 1, in float64: the engine against a loop in torch alone."""
    gamma, eta, steps = 0.5, 0.05, 4
    monkeypatch.setitem(TASKS, "ten", Task("ten", 60, 10, True, ten_characters, None, ""))
    experiment = small(
        network="transformer", **SIZES["transformer"] | {"task": "ten"}, loss="cross_entropy", steps=steps, batch_size=16,
        gammas=[gamma], etas=[eta], dtype="float64", record_points=100,
    )  # fmt: skip
    net = experiment.architecture
    forward, raw = module_of(net, "transformer"), [w.requires_grad_() for w in net.initialise(0)]
    start, losses = [w.detach().clone() for w in raw], []
    for step in range(steps + 1):
        x, y = TASKS["ten"].batch(0, step, 16)
        loss = nn.functional.cross_entropy((forward(raw, x.double()) - forward(start, x.double())) / gamma, y)
        losses.append(loss.item())
        with torch.no_grad():
            for w, g in zip(raw, torch.autograd.grad(loss, raw), strict=True):
                w -= net.width * eta * g
    assert losses[0] == pytest.approx(math.log(10)) and losses[-1] != pytest.approx(losses[0], rel=1e-3)
    np.testing.assert_allclose(sweep(experiment).loss.values.ravel(), losses, rtol=1e-10)


def ten_characters(seed, steps, batch_size, name, device):
    drawn = rng.integers(seed, name, steps, 7 * batch_size, 10).reshape(len(steps), batch_size, 7)
    return nn.functional.one_hot(drawn[..., :6], 10).flatten(-2).float(), drawn[..., 6]


def test_a_character_changes_nothing_before_it():
    net = networks.build("transformer", 60, 10, 8, 10, "relu")
    weights = [w[None] for w in net.initialise(0)]
    x = ten_characters(0, range(1), 1, "causal", "cpu")[0][0].double()
    changed = x.clone()
    changed.view(6, 10)[4] = torch.roll(changed.view(6, 10)[4], 1)
    for before, after in zip(*(net.hidden(weights, one) for one in (x, changed)), strict=True):
        moved = (before - after).view(6, -1).abs().amax(dim=1)  # a value a position
        assert (moved[:4] == 0).all() and moved[4] > 0
    assert moved[5] > 0, "the last position has heard of it"
    assert (net.forward(weights, x) != net.forward(weights, changed)).all()


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("gamma", [1e-4, 1.0, 1e4])
def test_f_is_exactly_zero_at_step_0(small, name, gamma):
    for count in (1, 3):
        trainer = Trainer(small(network=name, **SIZES[name]), 0, [(gamma, 0.1)] * count)
        x, _ = trainer.batch(0)
        assert (trainer.outputs(trainer.stack, trainer.stack.weights, x) == 0).all()


@pytest.mark.parametrize("name", SIZES)
def test_what_is_said_of_a_sample_does_not_depend_on_the_others(name):
    net = networks.build(name, INPUTS[name], 10, 8, 6, "relu")
    weights = [w[None] for w in net.initialise(0)]
    x = torch.randn(6, net.inputs, dtype=torch.float64)
    torch.testing.assert_close(net.forward(weights, x)[:, :2], net.forward(weights, x[:2]), rtol=1e-12, atol=1e-14)


def trained(name, width, gamma, seed=0, steps=4, share=0.002, dtype="float32"):
    """The trainer before and after a few steps of η = share·γ², and the samples that it is looked at on."""
    eta = share * gamma**2
    experiment = Experiment(
        network=name, depth=6, width=width, task=DEPTH6[name], steps=steps, batch_size=16, gammas=[gamma], etas=[eta],
        dtype=dtype,
    )  # fmt: skip
    trainer = Trainer(experiment, seed, [(gamma, eta)])
    start = [w.clone() for w in trainer.stack.weights]
    for step in range(steps):
        trainer.update(step)
    return trainer, start, trainer.task.probe(32)[0].to(trainer.dtype)


def size(value):
    return float(value.detach().pow(2).mean().sqrt())


def coordinates(name, width, gamma=1.0, **how):
    """Root mean squares: every hidden layer, its change, f, and how far every gain, bias and embedding has moved."""
    trainer, start, x = trained(name, width, gamma, **how)
    net, now = trainer.network, trainer.stack.weights
    before, after = net.hidden(start, x), net.hidden(now, x)
    moved = [(w - w0) * p.scale for p, w0, w in zip(net.parameters, start, now, strict=True) if p.zero or p.fan_in == 1]
    changes = [b - a for a, b in zip(before, after, strict=True)]
    return [
        np.array([size(v) for v in group])
        for group in (after, changes, [trainer.outputs(trainer.stack, now, x)], moved)
    ]


def width_exponents(name, widths=(32, 64, 128), seeds=(0, 1)):
    """Of each of `coordinates`' groups, the exponents in the width: near 0 where µP holds."""
    rows = [[coordinates(name, width, seed=seed) for seed in seeds] for width in widths]
    groups = [np.array([np.mean([of_seed[k] for of_seed in row], axis=0) for row in rows]) for k in range(4)]
    return [np.polyfit(np.log(widths), np.log(group), 1)[0] for group in groups]


@pytest.mark.slow
@pytest.mark.parametrize("name", DEPTH6)
def test_everything_is_of_order_one_in_the_width(name):
    for group in width_exponents(name):
        assert (np.abs(group) < 0.25).all(), group


def readout_of_the_standard_parameterisation(net):
    last = dataclasses.replace(net.parameters[-1], scale=net.width**-0.5)
    return dataclasses.replace(net, parameters=(*net.parameters[:-1], last))


def gains_that_do_not_move(net):
    """A scale of 1/N instead of 1 for what starts at 0."""
    parameters = tuple(dataclasses.replace(p, scale=1 / net.width) if p.zero else p for p in net.parameters)
    return dataclasses.replace(net, parameters=parameters)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEPTH6)
@pytest.mark.parametrize(
    ("wrong", "group", "sign"), [(readout_of_the_standard_parameterisation, 2, +1), (gains_that_do_not_move, 3, -1)]
)
def test_the_width_check_notices_a_wrong_parameterisation(monkeypatch, name, wrong, group, sign):
    right = NETWORKS[name]
    monkeypatch.setitem(NETWORKS, name, lambda *described: wrong(right(*described)))
    found = width_exponents(name)[group]
    assert (sign * found).max() > 0.4, found


@pytest.mark.parametrize("name", DEPTH6)
def test_lazy_networks_of_different_gamma_are_one_and_the_same(name):
    """η ∝ γ², float64: f converges as γ → 0, to first order in γ, and the features move less in the same proportion."""
    how = {"share": 0.2, "dtype": "float64"}
    f = {}
    for gamma in (1e-5, 1e-4, 1e-3):
        trainer, _, x = trained(name, 16, gamma, **how)
        f[gamma] = trainer.outputs(trainer.stack, trainer.stack.weights, x)
    near, far = (size(f[gamma] - f[1e-5]) / size(f[1e-5]) for gamma in (1e-4, 1e-3))
    assert near < 1e-3 and far / near == pytest.approx(11, rel=0.5)  # (10⁻³ − 10⁻⁵)/(10⁻⁴ − 10⁻⁵), but for kinks
    lazier, lazy, rich = (coordinates(name, 16, gamma, **how)[1] for gamma in (1e-4, 1e-3, 1.0))
    np.testing.assert_allclose(lazier, 0.1 * lazy, rtol=0.02)
    assert (rich > 300 * lazy).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_bits_do_not_depend_on_the_neighbours(small, name):
    experiment = small(
        network=name, **SIZES[name], batch_size=32, steps=6, probes=("sharpness", "accuracy"), probe_points=2,
    )  # fmt: skip
    cells = [(1e-2, 1e-6), (1e-2, 1e6), (3.0, 0.05), (3.0, 0.2)]
    whole = train(experiment, 0, cells)
    for k, cell in enumerate(cells):
        one = train(experiment, 0, [cell])
        assert np.array_equal(one.loss[:, 0], whole.loss[:, k], equal_nan=True)
        for probe in ("sharpness", "accuracy"):
            assert np.array_equal(one.probes[probe][:, 0], whole.probes[probe][:, k], equal_nan=True), probe


@pytest.mark.parametrize("name", SIZES)
def test_a_sweep_of_colour_or_text(small, name):
    runs = sweep(
        small(network=name, **{"task": "photos16"} | SIZES[name], steps=10, etas=[1e-9, 0.01, 0.1], record_points=4)
    )
    assert runs.loss.shape == (2, 3, 1, 4) and np.isfinite(runs.loss).all()
    assert (runs.loss[..., -1] < runs.loss[..., 0]).any()


def test_colour_is_told_from_grey_by_the_number_of_inputs():
    shapes = {inputs: networks.build("cnn", inputs, 10, 5, 4, "relu").shapes[0] for inputs in (64, 784, 768, 3072)}
    assert shapes == {64: (5, 1, 3, 3), 784: (5, 1, 3, 3), 768: (5, 3, 3, 3), 3072: (5, 3, 3, 3)}
    grey = networks.build("cnn", 64, 10, 5, 4, "relu").initialise(2)
    for name, weight in zip(("conv0", "conv1", "linear0", "readout"), grey, strict=True):
        assert torch.equal(weight.flatten(), rng.normals(2, f"cnn/{name}", 0, weight.numel()))


def test_what_l_counts_and_what_makes_f_large():
    """The degree: f̃ of weights that all grow by the same factor."""
    for name, depth in (("mlp", 3), ("cnn", 4), ("resnet", 6), ("vit", 6), ("transformer", 6)):
        net = networks.build(name, INPUTS.get(name, 64), 10, 8, depth, "relu")
        raw, x = net.initialise(0), torch.randn(4, net.inputs, dtype=torch.float64)
        parameters = getattr(net, "parameters", None)

        def grown(factor, raw=raw, parameters=parameters):
            """Gains grow with the rest: 1 + g is multiplied."""
            gains = [bool(parameters) and p.name.endswith("/gain") for p in parameters or raw]
            return [factor * (1 + w) - 1 if gain else factor * w for w, gain in zip(raw, gains, strict=True)]

        sizes = [float(net.forward([w[None] for w in grown(f)], x).norm()) for f in (100.0, 200.0)]
        assert math.log2(sizes[1] / sizes[0]) == pytest.approx(net.degree, abs=0.02), name
        assert net.degree == (depth if name in ("mlp", "cnn") else 2)


@pytest.mark.parametrize(
    ("network", "changes", "said"),
    [
        ("resnet", {"depth": 5}, r"even number of weight layers.*got depth 5"),
        ("vit", {"depth": 8}, r"6, 10, 14.*got depth 8"),
        ("vit", {"width": 10, "depth": 6}, r"multiple of 4, got 10"),
        ("transformer", {"task": "text", "depth": 7}, r"a transformer has 6, 10, 14.*got depth 7"),
        ("transformer", {"depth": 6}, r"a multiple of 10; this task has 64 inputs: use task 'text'"),
        ("vit", {"task": "staircase", "depth": 6}, r"a vit needs square images.*32 inputs: use task 'digits'"),
    ],
)
def test_what_they_cannot_be_is_said(small, network, changes, said):
    with pytest.raises(ValueError, match=said):
        small(network=network, **changes)


def test_the_l_of_theory_is_the_degree_and_the_band_follows_it(small):
    for name, depth, expected in (("mlp", 6, 6), ("cnn", 4, 4), ("resnet", 6, 2), ("vit", 6, 2)):
        experiment = small(network=name, depth=depth, gammas=[1.0, 1e4])
        assert degree(experiment.model_dump(mode="json")) == expected
        ratio = experiment.natural_eta(1e6) / experiment.natural_eta(1e4)
        assert math.log10(ratio) == pytest.approx(2 * 2 / expected, rel=1e-3)
    assert degree({"depth": 5}) == 5 and degree({"depth": 7, "network": "somebodys_own"}) == 7
