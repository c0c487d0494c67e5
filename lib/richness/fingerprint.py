"""What a function depends on, as a hash: its code, what it closes over, its defaults, and the globals that it names.

Two closures of one factory have one source and different values; a function that is edited on disk after its import has
another source than what runs. So what is hashed is what runs: compiled code, and the values that it reaches, through other
functions of a reader's too. What is installed (torch, numpy, this package) is known by its name.

Where a value cannot be told (an open file, a lock, a generator), a fingerprint would be a guess, and is refused.
"""

from __future__ import annotations

import copyreg
import dis
import enum
import hashlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), range, Path, np.generic, np.dtype)
HOME = Path(__file__).parent
LIBRARIES = tuple(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def fingerprint(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of a value, and of all that it depends on.

    The same in other processes, and under other versions of Python as far as they compile to the same code.

    Raises:
        TypeError: it depends on something whose value cannot be told; the message names it.
    """
    total = hashlib.sha256()
    for piece in _Walk().pieces(value, "it"):
        total.update(len(piece).to_bytes(8, "little") + piece)
    return total.hexdigest()[:16]


def reaches(function: Any, kind: type) -> bool:
    """Whether a value of that kind is among what a function depends on; True too where that cannot be told."""
    walk = _Walk(kind)
    try:
        return any(walk.met for _ in walk.pieces(function, "it")) or walk.met
    except TypeError:
        return True


class _Walk:
    """One pass over a value. A function, class or object that was met before is named by its place in the order."""

    def __init__(self, kind: type | None = None):
        self.order: dict[int, int] = {}
        self.alive: list[Any] = []  # what `order` knows by its id, which nothing else may be given meanwhile
        self.kind, self.met = kind, False

    def pieces(self, value: Any, path: str) -> Iterator[bytes]:
        self.met |= self.kind is not None and isinstance(value, self.kind)
        if isinstance(value, enum.Enum):
            yield f"{_name(type(value))} {value.name}".encode()
        elif isinstance(value, PLAIN):
            yield f"{type(value).__name__} {value!r}".encode()
        elif isinstance(value, CodeType):
            yield from self._code(value, path)
        elif type(value) in (tuple, list):
            yield type(value).__name__.encode()
            yield from self._all(value, path)
        elif isinstance(value, Set):
            yield from [b"set", *sorted(b"".join(_Walk().pieces(one, path)) for one in value)]
        elif id(value) in self.order:
            yield f"met {self.order[id(value)]}".encode()
        else:
            self.order[id(value)] = len(self.order)
            self.alive.append(value)
            yield from self._parts(value, path)

    def _parts(self, value: Any, path: str) -> Iterator[bytes]:
        """Of what may contain itself."""
        if isinstance(value, ModuleType):
            yield value.__name__.encode()
        elif isinstance(value, FunctionType):
            yield from [_name(value).encode()] if _is_known_by_name(value) else self._function(value, path)
        elif isinstance(value, type):
            yield from [_name(value).encode()] if _is_known_by_name(value) else self._class(value, path)
        elif isinstance(value, MethodType):
            yield from self._all((value.__func__, value.__self__), path)
        elif isinstance(value, BuiltinFunctionType):
            yield _name(value).encode()
            yield from self.pieces(value.__self__, path)
        elif isinstance(value, Mapping):
            yield from self._mapping(value, path)
        elif hasattr(value, "__array__") and hasattr(value, "shape"):
            yield from self._array(value)
        else:
            yield from self._object(value, path)

    def _all(self, values: Any, path: str) -> Iterator[bytes]:
        yield str(len(values)).encode()
        for value in values:
            yield from self.pieces(value, path)

    def _mapping(self, value: Mapping, path: str) -> Iterator[bytes]:
        yield f"{_name(type(value))} {len(value)}".encode()
        for key, each in value.items():
            yield from self.pieces(key, path)
            yield from self.pieces(each, f"{key!r} of {path}")

    def _array(self, value: Any) -> Iterator[bytes]:
        value = value.detach().cpu() if hasattr(value, "detach") else value
        held = np.asarray(value if getattr(value, "dtype", None) is None else _as_numpy(value))
        yield f"{held.dtype} {held.shape}".encode()
        yield repr(held.tolist()).encode() if held.dtype == object else np.ascontiguousarray(held).tobytes()

    def _code(self, code: CodeType, path: str) -> Iterator[bytes]:
        """Its instructions, names and constants; not where it stands."""
        yield code.co_code
        yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_flags)).encode()
        yield from self._all(code.co_consts, path)

    def _function(self, function: FunctionType, path: str) -> Iterator[bytes]:
        yield from self._code(function.__code__, path)
        yield from self._all((function.__defaults__, function.__kwdefaults__), f"a default of {path}")
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                held = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            yield from self.pieces(held, f"{name}, which {path} closes over,")
        if not _is_installed(function):
            for name in sorted(_globals_named(function.__code__) & function.__globals__.keys()):
                yield from self._global(function, name, path)

    def _global(self, function: FunctionType, name: str, path: str) -> Iterator[bytes]:
        """A global that a function names; of a reader's own module, what of it is named."""
        value = function.__globals__[name]
        yield name.encode()
        yield from self.pieces(value, f"{name}, a global that {path} names,")
        if isinstance(value, ModuleType) and not _is_installed(value):
            for part in sorted(_attributes_named(function.__code__) & vars(value).keys()):
                yield part.encode()
                yield from self.pieces(vars(value)[part], f"{name}.{part}")

    def _class(self, value: type, path: str) -> Iterator[bytes]:
        yield value.__qualname__.encode()
        yield from self._all(value.__bases__, path)
        for name, part in sorted(vars(value).items()):
            inner = part.fget if isinstance(part, property) else getattr(part, "__func__", part)
            if isinstance(inner, FunctionType) or (isinstance(inner, PLAIN) and not name.startswith("__")):
                yield name.encode()
                yield from self.pieces(inner, f"{value.__name__}.{name}")

    def _object(self, value: Any, path: str) -> Iterator[bytes]:
        """By what a pickle would keep of it: its class and its state, or the name under which it can be imported."""
        try:
            own = copyreg.dispatch_table.get(type(value))
            kept = own(value) if own else value.__reduce_ex__(2)
        except Exception as error:
            raise TypeError(
                f"what it does depends on {path} of type {type(value).__name__}, whose value cannot be told ({error}): "
                "give a version= that stands for the function, and change it when that changes"
            ) from error
        if isinstance(kept, str):
            yield f"{getattr(value, '__module__', None)}.{kept}".encode()
        else:
            yield from self._all([list(part) if isinstance(part, Iterator) else part for part in kept], path)


def _as_numpy(value: Any) -> Any:
    """A tensor of a dtype that numpy lacks (bfloat16) in one that holds it."""
    return value.double() if str(value.dtype) == "torch.bfloat16" else value


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', value)}"


def _is_installed(value: Any) -> bool:
    """Whether a function, class or module belongs to Python, to an installed package or to this one."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    module = sys.modules.get(name or "")
    if module is None or name == "__main__":
        return False
    file = getattr(module, "__file__", None)
    if file is None:
        return True  # compiled into Python
    path = Path(file)
    return HOME in path.parents or any(root in path.parents for root in LIBRARIES) or "dist-packages" in path.parts


def _is_known_by_name(value: Any) -> bool:
    """Whether its name says all: it is installed, and was not made by another function."""
    return _is_installed(value) and "<" not in value.__qualname__


def _globals_named(code: CodeType) -> set[str]:
    """Of a function and those inside it."""
    loads = {str(one.argval) for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return loads.union(*[_globals_named(inner) for inner in code.co_consts if isinstance(inner, CodeType)])


def _attributes_named(code: CodeType) -> set[str]:
    return set(code.co_names).union(
        *[_attributes_named(inner) for inner in code.co_consts if isinstance(inner, CodeType)]
    )
