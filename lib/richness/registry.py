"""Tables of named things: what the package ships, and what a reader adds.

A recipe names its network, task, loss, optimiser and so on, and a result's hash must change when what is behind a name does.
What ships is known by its name, since the package's own version stands in every result. What a reader registers, or puts into a
table by hand, is known by its name and a fingerprint: the version that was given with it, or a hash of all that it depends on
(see :mod:`richness.fingerprint`), taken anew whenever it is asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module, util
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar

from richness.fingerprint import fingerprint

K = TypeVar("K")
T = TypeVar("T")

#: The studies, each a folder of `richness.studies`; their recipes and their claims are found through this list.
STUDIES = (
    "setting",
    "portrait",
    "performance",
    "dynamics",
    "curvature",
    "similarity",
    "solvable",
    "optimizers",
    "adviser",
    "neighbours.consistency",
    "neighbours.beyond",
    "neighbours.normalised",
    "afterwards",
    "bench",
)


class Origin(NamedTuple):
    """Where a reader's thing comes from.

    Attributes:
        place: where its function was written. function: that function. version: what stands for it in the fingerprint, if
            anything. settings: what was given beside the function and changes numbers too.
    """

    place: str
    function: Any
    version: str | None
    settings: tuple[Any, ...] = ()

    @property
    def print(self) -> str:
        if self.version is None:
            return fingerprint((self.function, *self.settings))
        return f"{self.version} {fingerprint(self.settings)}" if self.settings else self.version


class Registry(dict[str, T], Generic[T]):
    """Name -> thing, in the order in which they came.

    Args:
        kind: a word for messages, such as ``"network"``. shipped: what the package brings.
    """

    def __init__(self, kind: str, shipped: Mapping[str, T]):
        super().__init__(shipped)
        self.kind = kind
        self._shipped = dict(shipped)
        self._added: dict[str, Origin] = {}

    def __setitem__(self, name: str, thing: T) -> None:
        """Put a thing into the table by hand; a reader's function joins it through ``richness.register_…``.

        Raises:
            TypeError: not of the kind of what the package ships.
        """
        kinds = {type(one) for one in self._shipped.values()}
        if len(kinds) == 1 and not isinstance(thing, kind := kinds.pop()) and dataclasses.is_dataclass(kind):
            raise TypeError(
                f"the table holds a {kind.__name__} for every {self.kind}, got {type(thing).__name__}: register yours with "
                f"richness.register_{self.kind}"
            )
        super().__setitem__(name, thing)

    def add(self, name: str, thing: T, function: Callable, version: str | None = None, *settings: Any) -> None:
        """Take in a reader's ``thing``, made from ``function``.

        The same function may come again, changed or not, as when a notebook's cell is run again.

        Args:
            version: stands for the function in the fingerprint; give one where it depends on what cannot be seen from it.
            settings: what was given beside the function and changes numbers too; part of the fingerprint.

        Raises:
            ValueError: the name is not an identifier, or is taken.
            TypeError: the function depends on something whose value cannot be told, and no version stands for it.
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"a {self.kind}'s name must be a Python identifier such as 'mine', got {name!r}")
        owner = function if hasattr(function, "__qualname__") else type(function)
        origin = Origin(
            f"{owner.__module__}.{owner.__qualname__}", function, None if version is None else str(version), settings
        )
        try:
            print_ = origin.print
        except TypeError as error:
            raise TypeError(f"the {self.kind} {name!r}: {error}") from error
        if name in self and name not in self._added:
            raise ValueError(f"the {self.kind} {name!r} is one of the package's own: choose another name")
        if name in self._added:
            before = self._added[name]
            if before.print != print_ and (before.place != origin.place or "<lambda>" in origin.place):
                raise ValueError(
                    f"the {self.kind} {name!r} is registered already, from {before.place}: choose another name"
                )
        self[name] = thing
        self._added[name] = origin

    def is_shipped(self, name: str) -> bool:
        """Whether what stands behind a name is the package's own."""
        return name not in self._added and self.get(name) is self._shipped.get(name)

    def fingerprint(self, name: str) -> str | None:
        """Of a reader's thing as it is now; None for the package's own."""
        if self.is_shipped(name):
            return None
        return self._added[name].print if name in self._added else fingerprint(self[name])

    def known(self, name: str) -> str:
        """The name itself.

        Raises:
            ValueError: there is no such thing; the message lists those there are.
        """
        if name not in self:
            raise ValueError(
                f"unknown {self.kind} {name!r}: choose one of {', '.join(self)}, "
                f"or register yours with richness.register_{self.kind}"
            )
        return name

    def export(self, name: str) -> tuple[T, str] | None:
        """A reader's thing and its fingerprint, for another process; None for the package's own."""
        print_ = self.fingerprint(name)
        return None if print_ is None else (self[name], print_)

    def bring(self, name: str, exported: tuple[T, str]) -> None:
        """Take in what another process has exported, in place of what is here; its fingerprint stays what it was there."""
        thing, print_ = exported
        self[name], self._added[name] = thing, Origin("another process", None, print_)


def study_modules(name: str) -> list[ModuleType]:
    """The modules of that name (``"recipes"``, ``"analysis"``) of all studies that have one,
    in the order of `STUDIES`.

    They are imported here, so that whoever asks for no recipe and no claim does not wait for them.

    Raises:
        ModuleNotFoundError: a study is listed that has no folder.
    """
    return [import_module(path) for study in STUDIES if (path := _find_module(study, name))]


def _find_module(study: str, name: str) -> str | None:
    path = f"richness.studies.{study}.{name}"
    try:
        return path if util.find_spec(path) else None
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"STUDIES in richness/registry.py lists {study!r}, and there is no folder richness/studies/"
            f"{study.replace('.', '/')}/: correct the name, or add the folder"
        ) from error


def join_studies(name: str, list_pairs: Callable[[ModuleType], Iterable[tuple[K, T]]]) -> dict[K, T]:
    """One table of what the studies hold, in their order.

    Args:
        name: of their modules, as for `study_modules`. list_pairs: a module -> its keys and what stands behind them.

    Raises:
        ValueError: a key comes twice; the message names both studies.
    """
    joined: dict[K, T] = {}
    owners: dict[K, str] = {}
    for module in study_modules(name):
        for key, thing in list_pairs(module):
            if key in owners:
                raise ValueError(f"{module.__name__}: {key!r} is taken already, by {owners[key]}: choose another name")
            joined[key], owners[key] = thing, module.__name__
    return joined
