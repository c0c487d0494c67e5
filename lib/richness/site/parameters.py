"""The parameters of chapters: what a chapter takes, what was given for it, and the sets of them that stand in files.

Everything that is given arrives as text, from the command line as from YAML, and is read in the type of the chapter's own
value: so ``1e-3`` is a number wherever a number is expected, and a mistake has the same words on either road. Fields of an
experiment are then checked by the experiment itself, all of a chapter's at once.
"""

from __future__ import annotations

import ast
import difflib
import logging
import math
import re
from collections.abc import Hashable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from richness.runs.description import log_grid
from richness.runs.places import SCALES
from richness.runs.recipes import pick_given
from richness.runs.results import device_here
from richness.site.address import chapters as all_chapters
from richness.site.places import repository

# A chapter's parameter that is an experiment's grid of one value.
FIELDS = {"seed": "seeds", "gamma": "gammas", "eta": "etas", "probe": "probes", "budget": "budgets"}

LONGEST = 2**17  # bytes of a set's file


class BadParameter(ValueError):
    """A chapter or a parameter that does not exist, or a value that it cannot take."""


# Sets in files -------------------------------------------------------------------------------------------------------


class ParameterSet(BaseModel):
    """A file of ``chapters/parameters/``: one way to run the whole book, under version control.

    ``scale``, ``device`` and ``seed`` go to every chapter that has them; ``chapters`` adds what one chapter alone takes;
    ``minutes`` says how long each takes on the machine that the set is for.
    All values are text here, as they were written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = ""
    about: str = ""
    scale: str | None = None
    device: str | None = None
    seed: str | None = None
    chapters: dict[str, dict[str, str | list[str]]] = {}
    minutes: dict[str, str] = {}

    @property
    def common(self) -> dict[str, str]:
        """What is meant for all chapters."""
        given = {"scale": self.scale, "device": self.device, "seed": self.seed}
        return {name: text for name, text in given.items() if text is not None}


def read_set(name: str) -> ParameterSet:
    """Reads a set: a path, or the stem of a file in ``chapters/parameters/``.

    Raises:
        BadParameter: no such file, no YAML, a key or a chapter that does not exist, or one key with two values.
    """
    path = _set_file(name)
    found = _read_yaml(path, "--parameters")
    if not isinstance(found, dict):
        raise BadParameter(f"--parameters: expected keys such as 'scale: smoke' in {path}, got {found!r}.")
    try:
        given = ParameterSet.model_validate(
            {key: value or {} if key == "chapters" else value for key, value in found.items()}
        )
    except ValidationError as error:
        raise BadParameter(f"--parameters: {path}: {_wording(error)}") from error
    given = given.model_copy(update={"name": path.stem})
    stems = [chapter.stem for chapter in all_chapters()] if given.chapters else []  # a set alone needs no clone
    for chapter, own in given.chapters.items():
        if chapter not in stems:
            raise BadParameter(f"--parameters: {path}: {chapter!r} is no chapter.{_perhaps(chapter, stems)}")
        for twice in given.common.keys() & own.keys():
            raise BadParameter(
                f"--parameters: {path}: {twice} stands at the top ({given.common[twice]}) and under {chapter} "
                f"({own[twice]}); give it once."
            )
    return given


def _read_yaml(path: Path, option: str) -> Any:
    """A file's YAML, every scalar as text."""
    try:
        return yaml.load(_text_of(path, option), Loader=_Text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise BadParameter(f"{option}: {path} is no readable YAML ({' '.join(str(error).split())}).") from error


def _set_file(name: str) -> Path:
    if name.endswith((".yml", ".yaml")) or "/" in name:
        path = Path(name).expanduser()
        if not path.is_file():
            raise BadParameter(f"--parameters: expected a YAML file, got {name!r}, which is no such file.")
        return path
    folder = repository() / "chapters" / "parameters"
    known = {path.stem: path for path in sorted(folder.glob("*.yml"))}
    if name not in known:
        raise BadParameter(
            f"--parameters: expected a YAML file or one of {', '.join(known) or '(none)'}; got {name!r}."
            f"{_perhaps(name, list(known))}"
        )
    return known[name]


def _text_of(path: Path, option: str) -> str:
    """The text of a set's file, which is short."""
    with open(path, "rb") as file:
        read = file.read(LONGEST + 1)
    if len(read) > LONGEST:
        raise BadParameter(f"{option}: expected a set of parameters, got {path}, which has over {LONGEST} bytes.")
    return read.decode()


class _Text(yaml.BaseLoader):
    """YAML whose every scalar is the text that was written; a key that stands twice is an error, and so is an alias: a few
    lines of them can stand for any number of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, f"expected a value, got the alias *{event.anchor}; write the value itself", event.start_mark
            )
        return super().compose_node(parent, index)


def _mapping(loader: _Text, node: yaml.MappingNode) -> dict[Hashable, Any]:
    found: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"expected a name, got {key!r}", key_node.start_mark)
        if key in found:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key!r} is given twice; give it once", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Text.add_constructor("tag:yaml.org,2002:map", _mapping)


def _wording(error: ValidationError) -> str:
    mistake = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        known = [name for name in ParameterSet.model_fields if name != "name"]
        return (
            f"{place} is no key of a parameter set, which has {', '.join(known)}.{_perhaps(place, known)} What one "
            "chapter takes stands under chapters, by the chapter's stem."
        )
    wanted = "a value or a list of values" if place.startswith("chapters.") else f"one value, as in '{place}: 0'"
    got = mistake["input"]
    several = f"the list {', '.join(map(str, got))}; --grid runs several" if isinstance(got, list) else repr(got)
    return f"{place}: expected {wanted}, got {several}."


# Values --------------------------------------------------------------------------------------------------------------


def pairs(parameters: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The ``-p`` of a command line as a mapping.

    Raises:
        BadParameter: one is given twice.
    """
    given: dict[str, str] = {}
    for name, text in parameters:
        if name in given:
            raise BadParameter(f"-p {name} is given twice ({given[name]!r} and {text!r}); give it once.")
        given[name] = text
    return given


def read_values(path: Path) -> list[tuple[str, str]]:
    """(name, text) of every parameter in a YAML file of ``name: value``, as Papermill's own ``-f`` takes it.

    Raises:
        BadParameter: no such file, no YAML, or no mapping of values.
    """
    found = _read_yaml(path.expanduser(), "-y")
    if not isinstance(found, dict) or any(isinstance(value, dict) for value in found.values()):
        raise BadParameter(
            f"-y: expected lines such as 'depth: 4' in {path}; a whole set of parameters is for --parameters."
        )
    return [(name, " ".join(value) if isinstance(value, list) else value) for name, value in found.items()]


def read_grid(text: str) -> tuple[str, list[str]]:
    """``name=values``: values apart by commas, ``0:5`` for whole numbers from 0 to 4, ``0.1:100:4`` for a log-spaced grid.

    Raises:
        BadParameter: not of that form.
    """
    name, equals, values = text.partition("=")
    try:
        parts = values.split(":")
        if not (name and equals and values):
            raise ValueError(f"got {text!r}")
        if len(parts) == 2:
            read = [str(number) for number in range(int(parts[0]), int(parts[1]))]
        else:
            read = [str(value) for value in log_grid(values)] if len(parts) == 3 else values.split(",")
        if not all(read) or not read or len(set(read)) < len(read):
            raise ValueError(f"got {text!r}, which has no value, an empty one or one twice")
    except ValueError as error:
        raise BadParameter(f"--grid: expected name=values such as depth=2,4 or seed=0:5; {error}.") from None
    return name, read


def combine(given: Mapping[str, str], grid: Sequence[str]) -> list[dict[str, str]]:
    """What is given with every combination of a grid's values; the last name's values vary fastest.

    Raises:
        BadParameter: a name that stands twice.
    """
    axes = [read_grid(text) for text in grid]
    names = [*given, *(name for name, _ in axes)]
    for name in names:
        if names.count(name) > 1:
            raise BadParameter(f"{name} is given twice; give it once, with -p, in -y or in --grid.")
    keys = [name for name, _ in axes]
    return [dict(given) | dict(zip(keys, values, strict=True)) for values in product(*(values for _, values in axes))]


def defaults(path: Path) -> dict[str, Any]:
    """A chapter's own values, from its cell tagged ``parameters``.

    Raises:
        BadParameter: not a notebook.
    """
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        found = papermill.inspect_notebook(str(path))
    except Exception as error:
        raise BadParameter(f"{path} is not a readable notebook ({first_line(error)}).") from error
    return {name: _literal(str(about["default"])) for name, about in found.items()}


def first_line(error: object) -> str:
    """What an error says first; its kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def values_for(path: Path, given: Mapping[str, str | Sequence[str]]) -> dict[str, Any]:
    """What is given for a chapter, read in the types of its own values and checked together with those it keeps.

    Raises:
        BadParameter: a name that it does not have, or a value of another kind.
        pydantic.ValidationError: values that no experiment could have, alone or beside each other.
    """
    known = defaults(path)
    for name in given:
        if name not in known:
            raise BadParameter(
                f"{path.stem} has no parameter {name!r}; it has {', '.join(known) or 'none'}.{_perhaps(name, list(known))}"
            )
    values = {name: _read_as(name, text, known[name]) for name, text in given.items()}
    if values.get("scale", SCALES[0]) not in SCALES:
        raise BadParameter(f"scale: expected one of {', '.join(SCALES)}; got {values['scale']!r}.")
    if "device" in values:
        try:
            device_here(values["device"])
        except ValueError as error:
            raise BadParameter(str(error)) from error
    _check_as_experiment(known | values)
    return values


def _check_as_experiment(values: Mapping[str, Any]) -> None:
    """Lets an experiment judge all that are its fields, beside each other; what else has a point, a threshold, is positive."""
    from richness.runs.experiment import Experiment

    for name, value in values.items():
        if isinstance(value, float) and FIELDS.get(name, name) not in Experiment.model_fields and value <= 0:
            raise BadParameter(f"{name}: expected a positive number, got {value:g}.")
    given = pick_given(**{name: value for name, value in values.items() if name != "device"})
    fields = {FIELDS.get(name, name): value for name, value in given.items()}
    plain: dict[str, Any] = {"gammas": (1.0,), "etas": (0.1,)}
    Experiment(**(plain | {name: value for name, value in fields.items() if name in Experiment.model_fields}))


def _literal(source: str) -> Any:
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return source


def _read_as(name: str, text: str | Sequence[str], default: Any) -> Any:
    """``text`` in the type of ``default``; ``1e-3`` is a number wherever a number is expected."""
    if isinstance(default, list | tuple):
        items = (
            text if not isinstance(text, str) else [part for part in re.split(r"[\s,]+", text.strip(" ()[]")) if part]
        )
        if not items:
            raise BadParameter(
                f"{name}: expected values such as {', '.join(map(str, default)) or '1, 2'}; got nothing."
            )
        like = default[0] if default else items[0]
        return [_read_as(name, item.strip("\"'"), like) for item in items]
    if not isinstance(text, str):
        raise BadParameter(f"{name}: expected one value such as {default}, got the list {', '.join(text) or '[]'}.")
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise BadParameter(f"{name}: expected true or false, got {text!r}.")
        return text.lower() == "true"
    if isinstance(default, int):
        if not re.fullmatch(r"[+-]?\d+", text.strip()):
            raise BadParameter(f"{name}: expected a whole number such as {default}, got {text!r}.")
        return int(text)
    return _finite(name, text, default) if isinstance(default, float) else text


def _finite(name: str, text: str, default: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BadParameter(f"{name}: expected a number such as {default}, got {text!r}.") from None
    if not math.isfinite(value):
        raise BadParameter(f"{name}: expected a finite number such as {default}, got {text!r}.")
    return value


def _perhaps(text: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else ""
