"""Rerunning chapters: Papermill with its gaps closed.

A parameter that the chapter does not know is an error and not a warning, values are checked as an experiment's fields are
(`richness.site.parameters`), the kernel is this interpreter, and a failing cell is named. Each executed notebook says what it
was made with, and each run leaves a line in a log: a book that was stopped half-way goes on with the chapters it lacks.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from richness.runs import places, results
from richness.runs.locks import lock_folder
from richness.site.address import chapters as all_chapters
from richness.site.address import colab_cell, set_address
from richness.site.parameters import (
    BadParameter,
    ParameterSet,
    combine,
    defaults,
    first_line,
    pairs,
    read_set,
    values_for,
)
from richness.site.places import repository

__all__ = ["Report", "colab_cell", "rerun", "set_address"]

START_SECONDS = 180  # for a kernel to come up: torch alone takes 10 s on a busy machine
CELL_SECONDS = 3600


@dataclass(frozen=True)
class Report:
    """What became of one chapter: how it ended (``ok``, ``failed``, or ``kept``: it was made before), the seconds taken,
    the executed notebook, and the problem if there was one."""

    chapter: str
    outcome: str
    seconds: float
    output: Path
    problem: str | None = None


@dataclass(frozen=True)
class Job:
    """One chapter, ready to run: what is injected, all of its parameters with those that it keeps, and, of a variant, what was
    given for it, in words."""

    path: Path
    values: dict[str, Any]
    parameters: dict[str, Any]
    made_with: dict[str, Any]
    given: str = ""

    @property
    def output_name(self) -> str:
        """Of the executed notebook; a variant's has a hash of its parameters, so that none overwrites another."""
        told = hashlib.sha256(json.dumps(self.parameters, sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.path.stem}-{told}.ipynb" if self.given else self.path.name


def rerun(
    chapters: Sequence[str] = (),
    *,
    scale: str | None = None,
    device: str | None = None,
    parameters: Sequence[tuple[str, str]] = (),
    parameter_set: str | None = None,
    grid: Sequence[str] = (),
    workers: int = 1,
    out: Path = Path("runs"),
    log: Path | None = None,
    again: bool = False,
    cell_seconds: int = CELL_SECONDS,
    say: Callable[[str], None] = print,
) -> list[Report]:
    """Executes chapters with Papermill. Everything is checked before the first kernel starts.

    Args:
        chapters: paths or stems (``02-phase-portrait``); none means every notebook in ``chapters/``.
        scale: smoke, laptop or paper; None leaves the set's, or each chapter's own.
        device: passed to the chapters that have a ``device``.
        parameters: (name, text) pairs; the text is read as the type of the chapter's own value. They win over the set's.
        parameter_set: a YAML file, or the stem of one in ``chapters/parameters/``.
        grid: ``name=values``, see :func:`~richness.site.parameters.read_grid`; every combination is a variant. The
            executed notebook of a variant, or of a chapter with ``parameters`` of its own, has a hash of its parameters in
            its name.
        workers: notebooks executed at a time.
        out: folder of the executed notebooks, kept also where a cell fails.
        log: file that gets one line of JSON a chapter; ``log.jsonl`` in ``out`` if None.
        again: run also the chapters whose executed notebook in ``out`` is whole and was made by the same commit with the
            same parameters.
        cell_seconds: time one cell may take.
        say: receives one line a chapter.

    Raises:
        BadParameter: a chapter, key or value that cannot be.
        ResultError: another rerun writes into that folder, or the log cannot be written.
        pydantic.ValidationError: a value that no experiment could have.
    """
    paths = [_find(name) for name in chapters] if chapters else all_chapters()
    if not paths:
        raise BadParameter(f"there is no notebook in {repository() / 'chapters'}; run this in a whole clone.")
    chosen = read_set(parameter_set) if parameter_set else ParameterSet()
    jobs = [
        job
        for given in combine(pairs(parameters), grid)
        for job in _jobs(paths, scale, device, given, chosen, explicit=bool(chapters))
    ]
    folder = _folder(out.expanduser(), paths)
    record = log.expanduser() if log else folder / "log.jsonl"
    reports: list[Report] = []
    with (
        lock_folder(folder, f"another rerun writes into {folder}; let it finish, or choose another --out"),
        _own_kernel(),
    ):
        try:
            for job, report in _carry_out(jobs, folder, again, cell_seconds, workers):
                _note(record, job, report, chosen.name)
                variant = f"{len(reports) + 1} of {len(jobs)}, {job.given}, " if job.given else ""
                say(f"{variant}{report.output.stem}: {_said(report)}")
                reports.append(report)
        except KeyboardInterrupt as stop:
            stop.add_note(f"the chapters that were executed are kept in {folder}; to go on:")
            raise
    return reports


def _carry_out(
    jobs: Sequence[Job], folder: Path, again: bool, cell_seconds: int, workers: int
) -> Iterator[tuple[Job, Report]]:
    """Every job with what became of it, in their order; several at a time, each in a thread that waits for its kernel."""

    def carry_out_one(job: Job) -> Report:
        output = folder / job.output_name
        if not again and _stands(output, job):
            return Report(job.path.stem, "kept", 0, output)
        return _execute(job, output, cell_seconds)

    if workers == 1:
        yield from ((job, carry_out_one(job)) for job in jobs)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        yield from zip(jobs, pool.map(carry_out_one, jobs), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _said(report: Report) -> str:
    if report.outcome == "kept":
        return f"made before with the same parameters and commit, kept ({report.output}); --again runs it"
    return f"{report.problem or 'ran'} ({report.seconds:.0f} s)"


def _find(name: str) -> Path:
    """The notebook that a path or a stem means."""
    if name.endswith(".ipynb") or os.sep in name:
        path = Path(name).expanduser()
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


def _jobs(
    paths: Sequence[Path],
    scale: str | None,
    device: str | None,
    given: dict[str, str],
    chosen: ParameterSet,
    explicit: bool,
) -> list[Job]:
    """Every chapter with its checked values: what is meant for all goes where it is known, a ``-p`` must be known by all."""
    options = {name: text for name, text in (("scale", scale), ("device", device)) if text is not None}
    for name in options:
        if name in given:
            raise BadParameter(f"give {name} once: as --{name} or as -p {name}.")
    common = chosen.common | options
    said = " ".join(f"{name}={text}" for name, text in given.items())
    code = {"commit": results.git_state()[0], "changes": _changes()}
    jobs = []
    for path in paths:
        known = defaults(path)
        wanted = {name: text for name, text in common.items() if name in known or (explicit and name in options)}
        values = values_for(path, {**wanted, **chosen.chapters.get(path.stem, {}), **given})
        jobs.append(Job(path, values, known | values, _made_with(path, known | values, code), said))
    for name in options:
        if not any(name in job.values for job in jobs):
            raise BadParameter(f"--{name} was given and no chapter has a parameter {name!r}; leave it out.")
    return jobs


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
    """Runs the chapter beside its place, and puts it there once it is whole: what stood before stays until then."""
    part = output.with_name(f".{output.name}")
    started = time.monotonic()
    problem = None
    try:
        part.unlink(missing_ok=True)
        problem = _run(job, part, cell_seconds)
        results.write_whole(output, _whole(part, job if problem is None else None))
        part.unlink()
        problem = f"{problem}; the executed notebook is kept at {output}" if problem else None
    except (OSError, ValueError, results.ResultError) as error:  # the disk is full, or nothing whole was left
        why = " ".join(str(error).split())
        stays = f"; what stood at {output} is kept" if output.exists() else ""
        problem = f"{problem or 'it was executed'}, and no whole notebook could be written to {part}: {why}{stays}"
        with contextlib.suppress(OSError):
            part.unlink()
    return Report(job.path.stem, "failed" if problem else "ok", time.monotonic() - started, output, problem)


def _run(job: Job, part: Path, cell_seconds: int) -> str | None:
    """Executes the chapter into ``part``; the problem in words, if there was one.

    Raises:
        OSError: ``part`` could not be written.
    """
    import papermill

    try:
        papermill.execute_notebook(
            str(job.path),
            str(part),
            parameters=job.values,
            kernel_name="python3",
            cwd=str(job.path.parent),
            execution_timeout=cell_seconds,
            start_timeout=START_SECONDS,
            progress_bar=sys.stderr.isatty(),
        )
    except papermill.PapermillExecutionError as error:
        line = next((line for line in str(error.source).splitlines() if line.strip()), "")
        return f"cell [{error.exec_count}] ({line.strip()!r}) ended in {error.ename}: {first_line(error.evalue)}"
    except OSError:
        raise
    except Exception as error:  # a kernel that died or never came up, a cell out of time
        return f"{type(error).__name__}: {first_line(error)}"
    return None


def _whole(part: Path, job: Job | None) -> bytes:
    """The executed notebook, signed with what it was made with where it came to its end.

    Raises:
        OSError, ValueError: it is not there, or is no whole notebook.
    """
    import nbformat

    notebook = nbformat.read(part, nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    if job is not None:
        notebook["metadata"]["richness"] = job.made_with
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


# What stands already, and what was done ------------------------------------------------------------------------------


def _made_with(path: Path, parameters: dict[str, Any], code: dict[str, str]) -> dict[str, Any]:
    """What an executed chapter depends on: its own text, its parameters, and the code and results of this checkout."""
    return {"chapter": hashlib.sha256(path.read_bytes()).hexdigest(), "parameters": parameters, **code}


def _changes() -> str:
    """A hash of what was changed in the package and the results since the commit; empty where nothing was."""
    root = places.checkout()
    if root is None:
        return ""
    command = ["git", "-C", str(root), "diff", "HEAD", "--", "lib", "precomputed"]
    said = subprocess.run(command, capture_output=True, check=False).stdout
    return hashlib.sha256(said).hexdigest() if said else ""


def _stands(output: Path, job: Job) -> bool:
    """Whether the executed notebook is whole and was made with the same: then it need not be made again."""
    try:
        found = json.loads(output.read_text(encoding="utf-8"))
        return found["metadata"]["richness"] == json.loads(json.dumps(job.made_with))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _note(record: Path, job: Job, report: Report, name: str) -> None:
    """One line of JSON in the log, on disk before the next chapter begins."""
    version, dirty = results.git_state()
    device = job.parameters.get("device")
    line = {
        "chapter": report.chapter,
        "outcome": report.outcome,
        "seconds": round(report.seconds, 1),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "set": name,
        "parameters": job.parameters,
        "commit": version,
        "dirty": dirty,
        "machine": f"{_place()}, Python {platform.python_version()}",
        "device": results.device_name(results.device_here(device)) if device else "",
        "problem": report.problem,
        "notebook": str(report.output),
    }
    results.append_line(record, json.dumps(line, ensure_ascii=False))


def _place() -> str:
    """Where this runs: Colab's image, GitHub's machine, or a machine of one's own."""
    if Path("/datalab").exists() or os.environ.get("COLAB_RELEASE_TAG"):
        return "Colab's image"
    return "GitHub" if os.environ.get("GITHUB_ACTIONS") == "true" else "own machine"
