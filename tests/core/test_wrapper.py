"""Any module on the dial: against the engine that the book's figures come from, and what a torch module must be able to do."""

from __future__ import annotations

import copy
import math
import random
from collections import OrderedDict, namedtuple
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import richness
from richness.networks import cnn
from richness.networks.parameterization import natural_eta
from richness.runs.training import Trainer

OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0),
    "momentum": lambda groups: torch.optim.SGD(groups, lr=0, momentum=0.9),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0),
}


def mlp(width=12, outputs=10, bias=False):
    sizes = [64, width, width, outputs]
    layers = [nn.Linear(a, b, bias=bias) for a, b in pairwise(sizes)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).double()


@pytest.mark.parametrize(("optimizer", "straight"), [("sgd", 8.0), ("momentum", 2.0), ("adam", 0.1)])
@pytest.mark.parametrize("gamma", [0.1, 10.0])
def test_it_trains_as_the_engine_does(small, optimizer, straight, gamma):
    """Layer by layer the same weights and the same steps: the same losses, under every rule for the step."""
    eta = straight * natural_eta(gamma, 3, optimizer)
    trainer = Trainer(small(task="digits8", width=12, dtype="float64", optimizer=optimizer), 0, [(gamma, eta)])
    module = mlp()
    groups = richness.maximal_update_(module, eta, optimizer=optimizer)
    layers = zip(module[::2], groups, trainer.stack.weights, trainer.network.scales, strict=True)
    with torch.no_grad():
        for layer, group, weight, scale in layers:
            layer.weight.copy_(weight[0] * scale)
            if optimizer == "adam":
                group["eps"] = 1e-8 / (gamma * 12 * scale)  # as the gradients, which the multiplier divides
    network = richness.Centred(module, gamma)
    step = OPTIMIZERS[optimizer](groups)
    ours, theirs = [], []
    for t in range(12):
        x, labels = trainer.batch(t)
        loss = nn.functional.mse_loss(network(x), nn.functional.one_hot(labels, 10).double())
        step.zero_grad()
        loss.backward()
        step.step()
        ours.append(loss.item())
        theirs.append(float(trainer.update(t)))
    assert ours == pytest.approx(theirs, rel=1e-8)
    assert abs(ours[-1] - ours[0]) > 1e-3 * ours[0]


def test_convolutions_are_scaled_as_in_the_package():
    module = nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=False), nn.Conv2d(6, 6, 3, bias=False), nn.Linear(24, 10, bias=False)
    )
    groups = richness.maximal_update_(module, 2.0, width=6)
    ours = cnn(64, 10, 6, 3, "relu")
    for group, scale in zip(groups, ours.scales, strict=True):
        assert group["lr"] == pytest.approx(6 * 2.0 * scale**2)
        (weight,) = group["params"]
        assert float(weight.std()) == pytest.approx(scale, rel=0.3)


def test_biases_start_at_zero_and_move_by_order_eta():
    groups = richness.maximal_update_(mlp(width=16, bias=True), 3.0)
    biases = [group for group in groups if group["params"][0].ndim == 1]
    assert [group["lr"] for group in biases] == pytest.approx([48.0, 48.0, 3.0])
    assert all(not group["params"][0].any() for group in biases)


def test_it_is_exactly_zero_at_first_and_then_the_difference():
    module = mlp()
    before, network, x = copy.deepcopy(module), richness.Centred(module, 0.01), torch.randn(7, 64).double()
    assert not network(x).any()
    with torch.no_grad():
        module[0].weight.add_(0.1)
    assert torch.allclose(network(x), (module(x) - before(x)) / 0.01)


def test_only_the_module_is_trained_and_all_of_it_is_saved(tmp_path):
    network = richness.Centred(mlp(bias=True), 5.0)
    assert {id(p) for p in network.parameters()} == {id(p) for p in network.module.parameters()}
    x = torch.randn(3, 64).double()
    network(x).square().sum().backward()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.01)
    torch.save(network.state_dict(), tmp_path / "state.pt")
    other = richness.Centred(mlp(bias=True), 5.0)
    other.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert torch.equal(other(x), network(x)) and network(x).abs().max() > 0
    single = other.float()
    assert {buffer.dtype for buffer in single.start.buffers()} == {torch.float32}
    assert {value.device.type for value in network.to("meta").state_dict().values()} == {"meta"}


def test_batch_normalisation_follows_train_and_eval():
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    network = richness.Centred(module, 1.0)
    for _ in range(3):
        assert not network(torch.randn(16, 4)).any()
    assert not network.eval()(torch.randn(16, 4)).any() and not network.start.training
    assert torch.equal(network.start[1].running_mean, module[1].running_mean) and module[1].running_mean.any()


def test_what_it_cannot_do_it_refuses():
    for use, module, number, words in (
        (richness.Centred, mlp(), 0.0, "positive"),
        (richness.Centred, nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)), 1.0, r"1 drops out a share 0.5"),
        (richness.Centred, nn.TransformerEncoderLayer(8, 2, 16), 1.0, "drops out"),
        (richness.maximal_update_, nn.Linear(3, 3), 0.1, "found 1"),
    ):
        with pytest.raises(ValueError, match=words):
            use(module, number)
    assert math.isclose(richness.Centred(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), 2.0).gamma, 2.0)


# Rules of parameters.


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.between, self.readout = nn.Embedding(50, 16), nn.Linear(16, 16), nn.Linear(16, 50, bias=False)
        self.readout.weight = self.table.weight


def shared(first, second):
    second.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), second)


def overlapping(first, second):
    """Two parameters of one memory."""
    second.weight = nn.Parameter(first.weight.data)
    return nn.Sequential(first, nn.ReLU(), second)


@pytest.mark.parametrize(
    "module",
    [Tied(), shared(nn.Linear(8, 8), nn.Linear(8, 8)), overlapping(nn.Linear(8, 8), nn.Linear(8, 8))],
    ids=["embedding", "linear", "memory"],
)
def test_a_tensor_in_two_roles_is_refused_and_left_alone(module):
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=r"weight and .*weight are one tensor, .* would need two scales"):
        richness.maximal_update_(module, 0.1)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_a_tensor_in_one_role_twice_is_one_group():
    layer = nn.Linear(8, 8, bias=False)
    groups = richness.maximal_update_(
        nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(8, 2, bias=False)), 0.1
    )
    assert [group["name"] for group in groups] == ["0.weight", "4.weight"]
    torch.optim.SGD(groups, lr=0)


CONVOLUTIONS = st.fixed_dictionaries(
    {"groups": st.sampled_from([1, 2, 4]), "kernel_size": st.sampled_from([2, 4]), "stride": st.sampled_from([1, 2])}
)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]), CONVOLUTIONS
)
def test_a_layers_outputs_are_of_order_one(kind, how):
    """Away from the edges: fan_in is counted by what a convolution of ones adds up."""
    layer = kind(16, 32, bias=False, **how)
    (group, _) = richness.maximal_update_(nn.Sequential(layer, nn.Linear(32, 4, bias=False)), 1.0, width=32)
    counted, dims = copy.deepcopy(layer), layer.weight.ndim - 2
    nn.init.ones_(counted.weight)
    out = counted(torch.ones(1, 16, *[12] * dims))
    fan_in = float(out[(..., *[out.shape[-1] // 2] * dims)].mean())
    assert float(layer.weight.std()) == pytest.approx(fan_in**-0.5, rel=0.15)
    assert group["lr"] == pytest.approx(32 / fan_in, rel=1e-6)


def test_a_transposed_convolution_adds_up_its_channels():
    module = nn.Sequential(nn.ConvTranspose2d(16, 512, 3), nn.Conv2d(512, 4, 1))
    richness.maximal_update_(module, 1.0)
    assert float(module[0].weight.std()) == pytest.approx((16 * 9) ** -0.5, rel=0.05)


def test_frozen_weights_are_left_as_they_are():
    module = mlp(bias=True)
    module[2].weight.requires_grad_(False)
    module[0].bias.requires_grad_(False)
    kept = module[2].weight.clone(), module[0].bias.clone()
    groups = richness.maximal_update_(module, 1.0)
    assert torch.equal(module[2].weight, kept[0]) and torch.equal(module[0].bias, kept[1])
    assert [group["name"] for group in groups] == ["0.weight", "2.bias", "4.weight", "4.bias"]
    for p in mlp().parameters():
        p.requires_grad_(False)
    module = mlp()
    for p in module.parameters():
        p.requires_grad_(False)
    with pytest.raises(ValueError, match="of which 0 are trained"):
        richness.maximal_update_(module, 1.0)


@pytest.mark.parametrize(
    "norm",
    [
        nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm, nn.utils.spectral_norm,
        pytest.param(nn.utils.weight_norm, marks=pytest.mark.filterwarnings("ignore::FutureWarning")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 2, 4])
def test_computed_weights_have_no_rule(norm, place):
    module = mlp()
    module[place] = norm(module[place])
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(
        ValueError, match=rf"no rule covers {place}\..* computed from others \(weight_norm, spectral_norm\)"
    ):
        richness.maximal_update_(module, 1.0)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


class Marked(nn.Module):
    def __init__(self):
        super().__init__()
        self.mark = nn.Parameter(torch.full((1, 1, 16), 2.0))
        self.attention, self.norm = nn.MultiheadAttention(16, 2, batch_first=True), nn.LayerNorm(16)
        self.readout, self.other = nn.Linear(16, 3), nn.Linear(16, 16)

    def forward(self, x):
        h = torch.cat([self.mark.expand(len(x), -1, -1), x], 1)
        h = self.norm(h + self.attention(h, h, h, need_weights=False)[0])
        return self.readout(torch.tanh(self.other(h[:, 0])))


def test_what_has_no_rule_is_asked_for_by_name():
    with pytest.raises(ValueError, match=r"no rule covers mark: give rules=\{'mark': \.\.\.\}, one of hidden, readout"):
        richness.maximal_update_(Marked(), 1.0)
    with pytest.raises(ValueError, match=r"rules are name -> one of .*'mrak' -> 'offset'; the parameters are mark"):
        richness.maximal_update_(Marked(), 1.0, rules={"mrak": "offset"})
    module = Marked()
    groups = richness.maximal_update_(module, 1.0, rules={"mark": "offset", "readout.weight": "readout"})
    rules = {group["name"]: group["rule"] for group in groups}
    assert rules == {
        "mark": "offset", "attention.in_proj_weight": "hidden", "attention.in_proj_bias": "hidden_bias",
        "attention.out_proj.weight": "hidden", "attention.out_proj.bias": "hidden_bias", "norm.weight": "offset",
        "norm.bias": "offset", "readout.weight": "readout", "readout.bias": "readout_bias", "other.weight": "hidden",
        "other.bias": "hidden_bias",
    }  # fmt: skip
    assert (module.mark == 2).all() and (module.norm.weight == 1).all()
    assert float(module.attention.in_proj_weight.std()) == pytest.approx(0.25, rel=0.1)


# The order of the two helpers.


@pytest.mark.parametrize("inside", [False, True])
def test_either_helper_may_come_first(inside):
    module = mlp(bias=True)
    network = richness.Centred(module, 1.0)
    groups = richness.maximal_update_(nn.ModuleList([network]) if inside else network, 0.1)
    x = torch.randn(7, 64).double()
    assert len(groups) == 6 and not network(x).any()
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in module.parameters()}
    assert groups[4]["rule"] == "readout" and float(module[4].weight.std()) == pytest.approx(1 / 12, rel=0.3)
    torch.optim.SGD(groups, lr=0)
    with torch.no_grad():
        module[0].weight.add_(0.1)
    assert network(x).any()


# The premise of centring.


class Skips(nn.Module):
    """Stochastic depth as torchvision and timm have it: a whole branch is left out now and then."""

    def __init__(self, rate, numbers=torch.rand):
        super().__init__()
        self.rate, self.branch, self.numbers = rate, nn.Linear(8, 8), numbers

    def forward(self, x):
        return x + self.branch(x) * float(self.numbers(1)[0] > self.rate) if self.training else x + self.branch(x)


class Masks(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.1, self.training)


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = [0]

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        self.calls[0] += 1
        return x + self.calls[0]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Skips(0.001), "draws random numbers"),
        (Skips(0.001, lambda n: np.random.rand(n)), "draws random numbers"),
        (Skips(0.001, lambda n: [random.random()]), "draws random numbers"),
        (
            Skips(0.5, partial(torch.rand, generator=torch.Generator().manual_seed(1))),
            "answers two equal calls differently",
        ),
        (Masks(), "draws random numbers"),
        (nn.RReLU(), "draws random numbers"),
        (nn.Dropout(1), "drops out a share 1"),
        (nn.MultiheadAttention(8, 2, dropout=1), "drops out a share 1"),
        (Counts(), "answers two equal calls differently"),
    ],
    ids=str,
)
def test_what_makes_two_calls_differ_is_named(part, said):
    if isinstance(part, Skips) and "Generator" in str(part.numbers):
        part.__class__ = type("Own", (Skips,), {"__deepcopy__": lambda self, memo: self})
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=rf"1.*{said}"):
        richness.Centred(nn.Sequential(nn.Linear(8, 8), part, nn.Linear(8, 2)), 0.01)(torch.randn(4, 8))
    torch.set_rng_state(before)


def test_evaluation_is_checked_by_itself_and_the_generators_stay_as_they_were():
    network = richness.Centred(nn.Sequential(nn.Linear(8, 8), Skips(0.1), nn.Linear(8, 2)), 0.01)
    x, before = torch.randn(4, 8), torch.get_rng_state()
    assert not network.eval()(x).any()
    with pytest.raises(ValueError, match=r"1 \(Skips\) draws random numbers"):
        network.train()(x)
    assert torch.equal(torch.get_rng_state(), before)


class Overwrites(nn.Module):
    def forward(self, x):
        return x.mul_(2.0).add_(1.0)


def test_a_module_that_changes_its_inputs_is_still_zero():
    network = richness.Centred(nn.Sequential(Overwrites(), nn.Linear(8, 2)), 0.01)
    for _ in range(2):
        assert not network(torch.randn(4, 8)).any()


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(8), nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)), nn.GroupNorm(2, 8)]
)
def test_state_that_follows_from_the_inputs_is_no_noise(norm):
    network = richness.Centred(nn.Sequential(nn.Linear(8, 8), norm, nn.Linear(8, 2)), 0.01)
    for _ in range(3):
        assert network(torch.randn(4, 8)).abs().max() < 1e-3


def test_a_state_beside_parameters_is_told():
    class Drifts(nn.Module):
        factor = 1.0

        def forward(self, x):
            return x * self.factor

    module = nn.Sequential(nn.Linear(8, 2), Drifts())
    network = richness.Centred(module, 0.01)
    module[1].factor = 2.0
    with pytest.raises(ValueError, match=r"differ by .* at the same weights, before the first step"):
        network(torch.randn(4, 8))


# What is passed on.

Answer = namedtuple("Answer", "logits count")


class Outputs(OrderedDict):
    """As Hugging Face's: a dict whose entries are attributes too."""

    def __getattr__(self, name):
        return self[name]


@pytest.mark.parametrize(
    "answer",
    [dict, Outputs, lambda logits, count: (logits, {"inner": [logits, count]}), Answer],
    ids=["dict", "hf", "nest", "named"],
)
def test_nests_are_centred_tensor_by_tensor(answer):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 2)

        def forward(self, x, shift=None, scale=1.0):
            logits = self.layer(x) * scale + (0 if shift is None else shift)
            return answer(logits=logits, count=torch.tensor(len(x)))

    module = Model()
    before, network, x = copy.deepcopy(module.layer), richness.Centred(module, 0.5), torch.randn(4, 8)
    with torch.no_grad():
        module.layer.weight.add_(0.1)
    expected, out = 3 * (module.layer(x) - before(x)) / 0.5, network(x=x, shift=torch.ones(2), scale=3.0)
    assert type(out) is type(module(x))
    logits, count = (out["logits"], out["count"]) if isinstance(out, dict) else (out[0], getattr(out, "count", None))
    if isinstance(out, tuple) and not isinstance(out, Answer):
        inner, count = out[1]["inner"]
        assert torch.equal(inner, logits)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert count == 4


def test_a_loss_of_the_modules_own_is_refused():
    class Model(nn.Linear):
        def forward(self, x):
            logits = super().forward(x)
            return {"loss": logits.square().mean(), "logits": logits}

    with pytest.raises(ValueError, match=r"a single number, as a loss .* leave its labels out"):
        richness.Centred(Model(8, 2), 1.0)(torch.randn(4, 8))


def test_an_answer_that_is_no_tensor_is_refused():
    class Model(nn.Linear):
        def forward(self, x):
            return object()

    with pytest.raises(ValueError, match="must answer with a tensor, or a dict, list or tuple of some, got object"):
        richness.Centred(Model(8, 2), 1.0)(torch.randn(4, 8))


def test_it_can_be_mapped_and_differentiated():
    network = richness.Centred(mlp(), 2.0)
    x = torch.randn(3, 5, 64).double()
    assert torch.func.vmap(network)(x).shape == (3, 5, 10)
    assert torch.func.jacrev(network)(x[0]).shape == (5, 10, 5, 64)
