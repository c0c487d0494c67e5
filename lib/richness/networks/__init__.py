"""Each network as a function of stacked parameters and inputs; each loss with its constants. Knows no data, no grid."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from torch import nn

from richness.networks.cnn import cnn
from richness.networks.general import (
    Architecture,
    Network,
    Parameter,
    at_start,
    embedding,
    hidden_bias,
    hidden_weight,
    readout_bias,
    readout_weight,
)
from richness.networks.losses import LOSSES, register_loss
from richness.networks.mlp import ACTIVATIONS, MLP, Activation, register_activation
from richness.networks.modules import FromModule
from richness.networks.optimizers import OPTIMIZERS, SCHEDULES, register_optimizer, register_schedule
from richness.networks.resnet import resnet
from richness.networks.scalings import random_features, residual, residual_two, residual_unscaled, standard
from richness.networks.transformer import transformer
from richness.networks.vit import vit
from richness.registry import Registry

Build = Callable[[int, int, int, int, str], Architecture]  # inputs, outputs, width, depth, activation

NETWORKS: Registry[Build] = Registry(
    "network",
    {
        "mlp": MLP,
        "cnn": cnn,
        "resnet": resnet,
        "vit": vit,
        "transformer": transformer,
        "standard": standard,
        "random_features": random_features,
        "residual": residual,
        "residual_two": residual_two,
        "residual_unscaled": residual_unscaled,
    },
)


def register_network(name: str, build: Build, *, version: str | None = None) -> None:
    """Add an architecture of your own; ``Experiment(network=name)`` then trains it like any other.

    Args:
        name: a new name, a Python identifier. The same function may be registered again, edited or not.
        build: a function (inputs, outputs, width, depth, activation) -> :class:`Network`. It is called with the task's inputs
            and outputs and the experiment's width, depth and activation; raise ValueError for what it cannot be.
        version: stands for ``build``, and all that it reaches, in the hash of a recipe that names the network; to be changed
            when that changes. Needed only where its value cannot be told, as of an open file.

    Raises:
        ValueError: the name is taken, or no identifier. (What ``build`` returns is tried when an experiment names it.)
        TypeError: ``build`` is not a function.
    """
    if not callable(build):
        raise TypeError(
            f"register_network takes a function (inputs, outputs, width, depth, activation) -> Network, got "
            f"{type(build).__name__}: hand over the function itself, not what it returns"
        )
    NETWORKS.add(name, build, build, version)


def register_module(
    name: str,
    make: Callable[..., nn.Module],
    *,
    rules: Mapping[str, str] | None = None,
    factors: int | None = None,
    version: str | None = None,
) -> None:
    """Add an architecture that is written as a ``torch.nn.Module``; ``Experiment(network=name)`` then trains it like any other.

    Every parameter gets a rule of the maximal-update parameterisation (:mod:`richness.networks.rules`), and
    ``print(experiment.architecture)`` shows the table. Weights are drawn anew from N(0, 1). Batch norms go by the batch, at
    every step and for every probe. The module is called with inputs (batch, D), and answers with (batch, K); it is mapped over
    networks by ``torch.func.vmap``: no branches on values.

    Args:
        name: a new name, a Python identifier. The same function may be registered again, edited or not.
        make: a function of any of ``inputs``, ``outputs``, ``width``, ``depth`` and ``activation``, by name, to a module.
        rules: name of a parameter -> its rule, for what has none, or is to have another.
        factors: where norms undo the size of some weights, how many of those on one path still make f̃ large; see
            :class:`Network`.
        version: stands for ``make``, and all that it reaches, in the hash of a recipe that names the network; to be changed
            when that changes. Needed only where its value cannot be told, as of an open file.

    Raises:
        ValueError: the name is taken, or no identifier. (The module is tried when an experiment names it.)
        TypeError: ``make`` is not a function.
    """
    if not callable(make) or isinstance(make, nn.Module):
        raise TypeError(
            f"register_module takes a function that makes a module, got {type(make).__name__}: hand over the function itself, "
            "not what it returns"
        )
    NETWORKS.add(name, FromModule(make, rules, factors), make, version, rules, factors)


@lru_cache(maxsize=64)
def _built(
    build: Build, activation: Activation | None, prints: tuple[str | None, ...], name: str, *described: Any
) -> Architecture:
    """The network, remembered for as long as what stands behind its name and its activation's stays the same."""
    try:
        network = build(*described)
    except TypeError as error:
        raise ValueError(
            f"network {name!r}: its function must take (inputs, outputs, width, depth, activation): {error}"
        ) from error
    if type(network) is MLP:  # a subclass may do anything, and engines that know MLPs would not see it
        return network
    if not isinstance(network, Network):
        raise ValueError(
            f"network {name!r}: its function must return a richness.networks.Network, got {type(network).__name__}"
        )
    asked = dict(zip(("inputs", "outputs", "width", "depth"), described, strict=False))
    given = {key: getattr(network, key) for key in asked}
    if given != asked:
        raise ValueError(f"network {name!r}: asked for {asked}, its function returned {given}")
    try:
        network.check()
    except ValueError as error:
        raise ValueError(f"network {name!r}: {error}") from error
    return network


def build(name: str, inputs: int, outputs: int, width: int, depth: int, activation: str) -> Architecture:
    """The network of that name and size, tried on inputs of the task's shape.

    Raises:
        ValueError: no such network, or one that cannot be of this size or does not fit the task; the message says why.
    """
    behind = NETWORKS[NETWORKS.known(name)], ACTIVATIONS.get(activation)
    prints = NETWORKS.fingerprint(name), ACTIVATIONS.fingerprint(activation)
    return _built(*behind, prints, name, inputs, outputs, width, depth, activation)


__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "MLP",
    "NETWORKS",
    "OPTIMIZERS",
    "SCHEDULES",
    "Architecture",
    "Network",
    "Parameter",
    "at_start",
    "build",
    "cnn",
    "embedding",
    "hidden_bias",
    "hidden_weight",
    "readout_bias",
    "readout_weight",
    "register_activation",
    "register_loss",
    "register_module",
    "register_network",
    "register_optimizer",
    "register_schedule",
    "resnet",
    "transformer",
    "vit",
]
