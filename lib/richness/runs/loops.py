"""A reader's own loop as a description: any function of γ, η and a seed that gives losses, in any framework.

What is known of it is what it is called, what it does (its fingerprint), and what its reader says of it. Its losses are kept
whole in a store, since how many there are is not known before the first run is done.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from richness.fingerprint import fingerprint
from richness.networks import LOSSES, OPTIMIZERS, Architecture
from richness.runs.experiment import LOOPS, Experiment

Run = Callable[[float, float, int], Iterable[float]]


@dataclass(frozen=True)
class Unseen:
    """A model of which only L is known, and that it is dear: its runs are not trained together."""

    degree: int
    products: float = math.inf


#: Of every function that was run here: its fingerprint before its first run, and after its last.
_PRINTS: WeakKeyDictionary[Any, tuple[str, str]] = WeakKeyDictionary()


def _print_of(run: Run) -> str:
    """A function's fingerprint; one whose own runs have changed what it reaches, as a list they write to, is no other."""
    now = fingerprint(run)
    before, after = _PRINTS.get(run, (now, now)) if _can_be_noted(run) else (now, now)
    if now != after:
        before = now
    if _can_be_noted(run):
        _PRINTS[run] = before, now
    return before


def _note_run(run: Run) -> None:
    if _can_be_noted(run) and run in _PRINTS:
        _PRINTS[run] = _PRINTS[run][0], fingerprint(run)


def _can_be_noted(run: Run) -> bool:
    return isinstance(run, FunctionType)


class Loop(Experiment):
    """A plane of a reader's own loop: every γ × η × seed of a function (γ, η, seed) -> losses. Made by :meth:`of`.

    Only ``gammas``, ``etas``, ``seeds``, ``budgets``, ``band`` and ``record_points`` choose what is run and kept. The other
    fields say what the loop does, for captions and for theory's lines: ``depth``, ``loss`` and ``optimizer`` (a known one, by
    whose natural η a search begins), ``width`` (by which η is multiplied to lr_raw), ``network``, ``task``, ``batch_size``.
    """

    title = "A loop across feature learning strength"

    loop: str = Field(description="the name under which the function is registered")
    network: str = Field("loop", description="what it trains, in a word")
    task: str = Field("loop", description="on what, in a word")
    width: int = Field(1, ge=1, description="lr_raw over η")
    steps: int = Field(0, ge=0, le=10_000_000, description="T, the number of losses less one; 0 where not known yet")
    dtype: Any = Field("float64", description="in which losses are kept: float64, every digit, or float32")

    _known: dict[tuple[int, float, float], np.ndarray] = PrivateAttr(default_factory=dict)

    @classmethod
    def of(
        cls,
        run: Run,
        gammas: Any,
        etas: Any,
        seeds: Any = (0,),
        *,
        name: str | None = None,
        version: str | None = None,
        **described: Any,
    ) -> Loop:
        """Describe the plane of a function, and register it.

        Args:
            run: a function (gamma, eta, seed) -> losses: a sequence, or a generator of them, which is not asked further
                once a loss is not finite. The loss at place t is that after t updates. A function of its arguments alone.
            gammas, etas, seeds: as of an experiment.
            name: of the function in the result; its own where not given.
            version: stands for the function where what it depends on cannot be told; see :mod:`richness.fingerprint`.
            described: further fields.

        Raises:
            TypeError: not a function, or one whose dependences cannot be told, without a version.
        """
        if not callable(run):
            raise TypeError(f"a loop is a function (gamma, eta, seed) -> losses, got {type(run).__name__}")
        own = name or getattr(run, "__name__", "loop")
        print_ = _print_of(run) if version is None else str(version)
        own = f"{own if own.isidentifier() else 'loop'}_{fingerprint(print_)[:8]}"  # several may have one name
        LOOPS.add(own, run, run, print_)
        return cls(loop=own, gammas=gammas, etas=etas, seeds=seeds, **described)

    @model_validator(mode="after")
    def _names(self) -> Loop:
        LOSSES.known(self.loss)
        OPTIMIZERS.known(self.optimizer)
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"losses are kept in float32 or float64, got {self.dtype!r}")
        if self.probes != ("loss",):
            raise ValueError("a loop gives its losses alone: probes need an Experiment")
        if self.band is not None and self.band[0] >= self.band[1]:
            raise ValueError(f"band is (low, high) with low < high, got {self.band}")
        if self.steps and (late := [budget for budget in self.budgets if budget > self.steps]):
            raise ValueError(f"budgets must not exceed the {self.steps} steps of the loop, got {late}")
        return self

    @property
    def architecture(self) -> Architecture:
        return cast(Architecture, Unseen(self.depth))

    def with_steps(self, steps: int, known: dict[tuple[int, float, float], np.ndarray]) -> Loop:
        """The same, with the number of its steps, and the losses of the runs (seed, γ, η) that told it."""
        counted = Loop.model_validate(self.model_dump() | {"steps": steps})
        counted._known = known
        return counted

    def collect(self, gamma: float, eta: float, seed: int) -> np.ndarray:
        """The losses of one run, float64, up to and with the first that is not finite.

        Raises:
            ValueError: the function is not registered here, or gave no two losses. TypeError: it gave no losses.
        """
        if (seed, gamma, eta) in self._known:
            return self._known[seed, gamma, eta]
        if self.loop not in LOOPS:
            raise ValueError(
                f"the loop {self.loop!r} is not here: describe its function with richness.Loop.of(run, ...)"
            )
        run, losses = LOOPS[self.loop], []
        try:
            given = run(gamma, eta, seed)
            if not isinstance(given, Iterable):
                raise TypeError(f"{self.loop}: its function must give losses one by one, got {type(given).__name__}")
            for loss in given:
                losses.append(float(loss))
                if not math.isfinite(losses[-1]):
                    break
        finally:
            _note_run(run)
        if not losses or (len(losses) == 1 and math.isfinite(losses[0])):
            raise ValueError(
                f"{self.loop}: two losses or more are needed, got {len(losses)} at γ = {gamma:g}, η = {eta:g}"
            )
        return np.array(losses)

    def lay_out(self, losses: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Losses (longest, cells), of which ``count`` are given, as (steps + 1, cells), and the first step that is not finite.

        Raises:
            ValueError: a run that did not diverge has another number of losses.
        """
        out, diverged = np.full((self.steps + 1, len(count)), np.nan), np.full(len(count), -1)
        for k, given in enumerate(count.tolist()):
            own = losses[:given, k]
            if np.isfinite(own).all() and given != self.steps + 1:
                raise ValueError(
                    f"{self.loop}: one run gave {given} losses and another {self.steps + 1}: all must give as many, and one "
                    "that diverges must end with a loss that is nan or infinite"
                )
            finite = min(int(np.isfinite(own).sum()), self.steps + 1)
            out[:finite, k] = own[:finite]
            diverged[k] = finite if finite <= self.steps else -1
        return out, diverged


def read_recipe(text: str) -> Experiment:
    """An experiment or a loop, from the JSON that it was written as."""
    return (Loop if "loop" in json.loads(text) else Experiment).model_validate_json(text)


def run_loops(loop: Loop, seed: int, cells: Sequence[tuple[float, float]]) -> dict[str, np.ndarray]:
    """Every cell's losses, (longest, cells), filled up with NaN, and their ``count``, (cells,)."""
    every = [loop.collect(gamma, eta, seed) for gamma, eta in cells]
    count = np.array([len(one) for one in every])
    losses = np.full((count.max(), len(every)), np.nan)
    for k, one in enumerate(every):
        losses[: len(one), k] = one
    return {"losses": losses, "count": count}
