"""How the words after a command are read.

argparse sorts them; every value is read as text and checked afterwards where a script's values are checked too, in the
pydantic model, or by the functions below, so that each mistake has one wording.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from richness.cli.errors import Failure, Usage, suggest

_VALUE = "\0"  # before a word that is a value although it begins with a hyphen; no typed word holds it


class Parser(argparse.ArgumentParser):
    """The options of one command; what it does not understand is a :class:`Usage`."""

    def __init__(self, command: str, about: str):
        super().__init__(prog=f"richness {command}", description=about, allow_abbrev=False)
        self.register("type", None, lambda word: word.removeprefix(_VALUE))

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """The values of all options, those not given at their defaults."""
        options, unknown = self.parse_known_intermixed_args([_mark(word) for word in words])
        if not unknown:
            return options
        known = re.findall(r"--[\w-]+", self.format_usage())
        meant = next(filter(None, (suggest(word.partition("=")[0], known) for word in unknown)), "")
        listed = ", ".join(word.removeprefix(_VALUE) for word in unknown)
        raise Usage(f"not an option or value of this command: {listed}.{meant} {self._hint()}")

    def error(self, message: str) -> NoReturn:
        """argparse's own complaints: all values are text, so one is missing, or given to a switch (``--json=1``)."""
        wrong = message if "ignored explicit argument" in message else f"Missing value: {message}"
        raise Usage(f"{wrong}. {self._hint()}")

    def _hint(self) -> str:
        return f"'{self.prog} --help' lists the options."


def _mark(word: str) -> str:
    """``--batch_size`` as ``--batch-size``; marks negative values, of which argparse itself knows -1 and not -1e-3."""
    if word.startswith("--"):
        option, equals, value = word.partition("=")
        return option.replace("_", "-") + equals + value
    return _VALUE + word if re.match(r"-(\.?\d|inf|nan)", word) else word


def name_option(field: str) -> str:
    """The option of a field: ``--batch-size`` of ``batch_size``."""
    return "--" + field.replace("_", "-")


def read_whole(text: str, name: str, least: int = 0) -> int:
    """A whole number of at least ``least``."""
    if not re.fullmatch(r"[+-]?\d+", text.strip()):
        raise Usage(f"{name}: expected a whole number such as {max(least, 1)}, got {text!r}.")
    if int(text) < least:
        raise Usage(f"{name}: expected a whole number of at least {least}, got {text}.")
    return int(text)


def read_positive(text: str, name: str) -> float:
    """A positive, finite number."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise Usage(f"{name}: expected a positive number such as 0.1 or 1e-3, got {text!r}.")
    return value


def read_choice(text: str, name: str, known: Sequence[str]) -> str:
    """``text`` if it is one of ``known``; otherwise says what is, and what was probably meant."""
    if text in known:
        return text
    raise Usage(f"{name}: expected one of {', '.join(known)}; got {text!r}.{suggest(text, known)}")


def read_output(out: str, suffix: str = ".nc") -> Path:
    """A place for a result, checked before anything is computed for it; its folder is made."""
    path = Path(out).expanduser()
    if path.is_dir():
        example = path / f"sweep{suffix}"
        raise Usage(f"--out: expected a file to write, got the directory {path}; for example {example}.")
    if path.suffix != suffix:
        raise Usage(f"--out: expected a file name that ends in {suffix}, got {out!r}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"--out: cannot make the folder {path.parent} ({error.strerror}); choose another --out."
        raise Failure(problem) from error
    if not os.access(path.parent, os.W_OK):
        raise Failure(f"--out: the folder {path.parent} cannot be written to; choose another --out.")
    return path
