"""Rerunning chapters, and adopting what another machine computed.

``rerun`` is Papermill with its gaps closed: a parameter that the chapter does not know is an error and not a warning,
values are checked as an experiment's fields are, the kernel is this interpreter, and a failing cell is named. ``adopt``
takes a result file into ``precomputed/`` after checking that it is whole and what the recipe would have made.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from richness.book.address import chapters as all_chapters
from richness.book.address import colab_cell, repository, set_address
from richness.runs.results import SCALES

__all__ = ["FIELDS", "BadParameter", "NotAdopted", "Report", "adopt", "colab_cell", "rerun", "set_address"]

START_SECONDS = 180  # for a kernel to come up: torch alone takes 10 s on a busy machine
CELL_SECONDS = 3600
# A chapter's parameter that is an experiment's grid of one value.
FIELDS = {"seed": "seeds", "gamma": "gammas", "eta": "etas", "probe": "probes", "budget": "budgets"}


class BadParameter(ValueError):
    """A chapter or a parameter that does not exist, or a value that it cannot take."""


class NotAdopted(ValueError):
    """The file is no result that ``precomputed/`` may hold; the message says why."""


@dataclass(frozen=True)
class Report:
    """What became of one chapter: seconds taken, the executed notebook, and the problem if there was one."""

    chapter: str
    seconds: float
    output: Path
    problem: str | None


@dataclass(frozen=True)
class Job:
    """One chapter, ready to run."""

    path: Path
    values: dict[str, Any]


# Rerun ---------------------------------------------------------------------------------------------------------------


def rerun(
    chapters: Sequence[str] = (),
    *,
    scale: str | None = None,
    device: str | None = None,
    parameters: Sequence[tuple[str, str]] = (),
    out: Path = Path("runs"),
    cell_seconds: int = CELL_SECONDS,
    say: Callable[[str], None] = print,
) -> list[Report]:
    """Executes chapters with Papermill. Everything is checked before the first kernel starts.

    Args:
        chapters: paths or stems (``02-phase-portrait``); none means every notebook in ``chapters/``.
        scale: smoke, laptop or paper; None leaves each chapter's own.
        device: passed to the chapters that have a ``device``.
        parameters: (name, text) pairs; the text is read as the type of the chapter's own value.
        out: folder of the executed notebooks, kept also where a cell fails.
        cell_seconds: time one cell may take.
        say: receives one line a chapter.

    Raises:
        BadParameter: a chapter, key or value that cannot be.
        pydantic.ValidationError: a value that no experiment could have.
    """
    paths = [_find(name) for name in chapters] if chapters else all_chapters()
    if not paths:
        raise BadParameter(f"there is no notebook in {repository() / 'chapters'}; run this in a whole clone.")
    jobs = _jobs(paths, scale, device, _pairs(parameters), explicit=bool(chapters))
    folder = _folder(out, paths)
    reports = []
    with _own_kernel():
        for job in jobs:
            report = _execute(job, folder / job.path.name, cell_seconds)
            say(f"{report.chapter}: {report.problem or 'ran'} ({report.seconds:.0f} s)")
            reports.append(report)
    return reports


def _find(name: str) -> Path:
    """The notebook that a path or a stem means."""
    if name.endswith(".ipynb") or os.sep in name:
        path = Path(name)
        if not path.is_file() or path.suffix != ".ipynb":
            raise BadParameter(
                f"expected a notebook (.ipynb) or a chapter's stem, got {name!r}, which is no such file."
            )
        return path
    known = {path.stem: path for path in all_chapters()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise BadParameter(f"{name!r} is no chapter; the chapters are {', '.join(known) or '(none)'}.{hint}")


def _pairs(parameters: Sequence[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, text in parameters:
        if name in given:
            raise BadParameter(f"-p {name} is given twice ({given[name]!r} and {text!r}); give it once.")
        given[name] = text
    return given


def _jobs(
    paths: Sequence[Path], scale: str | None, device: str | None, given: dict[str, str], explicit: bool
) -> list[Job]:
    """Every chapter with its checked values; ``device`` goes where it is known, a ``-p`` must be known everywhere."""
    common = {name: text for name, text in (("scale", scale), ("device", device)) if text is not None}
    for name in common:
        if name in given:
            raise BadParameter(f"give {name} once: as --{name} or as -p {name}.")
    jobs = []
    for path in paths:
        known = _parameters_of(path)
        wanted = given | {
            name: text for name, text in common.items() if name in known or (explicit and name == "device")
        }
        jobs.append(Job(path, {name: _value(path.stem, name, text, known) for name, text in wanted.items()}))
    if device is not None and not any("device" in job.values for job in jobs):
        raise BadParameter("--device was given and no chapter has a parameter 'device'; leave it out.")
    return jobs


def _parameters_of(path: Path) -> dict[str, str]:
    """name -> source text of the chapter's own value, from its cell tagged ``parameters``."""
    import logging

    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        found = papermill.inspect_notebook(str(path))
    except Exception as error:
        raise BadParameter(f"{path} is not a readable notebook ({_first_line(error)}).") from error
    return {name: str(about["default"]) for name, about in found.items()}


def _value(chapter: str, name: str, text: str, known: dict[str, str]) -> Any:
    """Reads ``text`` as the type of the chapter's own value, then checks it as an experiment would."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise BadParameter(f"{chapter} has no parameter {name!r}; it has {', '.join(known) or 'none'}.{hint}")
    value = _read_as(name, text, _literal(known[name]))
    if name == "scale" and value not in SCALES:
        raise BadParameter(f"scale: expected one of {', '.join(SCALES)}; got {text!r}.")
    _check_as_field(name, value)
    return value


def _literal(source: str) -> Any:
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return source


def _read_as(name: str, text: str, default: Any) -> Any:
    """``text`` in the type of ``default``; ``1e-3`` is a number wherever a number is expected."""
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise BadParameter(f"{name}: expected true or false, got {text!r}.")
        return text.lower() == "true"
    if isinstance(default, int):
        if not re.fullmatch(r"[+-]?\d+", text.strip()):
            raise BadParameter(f"{name}: expected a whole number such as {default}, got {text!r}.")
        return int(text)
    if isinstance(default, float):
        return _finite(name, text, default)
    if isinstance(default, list | tuple):
        items = [part for part in re.split(r"[\s,]+", text.strip(" ()[]")) if part]
        if not items:
            raise BadParameter(
                f"{name}: expected values such as {', '.join(map(str, default)) or '1, 2'}; got nothing."
            )
        like = default[0] if default else text
        return [_read_as(name, item.strip("\"'"), like) for item in items]
    return text


def _finite(name: str, text: str, default: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BadParameter(f"{name}: expected a number such as {default}, got {text!r}.") from None
    if not math.isfinite(value):
        raise BadParameter(f"{name}: expected a finite number such as {default}, got {text!r}.")
    return value


def _check_as_field(name: str, value: Any) -> None:
    """Lets an experiment judge the value, where the parameter is one of its fields."""
    from richness.runs.experiment import Experiment

    field = FIELDS.get(name, name)
    if field in Experiment.model_fields:
        plain: dict[str, Any] = {"gammas": (1.0,), "etas": (0.1,)}
        Experiment(**(plain | {field: value}))


def _folder(out: Path, paths: Sequence[Path]) -> Path:
    """The folder of the executed notebooks: made, writable, and not where the chapters themselves lie."""
    if out.exists() and not out.is_dir():
        raise BadParameter(f"--out: expected a folder for the executed notebooks, got the file {out}.")
    if any(path.resolve().parent == out.resolve() for path in paths):
        raise BadParameter(
            f"--out: {out} holds the chapters themselves, which would be overwritten; choose another folder."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise BadParameter(f"--out: cannot write into {out} ({error.strerror}); choose another folder.") from error
    return out


@contextlib.contextmanager
def _own_kernel() -> Iterator[None]:
    """Makes ``python3`` mean this interpreter, whatever kernels the machine has; RICHNESS_BOOK says a book runs."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "kernels" / "python3"
        spec.mkdir(parents=True)
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec.joinpath("kernel.json").write_text(
            json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}), encoding="utf-8"
        )
        paths = os.pathsep.join(filter(None, [folder, os.environ.get("JUPYTER_PATH")]))
        with _environment(RICHNESS_BOOK="1", JUPYTER_PATH=paths, PYDEVD_DISABLE_FILE_VALIDATION="1"):
            yield


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _execute(job: Job, output: Path, cell_seconds: int) -> Report:
    import papermill

    started = time.monotonic()
    problem = None
    try:
        papermill.execute_notebook(
            str(job.path),
            str(output),
            parameters=job.values,
            kernel_name="python3",
            cwd=str(job.path.parent),
            execution_timeout=cell_seconds,
            start_timeout=START_SECONDS,
            progress_bar=sys.stderr.isatty(),
        )
    except papermill.PapermillExecutionError as error:
        line = next((line for line in str(error.source).splitlines() if line.strip()), "")
        problem = f"cell [{error.exec_count}] ({line.strip()!r}) ended in {error.ename}: {_first_line(error.evalue)}"
    except Exception as error:  # a kernel that died or never came up, a cell out of time
        problem = f"{type(error).__name__}: {_first_line(error)}"
    if problem:
        problem += f"; the executed notebook is kept at {output}" if output.exists() else ""
    return Report(job.path.stem, time.monotonic() - started, output, problem)


def _first_line(error: object) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


# Adopt ---------------------------------------------------------------------------------------------------------------


def adopt(file: Path) -> str:
    """Checks a result that another machine computed and copies it into ``precomputed/<scale>/``.

    Returns:
        One sentence on what changed against the stored result.

    Raises:
        NotAdopted: not a whole result, not of a known recipe, at smoke scale, or with values that cannot be.
    """
    from richness.runs import results
    from richness.runs.recipes import RECIPES

    if not file.is_file():
        raise NotAdopted(
            f"expected a result file (.nc), got {file}, which is {'a folder' if file.is_dir() else 'not there'}."
        )
    try:
        offered = results.read(file)
    except Exception as error:
        why = _first_line(error).rstrip(".")
        raise NotAdopted(f"{file} is not a whole result: {why}. Copy it again from where it was made.") from error
    name, scale = str(offered.attrs.get("recipe_name", "")), str(offered.attrs.get("scale", ""))
    if name not in RECIPES:
        raise NotAdopted(f"{file} names the recipe {name or '(none)'}; expected one of {', '.join(sorted(RECIPES))}.")
    if scale not in SCALES[1:]:
        raise NotAdopted(f"{file} was made at scale {scale or '(none)'}; precomputed/ holds laptop and paper only.")
    expected = RECIPES[name](scale)
    _check_identity(file, offered, expected)
    if "kind" not in offered.attrs:
        _check_values(file, offered)
    if results.checkout() is None:
        raise NotAdopted("precomputed/ is part of a clone of the repository; run this in one.")
    place = results.precomputed_path(name, scale)
    change = _change(place, offered)
    _copy_whole(file, place)
    return f"{place}: {change}"


def _check_identity(file: Path, offered: Any, expected: Any) -> None:
    stated = str(offered.attrs.get("recipe_hash", ""))
    try:
        described = type(expected).model_validate_json(offered.attrs["recipe"]).hash
    except (KeyError, ValueError) as error:
        raise NotAdopted(f"{file} carries no readable recipe ({_first_line(error)}); compute it again.") from error
    if described != stated:
        raise NotAdopted(f"{file} says its recipe has hash {stated[:12]}, but it has {described[:12]}: it was altered.")
    if stated != expected.hash:
        raise NotAdopted(
            f"{file} was made by recipe {stated[:12]}; here that recipe is now {expected.hash[:12]}. "
            "Bring both machines to the same commit and run 'richness precompute' there again."
        )


def _check_values(file: Path, offered: Any) -> None:
    """What no honest sweep could hold: unknown statuses, no run that ended, a missing loss where one was recorded."""
    import numpy as np

    status = offered.status.values
    if not np.isin(status, (0, 1, 2)).all():
        raise NotAdopted(f"{file} has statuses other than ok, diverged and not_run.")
    if not (status == 0).any():
        raise NotAdopted(f"{file} has no cell that came to its end.")
    losses = offered.loss.transpose("gamma", "eta", "seed", "step").values
    if not np.isfinite(losses[status == 0]).all() or not np.isfinite(offered.late_loss.values[status == 0]).all():
        raise NotAdopted(f"{file} has cells called ok whose loss is not finite.")
    if np.isfinite(offered.late_loss.values[status != 0]).any():
        raise NotAdopted(f"{file} has a late loss where a cell diverged or did not run.")


def _change(place: Path, offered: Any) -> str:
    """What the offered result changes against the stored one, in words."""
    import numpy as np

    from richness.runs import results

    if not place.exists():
        return "new here."
    try:
        stored = results.read(place)
    except results.ResultError:
        return "replaced a file that could not be read."
    if stored.attrs.get("recipe_hash") != offered.attrs.get("recipe_hash"):
        return "replaced the result of another recipe."
    if "kind" in offered.attrs:
        return f"same recipe; {'the same numbers' if offered.equals(stored) else 'other numbers'}."
    both = (stored.status.values == 0) & (offered.status.values == 0)
    flipped = int((stored.status.values != offered.status.values).sum())
    old, new = stored.late_loss.values[both], offered.late_loss.values[both]
    largest = float(np.max(np.abs(new - old) / np.maximum(np.abs(old), 1e-12))) if both.any() else 0.0
    return f"same recipe; {flipped} cells changed status, late losses by at most {largest:.2g} of their value."


def _copy_whole(source: Path, place: Path) -> None:
    """Copies so that a reader sees the old file or the new one, never half of one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=place.parent, delete=False, suffix=".part") as part:
        temporary = Path(part.name)
    try:
        shutil.copyfile(source, temporary)
        temporary.chmod(0o644)
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)
