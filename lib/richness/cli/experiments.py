"""The options that describe an experiment: the fields of :class:`richness.runs.experiment.Experiment`, checked by it."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from richness.cli.errors import Usage, explain_validation
from richness.cli.options import Parser, name_option
from richness.networks.parameterization import reach
from richness.runs.description import Measurement, canonical
from richness.runs.experiment import Experiment

MAX_POINTS = 10_000
METAVARS = {"gammas": "X|A:B:N", "etas": "X|A:B:N", "band": "LOW HIGH"}


def add_experiment_options(parser: Parser) -> None:
    """One option a field."""
    for name, field in Experiment.model_fields.items():
        many = any(tuple in (kind, get_origin(kind)) for kind in (field.annotation, *get_args(field.annotation)))
        parser.add_argument(
            name_option(name), nargs="*" if many else None, help=_describe_field(field),
            metavar=METAVARS.get(name, (name.removesuffix("s") if many else name).upper()),
        )  # fmt: skip
    parser.add_argument(
        "--natural", action="store_true",
        help="--etas is one grid A:B:N in units of the natural η of each γ, and sets the band; boundaries are printed so too",
    )  # fmt: skip


def _describe_field(field: FieldInfo) -> str:
    """The field's description and default, for argparse, in whose texts % has a meaning."""
    default = field.default
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    ending = "(needed)" if field.is_required() else f"(default: {shown if default else 'none'})"
    return f"{field.description} {ending}".replace("%", "%%")


def read_experiment(options: Namespace) -> Experiment:
    """The experiment that the options describe."""
    given = {name: getattr(options, name) for name in Experiment.model_fields}
    values = {
        name: tuple(typed) if isinstance(typed, list) else typed for name, typed in given.items() if typed is not None
    }
    for name, typed in values.items():
        _check_number_of_values(name, typed)
    return _validate(Experiment, _from_natural(values) if options.natural else values)


def _from_natural(values: dict[str, Any]) -> dict[str, Any]:
    """--etas in units of the natural η: one axis from the least to the largest that any γ asks for, as fine as was asked for,
    and the band that leaves each γ its own."""
    typed = values.get("etas", ())
    if len(typed) != 1 or ":" not in typed[0] or "band" in values:
        raise Usage(
            f"--natural: expected --etas LOW:HIGH:POINTS, one grid, and no --band; got {' '.join(typed) or 'none'}."
        )
    asked = _validate(Experiment, values | {"gammas": values.get("gammas", ())})
    low, high = asked.etas[0], asked.etas[-1]
    natural = [float(asked.natural_eta(gamma)) for gamma in asked.gammas]
    ratio = (high / low) ** (1 / (len(asked.etas) - 1))
    first = low * min(natural)
    points = (
        math.ceil(math.log(high * max(natural) * reach(min(asked.gammas), asked.loss) / first) / math.log(ratio)) + 1
    )
    return values | {"etas": canonical(first * ratio**k for k in range(points)), "band": (low, high * (1 + 1e-9))}


def _check_number_of_values(name: str, typed: str | tuple[str, ...]) -> None:
    if name in ("gammas", "etas"):
        _refuse_too_many(typed, name_option(name))
    if name == "band" and len(typed) != 2:
        raise Usage(f"--band: expected two numbers LOW HIGH (in units of the natural η), got {len(typed)}.")
    if typed == ():
        raise Usage(f"{name_option(name)}: expected at least one value, got nothing.")


def _refuse_too_many(texts: Sequence[str], name: str) -> None:
    """Refuses 1e-3:1:1000000000 before the memory for it is asked for."""
    for text in texts:
        points = text.rpartition(":")[2]
        if ":" in text and points.isdigit() and int(points) > MAX_POINTS:
            raise Usage(f"{name}: {points} points are more than {MAX_POINTS}; give fewer in {text!r}.")


def move_to_device(described: Experiment | Measurement, device: str | None) -> Experiment | Measurement:
    """The same on another device, which is no part of its identity; None leaves its own."""
    from richness.runs.results import device_here

    if device is None:
        return described
    device = device_here(device) if device == "auto" else device
    return _validate(type(described), described.model_dump() | {"device": device})


def _validate(model: Any, values: dict[str, Any]) -> Any:
    try:
        return model(**values)
    except ValidationError as error:
        raise Usage(explain_validation(error, name_option)) from error
