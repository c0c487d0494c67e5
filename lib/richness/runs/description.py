"""What a result is made by: a description, validated, frozen and hashed; and what its fields are written with.

There are two kinds: the :class:`~richness.runs.experiment.Experiment`, a sweep over γ and η, and the :class:`Measurement`,
which is none. What they share (hash, provenance, files) is written once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator


def log_grid(text: str) -> tuple[float, ...]:
    """``"start:stop:points"`` to log-spaced values, both ends included.

    Raises:
        ValueError: not of that form; the message shows an example.
    """
    parts = text.split(":")
    try:
        start, stop, points = float(parts[0]), float(parts[1]), int(parts[2])
        if len(parts) != 3 or not (0 < start < math.inf and 0 < stop < math.inf and points >= 2 and start != stop):
            raise ValueError
    except (ValueError, IndexError):
        raise ValueError(
            f"a grid is start:stop:points, both ends positive and different and at least two points, "
            f"for example 1e-3:1e3:25; got {text!r}"
        ) from None
    return canonical(np.geomspace(start, stop, points))


def canonical(values: Iterable[float]) -> tuple[float, ...]:
    """Computed grid values to twelve digits: powers differ in the last bit between processors, and recipes must not."""
    return tuple(float(f"{value:.12g}") for value in values)


def as_tuple(value: Any) -> Any:
    """Any sequence, range or array to a tuple of plain values; one item stands for a list of one."""
    value = _plain(value)
    if isinstance(value, str) or not isinstance(value, Iterable):
        value = (value,)
    return tuple(map(_plain, value))


def _plain(value: Any) -> Any:
    """Arrays, numpy's, torch's or xarray's, as lists of numbers, and those of no axis as the number: ``runs.gamma[3]``."""
    return np.asarray(value).tolist() if hasattr(value, "__array__") else value


def _grid(value: Any) -> Any:
    """Numbers, ``"1e-3 1"``, ``"start:stop:points"``, or a list of any of these, to a flat tuple."""
    flat: list[Any] = []
    for item in as_tuple(value):
        for part in item.split() if isinstance(item, str) and item.strip() else [item]:
            flat.extend(log_grid(part) if isinstance(part, str) and ":" in part else [part])
    return tuple(flat)


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Grid = Annotated[tuple[Positive, ...], BeforeValidator(_grid), Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[tuple[Seed, ...], BeforeValidator(as_tuple), Field(min_length=1)]


def log_steps(last: int, points: int) -> list[int]:
    """About ``points`` integers from 0 to ``last``, log-spaced (rounded, twins dropped), both ends included."""
    return sorted({0, last, *(int(s) for s in np.rint(np.geomspace(1, last, max(points - 1, 1))))})


def no_twins(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values themselves.

    Raises:
        ValueError: one appears more than once.
    """
    if len(set(values)) < len(values):
        twins = sorted({v for v in values if values.count(v) > 1})
        raise ValueError(f"each value must appear once, got {', '.join(map(str, twins))} more than once")
    return values


class Description(BaseModel):
    """What a result is made by: frozen, checked, and known by its hash."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    title: ClassVar[str]  #: what is done, in a few words

    @property
    def registered(self) -> dict[str, str]:
        """What of it a reader has registered: ``"network mine"`` and so on -> fingerprint."""
        return {}

    @property
    def hash(self) -> str:
        """SHA-256 of the description, in hex: the identity of a recipe's result.

        The device is not part of it, nor is a field at its default: a result keeps its identity when experiments learn to
        do more. What a reader registered (a network, task, loss, optimiser, …) enters by its name and its
        fingerprint: the hash of what its function does and reaches, or the version given with it.
        """
        return hashlib.sha256(json.dumps(self._identity(), sort_keys=True).encode()).hexdigest()

    def _identity(self) -> dict[str, Any]:
        described = self.model_dump(mode="json", exclude={"device"}, exclude_defaults=True)
        if self.registered:
            described["registered"] = self.registered
        return described


class Measurement(Description):
    """What is measured at every one of some seeds. To be subclassed: add fields, a ``title``, and ``measure``.

    The class's name is part of the hash, and of a result's attributes as ``kind``.
    """

    seeds: Seeds = Field((0,), description="one measurement each")
    dtype: Literal["float32", "float64"] = Field("float64", description="of all arithmetic")
    device: str = Field("cpu", description="cpu, cuda or cuda:0")

    @field_validator("seeds")
    @classmethod
    def _no_twins(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        return no_twins(values)

    def measure(self, seed: int) -> xr.Dataset:
        """One seed's numbers, without a dim ``seed``: the same dims, coordinates and variables for each."""
        raise NotImplementedError(f"{type(self).__name__} must say in measure(seed) what it measures")

    @property
    def kind(self) -> str:
        return type(self).__name__

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {"kind": self.kind}
