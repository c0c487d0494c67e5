"""Where a result comes from, in words under its figures."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from html import escape

import xarray as xr

from richness.runs.places import SCALES
from richness.runs.recipes import names, recipe
from richness.runs.results import data_hash, recipe_fields, recipe_of

OPTIONS = ("network", "depth", "width", "activation", "loss", "task", "optimizer", "batch_size", "steps", "dtype")


def command(runs: xr.Dataset) -> str:
    """The command line that makes a result again: by its recipe's name where that recipe makes it, else field by field."""
    name, scale = runs.attrs["recipe_name"], runs.attrs["scale"]
    if loop := recipe_fields(runs).get("loop"):
        return f"richness.plane({loop}, ...)"
    if "kind" in runs.attrs:  # no sweep: only its recipe makes it
        return f"richness precompute {name} --scale {scale}"
    if scale in SCALES[1:] and name in names(scale) and recipe(name, scale).hash == runs.attrs["recipe_hash"]:
        return f"richness precompute {name} --scale {scale}"
    return sweep_command(runs)


def sweep_command(runs: xr.Dataset, out: str = "result.nc") -> str:
    """The ``richness sweep`` line of a result's recipe, every field that matters spelled out."""
    experiment = recipe_of(runs)
    words = ["richness", "sweep"]
    for name in OPTIONS:
        words += [f"--{name.replace('_', '-')}", str(getattr(experiment, name))]
    for name in ("momentum", "schedule", "warmup"):
        if getattr(experiment, name) != type(experiment).model_fields[name].default:
            words += [f"--{name}", str(getattr(experiment, name))]
    for name in ("gammas", "etas", "seeds", "probes", "budgets"):
        values = getattr(experiment, name)
        if values:
            words += [f"--{name}", *(repr(v) if isinstance(v, float) else str(v) for v in values)]
    for name in ("record_points", "probe_points", "probe_samples"):
        value = getattr(experiment, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    if experiment.band is not None:
        words += ["--band", *(repr(v) for v in experiment.band)]
    return shlex.join([*words, "--out", out])


def drawer(sources: Sequence[xr.Dataset]) -> str:
    """A folded list under a figure, a line a result: what it was made from, where, how long it took, and the command."""
    if not sources:
        return ""
    lines = "\n".join(f"<li>{_line(runs)}</li>" for runs in sources)
    count = "one result" if len(sources) == 1 else f"{len(sources)} results"
    return f'<details class="richness-made"><summary>Drawn from {count}</summary><ul>\n{lines}\n</ul></details>'


def _line(runs: xr.Dataset) -> str:
    attrs = runs.attrs
    commit = attrs["git_commit"].removeprefix("version ")[:10] + (" with changes" if attrs["git_dirty"] else "")
    told = [
        f"<code>{escape(attrs['recipe_name'] or 'unnamed')}</code>, {escape(attrs['scale'] or 'no scale')}",
        f"recipe {escape(attrs['recipe_hash'][:12])}, data {data_hash(runs)[:12]}",
        f"seeds {escape(', '.join(map(str, json.loads(attrs['seeds']))))}",
        f"commit {escape(commit)}",
        f"{escape(str(attrs['device']))}, {escape(str(attrs['dtype']))}, {attrs['wall_seconds']:.0f} s",
        f"<code>{escape(command(runs))}</code>",
    ]
    return "; ".join(told)


class Provenance:
    """A folded table of a result's recipe, commit, device and packages, with the command that makes it again.

    Args:
        runs: a result, as :func:`richness.load` or :func:`richness.sweep` give it.
    """

    def __init__(self, runs: xr.Dataset):
        self.runs = runs

    @property
    def title(self) -> str:
        """What stands where the table is folded."""
        return self.rows()["recipe"]

    def rows(self) -> dict[str, str]:
        """What is told, in order."""
        attrs, packages = self.runs.attrs, json.loads(self.runs.attrs["packages"])
        engine = "; ".join(attrs[key] for key in ("engine", "engine_reason") if key in attrs)
        commit = attrs["git_commit"] + (" with uncommitted changes" if attrs["git_dirty"] else "")
        return {
            "recipe": f"{attrs['recipe_name'] or 'unnamed'}, scale {attrs['scale'] or 'none'}",
            "recipe's hash": attrs["recipe_hash"],
            "data's hash": data_hash(self.runs),
            "seeds": ", ".join(map(str, json.loads(attrs["seeds"]))),
            "device and precision": f"{attrs['device']}, {attrs['dtype']}",
            **({"engine": engine} if engine else {}),
            "commit": commit,
            "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
            "made": f"{attrs['date']}, {attrs['wall_seconds']:.0f} s of work ({attrs['cpu_seconds']:.0f} s of processor)",
            "make it again": command(self.runs),
        }

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.rows().items())

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row">{escape(name)}</th><td><code>{escape(value)}</code></td></tr>'
            for name, value in self.rows().items()
        )
        title = escape(self.title)
        return (
            f'<details class="richness-provenance"><summary>Provenance: {title}</summary>'
            f'<div class="richness-scroll"><table><tbody>{rows}</tbody></table></div></details>'
        )
