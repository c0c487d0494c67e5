"""What serves only some tasks and is not installed with the package: how a reader comes by it."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import PackageNotFoundError, requires


def install_command(extra: str) -> str:
    """The command that installs what an extra of ``pyproject.toml`` asks for, each package by its own name.

    Never by this project's: no registry has it, so that anyone could answer to ``richness[...]``.
    """
    try:
        listed = requires("richness") or []
    except PackageNotFoundError:  # the source alone, on a path
        return f"pip install what the extra {extra!r} of pyproject.toml lists"
    wanted = [one.partition(";")[0].strip() for one in listed if re.search(rf"extra == ['\"]{extra}['\"]", one)]
    return shlex.join(["pip", "install", *wanted])
