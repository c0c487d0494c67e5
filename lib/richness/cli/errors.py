"""What a command says when it fails: one sentence of what was expected, what came, and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

MOST_MISTAKES = 3  # that are told at once


class Usage(ValueError):
    """The command was not understood, or a value makes no sense: exit status 2."""


class Failure(RuntimeError):
    """The command made sense and could not be carried out: exit status 1."""


def suggest(text: str, known: Iterable[str]) -> str:
    """``" Did you mean ...?"`` where something known is near, else nothing."""
    near = difflib.get_close_matches(text, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def join_lines(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def explain_error(error: Exception) -> str:
    """One sentence for any error; those of this package and of values say it themselves."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return explain_validation(error)
    ours = type(error).__module__.partition(".")[0] == "richness"
    if (ours or isinstance(error, ValueError)) and str(error):
        return _end_sentence(join_lines(error))
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name!r} is missing; 'make setup' in a clone or the wheel of a release brings it."
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}."
    return f"{type(error).__name__}: {join_lines(error)}. RICHNESS_DEBUG=1 before the command shows where."


def explain_validation(error: ValidationError, name_field: Callable[[str], str] = str) -> str:
    """One sentence a mistake that pydantic found; ``name_field`` turns a field's name into what was typed."""
    mistakes = sorted(error.errors(include_url=False), key=lambda one: one["type"] == "missing")  # wrong, then absent
    said: dict[str, None] = {}  # an ordered set: a grid of bad values is told once
    for mistake in mistakes:
        field = name_field(str(mistake["loc"][0])) if mistake["loc"] else ""
        said.setdefault(f"{field}: {_explain_mistake(mistake)}" if field else _explain_mistake(mistake))
    rest = len(said) - MOST_MISTAKES
    return " ".join(list(said)[:MOST_MISTAKES]) + (f" ({rest} more)" if rest > 0 else "")


# pydantic's kind of mistake -> our words, with its context filled in; any other kind speaks for itself.
_EXPECTED = {
    "extra_forbidden": "is not a field of an experiment; look for a misspelling",
    "int_parsing": "expected a whole number written in digits, such as 1000",
    "int_from_float": "expected a whole number",
    "int_type": "expected a whole number",
    "float_parsing": "expected a number such as 0.1 or 1e-3",
    "float_type": "expected a number such as 0.1 or 1e-3",
    "finite_number": "expected a finite number",
    "greater_than": "expected a number greater than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "too_short": "expected at least {min_length} value(s)",
    "too_long": "expected at most {max_length} value(s)",
    "literal_error": "expected {expected}",
    "enum": "expected {expected}",
}


def _explain_mistake(mistake: Any) -> str:
    kind, got, context = mistake["type"], mistake.get("input"), mistake.get("ctx", {})
    if kind == "missing":
        return "is needed and was not given."
    if kind in ("value_error", "assertion_error"):
        return _end_sentence(re.sub(r"^(Value error|Assertion failed), ", "", mistake["msg"]).strip())
    said = mistake["msg"][:1].lower() + mistake["msg"][1:]
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else said
    choices = re.findall(r"'([^']+)'", context["expected"]) if kind == "literal_error" else []
    return f"{expected}, got {got!r}.{suggest(got, choices) if isinstance(got, str) else ''}"


def _end_sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else text + "."
