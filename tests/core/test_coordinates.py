"""The coordinate check passes on the package's networks, and fails with its reason on wrong widths, γ or centring."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

import richness
from richness import cli
from richness.analysis import coordinates
from richness.networks import NETWORKS, Network, hidden_weight, readout_weight

pytestmark = pytest.mark.usefixtures("tidy_registries")
QUICK = {"widths": (16, 32, 64), "seeds": (0, 1)}


def failed(checked: coordinates.Coordinates, axis: str) -> dict[str, coordinates.Row]:
    return {row.what: row for row in checked.failed if row.axis == axis}


@pytest.mark.parametrize("widths", [(16, 32, 64), (4, 8, 16), (32, 40)])
def test_widths_that_are_too_small_or_too_close_are_a_warning(widths):
    """Of the package's own MLP nothing is wrong, and a wrong multiplier is still found."""
    checked = richness.check_coordinates("mlp", widths=widths, seeds=(0, 1))
    assert checked.passed, str(checked)
    assert bool(checked.doubtful) == ("warning" in str(checked)) == ("  ?" in str(checked))


def test_some_widths_are_doubtful():
    checked = richness.check_coordinates("mlp", widths=(4, 8, 16), seeds=(0, 1))
    assert checked.doubtful and "take 64 or more" in str(checked) and str(checked).endswith("passed")


def test_an_mlp_passes_and_says_every_exponent():
    checked = richness.check_coordinates("mlp")
    assert checked.passed, str(checked)
    rows = {(row.axis, row.what): row for row in checked.rows}
    assert rows["lazy", "change of hidden layer 1"].found == pytest.approx(1, abs=0.01)
    assert rows["lazy", "f"].found == pytest.approx(0, abs=0.01)
    assert rows["rich", "f"].found == pytest.approx(-1, abs=0.01)
    assert rows["rich", "how far weight0 moves f"].found == pytest.approx(-1, abs=0.01)
    assert "passed" in str(checked)


# A transformer reads one position alone, so that corrections of 1/N fade later than a mean over patches: wide heads.
WIDE = {"task": "text", "loss": "cross_entropy", "widths": (256, 512, 1024)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "fields"),
    [*(("mlp", {"optimizer": name}) for name in ("momentum", "signsgd", "adam")), ("cnn", {}), ("resnet", {}), ("vit", {}),
     ("transformer", WIDE)],
)  # fmt: skip
def test_other_optimisers_and_the_papers_networks_pass(network, fields):
    checked = richness.check_coordinates(network, **fields)
    assert checked.passed, str(checked)


def wrong(monkeypatch, network: str, change) -> None:
    right = NETWORKS[network]

    def build(*described):
        made = right(*described)
        return dataclasses.replace(made, parameters=tuple(change(made, p) for p in made.parameters))

    monkeypatch.setitem(NETWORKS, network, build)


def test_a_readout_in_the_standard_parameterisation_fails_and_is_named(monkeypatch):
    def change(net, p):
        return dataclasses.replace(p, scale=p.fan_in**-0.5) if p.name.endswith("readout") else p

    wrong(monkeypatch, "cnn", change)
    checked = richness.check_coordinates("cnn", **QUICK)
    found = failed(checked, "width")
    own = found["how far cnn/readout moves f"]
    assert own.found > 0.4  # 1 to first order: N^½ twice, in the gradient and going forward
    said = "its forward multiplier goes as N^-0.50, and a readout, whose fan_in alone grows with N, needs N^-1.00"
    assert said in own.why and "the largest stable one falls" in own.why
    others = [row for what, row in found.items() if "readout" not in what]
    assert others and all(f"look first at cnn/readout: {said}" in row.why for row in others)
    assert not failed(checked, "lazy") and not failed(checked, "rich") and not failed(checked, "batch")


@pytest.mark.slow
def test_gains_that_do_not_move_fail_and_are_named(monkeypatch):
    wrong(monkeypatch, "resnet", lambda net, p: dataclasses.replace(p, scale=1 / net.width) if p.zero else p)
    found = failed(richness.check_coordinates("resnet", **QUICK), "width")
    row = found["how far resnet/block1/conv1/gain moves f"]
    assert row.found < -1.4 and "it no longer learns at this η" in row.why
    assert "N^-1.00, and a parameter whose fan_in does not grow with N needs N^+0.00" in row.why


def registered(name: str, between) -> None:
    """A network of two hidden layers with something between them."""

    def build(inputs, outputs, width, depth, activation):
        parameters = (
            hidden_weight("first", width, inputs), hidden_weight("second", width, width),
            readout_weight("readout", outputs, width),
        )  # fmt: skip

        def apply(w, x):
            h = torch.relu(between(x @ w["first"].T, width))
            return torch.relu(h @ w["second"].T) @ w["readout"].T

        return Network(inputs, outputs, width, depth, parameters, apply)

    richness.register_network(name, build, version="1")


def test_a_factor_hidden_in_apply_fails_on_width():
    registered("loud", lambda h, width: h * width**0.5)
    checked = richness.check_coordinates("loud", **QUICK)
    row = failed(checked, "width")["how far second moves f"]
    assert row.found > 0.5 and "look at what `apply` does beside them" in row.why


def test_a_part_in_low_precision_fails_on_the_lazy_side():
    registered("hasty", lambda h, width: h.to(torch.bfloat16).to(h.dtype))
    checked = richness.check_coordinates("hasty", **QUICK)
    row = failed(checked, "lazy")["how far first moves f"]
    assert math.isnan(row.found) and "found that it is 0" in row.why, "the change is lost in rounding"
    assert "rounding (a part of the network in float32, TF32 or bfloat16)" in row.why


def test_batch_normalisation_fails_beside_others():
    registered("batched", lambda h, width: (h - h.mean(0)) / (h.std(0, correction=0) + 1e-5))
    (row,) = failed(richness.check_coordinates("batched", **QUICK), "batch").values()
    assert row.found > 0.01 and "as with batch normalisation" in row.why


def test_a_bias_that_a_norm_takes_away_is_named():
    def biased(inputs, width, outputs):
        layers = torch.nn.Linear(inputs, width), torch.nn.BatchNorm1d(width), torch.nn.ReLU()
        return torch.nn.Sequential(*layers, torch.nn.Linear(width, outputs))

    richness.register_module("biased", biased)
    checked = richness.check_coordinates("biased", 2, **QUICK)
    for axis in ("width", "lazy", "rich"):
        assert "give that layer bias=False" in failed(checked, axis)["how far 0.bias moves f"].why


def test_the_command(capsys, monkeypatch):
    quick = ["--widths", "16", "32", "64", "--seeds", "0", "1"]
    assert cli.main(["check-coordinates", "--network", "mlp", *quick]) in (0, 1)
    assert "how far weight0 moves f" in capsys.readouterr().out
    monkeypatch.setattr(coordinates, "WIDTH_TOLERANCE", 1e-9)
    assert cli.main(["check-coordinates", *quick]) == 1
    said = capsys.readouterr()
    assert "quantities do not follow width or γ" in said.err and "expected N^0, found N^" in said.out
    assert cli.main(["check-coordinates", "--network", "mpl"]) == 2
    assert cli.main(["check-coordinates", "--widths", "32"]) == 1
    assert "at least two widths" in capsys.readouterr().err
