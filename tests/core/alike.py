"""What tests of networks and of sweeps share: a stack of networks, and whether two results are the same numbers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import xarray as xr
from torch import Tensor

from richness.networks import MLP


def stack_networks(network: MLP, seeds: Iterable[int]) -> list[Tensor]:
    """Each layer's weights, (seeds, fan_out, fan_in)."""
    return [torch.stack(layer) for layer in zip(*map(network.initialise, seeds), strict=True)]


def equal(a: xr.Dataset, b: xr.Dataset) -> bool:
    """The same but for their own attributes, of which the date is one."""
    return a.drop_attrs(deep=False).identical(b.drop_attrs(deep=False))
