"""Tables of named things: what the package ships, and what a reader adds.

A recipe names its network, task, loss, optimiser and so on, and a result's hash must change when what is behind a name does.
What ships is known by its name, since the package's own version stands in every result. What a reader registers is known by
its name and a fingerprint: the version that was given with it, or a hash of its function's source.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module, util
from types import CodeType, ModuleType
from typing import Generic, TypeVar

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


class Registry(dict[str, T], Generic[T]):
    """Name -> thing, in the order in which they came.

    Args:
        kind: a word for messages, such as ``"network"``. shipped: what the package brings.
    """

    def __init__(self, kind: str, shipped: Mapping[str, T]):
        super().__init__(shipped)
        self.kind = kind
        self._added: dict[str, tuple[str, str]] = {}  # name -> where its function was written, its fingerprint

    def add(self, name: str, thing: T, function: Callable, version: str | None = None, settings: str = "") -> None:
        """Take in a reader's ``thing``, made from ``function``.

        The same function may come again, changed or not, as when a notebook's cell is run again.

        Args:
            version: stands for the function's source in the fingerprint; give one where the function depends on more than its
                own text, and change it when that changes.
            settings: what was given beside the function and changes numbers too, in words; part of the fingerprint.

        Raises:
            ValueError: the name is not an identifier, or is taken.
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"a {self.kind}'s name must be a Python identifier such as 'mine', got {name!r}")
        print_ = fingerprint(function, version, settings)
        origin = f"{function.__module__}.{function.__qualname__}"
        if name in self and name not in self._added:
            raise ValueError(f"the {self.kind} {name!r} is one of the package's own: choose another name")
        if name in self._added:
            before, known = self._added[name]
            if known != print_ and (before != origin or "<lambda>" in origin):
                raise ValueError(f"the {self.kind} {name!r} is registered already, from {before}: choose another name")
        self[name] = thing
        self._added[name] = (origin, print_)

    def fingerprint(self, name: str) -> str | None:
        """Of a reader's thing; None for the package's own."""
        return self._added[name][1] if name in self._added else None

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

    def export(self, name: str) -> tuple[T, tuple[str, str]] | None:
        """A reader's thing for another process; None for the package's own."""
        return (self[name], self._added[name]) if name in self._added else None

    def bring(self, name: str, exported: tuple[T, tuple[str, str]]) -> None:
        """Take in what another process has exported, in place of what is here."""
        self[name], self._added[name] = exported


def fingerprint(function: Callable, version: str | None = None, settings: str = "") -> str:
    """``version`` as it is, or the first 16 hex digits of the SHA-256 of the function's source, and of ``settings``.

    The source is the function's own text, not that of what it calls. Where there is none to be had, as for a function typed at
    Python's prompt, its compiled code stands for it.

    Raises:
        TypeError: not a function, and no version to stand for it.
    """
    if version is not None:
        return str(version)
    try:
        text = inspect.getsource(function)
    except OSError:
        text = _compiled(function.__code__)
    except TypeError:
        raise TypeError(
            f"expected a function, whose source can be read, got {type(function).__name__}: give a version= that stands for it"
        ) from None
    return hashlib.sha256((inspect.cleandoc(text) + settings).encode()).hexdigest()[:16]


def _compiled(code: CodeType) -> str:
    """A function's code and constants, with those of the functions inside it; not where it stands."""
    constants = [
        _compiled(c) if inspect.iscode(c) else repr(sorted(c, key=repr) if isinstance(c, frozenset) else c)
        for c in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def study_modules(name: str) -> list[ModuleType]:
    """The modules of that name (``"recipes"``, ``"analysis"``) of all studies that have one,
    in the order of `STUDIES`.

    They are imported here, so that whoever asks for no recipe and no claim does not wait for them.
    """
    paths = [f"richness.studies.{study}.{name}" for study in STUDIES]
    return [import_module(path) for path in paths if util.find_spec(path)]
