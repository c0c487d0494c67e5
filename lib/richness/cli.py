"""The commands. One function a command; the options of `sweep` are the fields of `Experiment`, with its own checks.

Every failure is one sentence on stderr (what was expected, what came, what to do). Exit status: 0 done; 1 it could not
be done; 2 the command was not understood; 130 stopped by Ctrl-C. `RICHNESS_DEBUG=1` shows the traceback as well.

The command-line reader (tyro) is given strings only: they are read and checked where a script's values are checked too,
in the pydantic model. Heavy imports (torch) stay inside the commands, so that help is instant.
"""

import contextlib
import difflib
import functools
import inspect
import io
import json as json_module
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pydantic
import tyro

__all__ = ["Failure", "Usage", "main", "sentences"]

# torch reads these when it is first imported; two OpenMP threads beside a busy process cost far more than they give.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

SCALES = ("smoke", "laptop", "paper")
MAX_POINTS = 10_000
SCHEDULER_PATIENCE = 30  # seconds until a Dask scheduler must have answered: it may have to be started first
Words = tyro.conf.Positional[tuple[str, ...]]
Switch = tyro.conf.FlagCreatePairsOff[bool]


class Usage(ValueError):
    """The command was not understood, or a value makes no sense: exit status 2."""


class Failure(RuntimeError):
    """The command made sense and could not be carried out: exit status 1."""


# ---------------------------------------------------------------------------------------------------- reading values


def whole(text: str, name: str, least: int = 0) -> int:
    """Reads a whole number of at least `least`."""
    if not re.fullmatch(r"[+-]?\d+", text.strip()):
        raise Usage(f"{name}: expected a whole number such as {max(least, 1)}, got {text!r}.")
    if int(text) < least:
        raise Usage(f"{name}: expected a whole number of at least {least}, got {text}.")
    return int(text)


def number(text: str, name: str) -> float:
    """Reads a positive, finite number."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise Usage(f"{name}: expected a positive number such as 0.1 or 1e-3, got {text!r}.")
    return value


def choice(text: str, name: str, known: Sequence[str]) -> str:
    """Returns `text` if it is one of `known`; otherwise says what is, and what was probably meant."""
    if text in known:
        return text
    raise Usage(f"{name}: expected one of {', '.join(known)}; got {text!r}.{_perhaps(text, known)}")


def _perhaps(text: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(text, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""


# ------------------------------------------------------------------------------------------------- saying what failed


def sentences(error: pydantic.ValidationError, option: Callable[[str], str] = str) -> str:
    """Turns what pydantic found into one sentence a mistake; `option` turns a field's name into what was typed."""
    found: dict[str, None] = {}  # an ordered set: a grid of bad values is told once
    mistakes = sorted(error.errors(include_url=False), key=lambda one: one["type"] == "missing")  # wrong, then absent
    for mistake in mistakes:
        place = [str(part) for part in mistake["loc"]]
        where = option(place[0]) if place else ""
        found.setdefault(f"{where}: {_wording(mistake)}" if where else _wording(mistake))
    said = list(found)
    return " ".join(said[:3]) + (f" ({len(said) - 3} more)" if len(said) > 3 else "")


def _wording(mistake: Any) -> str:
    kind, got, context = mistake["type"], mistake.get("input"), mistake.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        text = re.sub(r"^(Value error|Assertion failed), ", "", mistake["msg"]).strip()
        return text if text.endswith((".", "?", "!")) else text + "."
    expected = {
        "missing": "is needed and was not given",
        "extra_forbidden": "is not a field of an experiment; look for a misspelling",
        "int_parsing": "expected a whole number written in digits, such as 1000",
        "int_from_float": "expected a whole number",
        "int_type": "expected a whole number",
        "float_parsing": "expected a number such as 0.1 or 1e-3",
        "float_type": "expected a number such as 0.1 or 1e-3",
        "finite_number": "expected a finite number",
        "greater_than": f"expected a number greater than {context.get('gt')}",
        "greater_than_equal": f"expected at least {context.get('ge')}",
        "less_than": f"expected less than {context.get('lt')}",
        "less_than_equal": f"expected at most {context.get('le')}",
        "too_short": f"expected at least {context.get('min_length')} value(s)",
        "too_long": f"expected at most {context.get('max_length')} value(s)",
        "literal_error": f"expected {context.get('expected')}",
        "enum": f"expected {context.get('expected')}",
    }.get(kind, mistake["msg"][:1].lower() + mistake["msg"][1:])
    hint = ""
    if kind == "literal_error" and isinstance(got, str):
        hint = _perhaps(got, re.findall(r"'([^']+)'", str(context.get("expected"))))
    return f"{expected}{'' if kind == 'missing' else f', got {got!r}'}.{hint}"


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _reader_sentence(boxed: str, command: str) -> str:
    """The command-line reader draws its complaint as a box; this makes a sentence of it."""
    lines = [line.strip(" │") for line in boxed.splitlines() if not line.startswith(("╭", "╰"))]
    parts = [part.strip() for part in re.split(r"─{8,}", " ".join(lines))]
    said = parts[0].rstrip(".") + "."
    meant = re.search(r"Perhaps you meant:\s*(-\S+?)[,\s]", boxed.replace("│", " ") + " ")
    if meant:
        said += f" Did you mean {meant.group(1)}?"
    if said.startswith("Unrecognized options"):
        said = said.replace("Unrecognized options", "not an option or value of this command")
    return f"{said} 'richness {command} --help' lists the options."


# -------------------------------------------------------------------------------------------------------- the commands


def _fields_as_options(model: type[pydantic.BaseModel]) -> type[pydantic.BaseModel]:
    """The same fields, each read as text: numbers are then checked by `model` itself, with one wording."""
    options: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        annotation = field.annotation
        kinds = [annotation, *get_args(annotation)]
        many = any(get_origin(kind) in (tuple, list) or kind in (tuple, list) for kind in kinds)
        about = field.description or ""
        default = field.get_default(call_default_factory=True) if not field.is_required() else None
        shown = " ".join(map(str, default)) if isinstance(default, (tuple, list)) else str(default)
        about += " (needed)" if field.is_required() else f" (default: {shown if default else 'none'})"
        one = name.removesuffix("s").upper() if many else name.upper()
        metavar = {"band": "LOW HIGH", "gammas": "X|A:B:N ...", "etas": "X|A:B:N ..."}.get(
            name, f"{one} ..." if many else one
        )
        argument = tyro.conf.arg(help=about.strip(), help_behavior_hint="", metavar=metavar)
        kind = tuple[str, ...] | None if many else str | None
        options[name] = (Annotated[kind, argument], None)
    return pydantic.create_model("ExperimentOptions", **options)


def _experiment(given: dict[str, Any]) -> Any:
    """Builds the experiment from the options as they were typed."""
    from richness.runs.experiment import Experiment

    values: dict[str, Any] = {}
    for name, text in given.items():
        if text is None:
            continue
        if name in ("gammas", "etas"):
            _not_too_many(text, _option(name))
        if name == "band" and len(text) != 2:
            raise Usage(f"--band: expected two numbers LOW HIGH (in units of the natural η), got {len(text)}.")
        if text == ():
            raise Usage(f"{_option(name)}: expected at least one value, got nothing.")
        values[name] = text
    try:
        return Experiment(**values)
    except pydantic.ValidationError as error:
        raise Usage(sentences(error, _option)) from error


def _not_too_many(texts: Sequence[str], name: str) -> None:
    """Refuses 1e-3:1:1000000000 before the memory for it is asked for."""
    for text in texts:
        points = text.rpartition(":")[2]
        if ":" in text and points.isdigit() and int(points) > MAX_POINTS:
            raise Usage(f"{name}: {points} points are more than {MAX_POINTS}; give fewer in {text!r}.")


def _output(out: str, suffix: str = ".nc") -> Path:
    """Checks a place for a result before anything is computed for it."""
    path = Path(out).expanduser()
    if path.is_dir():
        raise Usage(
            f"--out: expected a file to write, got the directory {path}; for example {path / f'sweep{suffix}'}."
        )
    if path.suffix != suffix:
        raise Usage(f"--out: expected a file name that ends in {suffix}, got {out!r}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(
            f"--out: cannot make the folder {path.parent} ({error.strerror}); choose another --out."
        ) from error
    if not os.access(path.parent, os.W_OK):
        raise Failure(f"--out: the folder {path.parent} cannot be written to; choose another --out.")
    return path


def _is_done(path: Path, recipe_hash: str) -> bool:
    """True if `path` holds this experiment already; an unreadable file or another recipe's is an error."""
    if not path.exists():
        return False
    from richness.runs import results

    try:
        stored = results.read(path)
    except results.ResultError as error:
        raise Failure(
            f"{path} exists and is not a whole result ({_one_line(error)}). Move it away or choose another --out."
        ) from error
    if stored.attrs.get("recipe_hash") != recipe_hash:
        raise Failure(
            f"{path} holds another experiment (recipe {str(stored.attrs.get('recipe_hash'))[:12]}, not "
            f"{recipe_hash[:12]}). Move it away or choose another --out."
        )
    return True


@contextlib.contextmanager
def _executor(workers: int, scheduler: str | None = None) -> Iterator[Any]:
    """A Dask cluster where a scheduler is named; else None for one worker (in this process), or that many processes."""
    if scheduler is not None:
        with _cluster(scheduler) as client:
            yield client.get_executor()
        return
    if workers == 1:
        yield None
        return
    import multiprocessing
    import signal
    from concurrent.futures import ProcessPoolExecutor

    # Ctrl-C reaches the whole group; the workers leave the answer to this process, which ends them.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    pool.shutdown()


@contextlib.contextmanager
def _cluster(scheduler: str) -> Iterator[Any]:
    """A client of the Dask scheduler at that address; the cluster itself is left as it is."""
    try:
        import distributed
    except ImportError as error:
        raise Failure('--scheduler needs Dask, which is not installed: pip install "richness[cluster]".') from error
    try:
        client = distributed.Client(scheduler, timeout=SCHEDULER_PATIENCE, set_as_default=False)
    except OSError as error:
        raise Failure(
            f"--scheduler: nothing answers at {scheduler} within {SCHEDULER_PATIENCE} s; see that 'dask scheduler' runs "
            "there and that this machine can reach it."
        ) from error
    with client:
        yield client


def _processes(workers: str, scheduler: str | None) -> int:
    """Checks --workers, and --scheduler, which makes it superfluous."""
    count = whole(workers, "--workers", least=1)
    if scheduler is None:
        return count
    if not re.fullmatch(r"((tcp|tls|ws|wss|ucx)://)?(\[[\da-fA-F:]+\]|[\w.-]+):\d{1,5}", scheduler):
        raise Usage(f"--scheduler: expected an address such as tcp://host:8786, got {scheduler!r}.")
    if count > 1:
        raise Usage("--scheduler: the cluster there has its own workers; leave --workers out.")
    return count


def _sweep_and_save(
    experiment: Any, path: Path, workers: int, scheduler: str | None, name: str = "", scale: str = ""
) -> None:
    """Runs every cell of the experiment, or every seed of a measurement, and writes the result."""
    from richness.runs.experiment import Experiment
    from richness.runs.recipes import carry_out

    about = f"{experiment.title}, {len(experiment.seeds)} seeds"
    if isinstance(experiment, Experiment):
        about = f"{len(experiment.cells())} cells × {len(experiment.seeds)} seeds × {experiment.steps} steps"
    _run_and_save(functools.partial(carry_out, name=name, scale=scale), experiment, about, path, workers, scheduler)


def _run_and_save(
    run: Callable[..., Any], experiment: Any, about: str, path: Path, workers: int, scheduler: str | None
) -> Any:
    """Runs with finished shards kept beside `path`, writes `path` whole, then drops the shards; returns what came out."""
    import shutil

    from richness.runs import results

    if scheduler is None:  # else the device is one of the workers'
        _check_device(experiment.device)
    store = path.with_suffix(".parts")
    with _executor(workers, scheduler) as executor, _alone(store, path), _progress(path.stem) as progress:
        print(f"{path.stem}: {about}", file=sys.stderr, flush=True)
        try:
            runs = run(experiment, executor=executor, store=store, progress=progress)
            results.save(runs, path)
        except KeyboardInterrupt as stop:
            stop.add_note(f"What is finished is kept in {store}; to go on:")
            raise
        shutil.rmtree(store, ignore_errors=True)
    print(f"{path}: {_counts(runs)}")
    for line in _costs(runs):
        print(line)
    return runs


@contextlib.contextmanager
def _alone(store: Path, path: Path) -> Iterator[None]:
    """Refuses a second command that would write `path` while a first one does; a killed one holds nothing back."""
    import filelock

    lock = filelock.FileLock(store / ".lock", blocking=False)
    try:
        store.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise Failure(f"another command is at work on {path}; let it finish, or choose another --out.") from error
    except OSError as error:
        raise Failure(f"cannot write {store} ({error.strerror or error}); choose another --out.") from error
    try:
        yield
    finally:
        lock.release()


def _check_device(device: str) -> None:
    """Refuses a device that torch does not see, before any work is begun."""
    from richness.runs.results import device_here

    try:
        device_here(device)
    except ValueError as error:
        raise Usage(f"--device: {error}.") from error


def _counts(runs: Any) -> str:
    if "status" not in runs:
        return f"{runs.sizes['seed']} seeds"
    names = str(runs.status.attrs["flag_meanings"]).split()
    return ", ".join(f"{int((runs.status.values == flag).sum())} {name}" for flag, name in enumerate(names))


def _costs(runs: Any) -> list[str]:
    """What each probe of a sweep has cost, the dearest first."""
    seconds, share = (json_module.loads(runs.attrs.get(key, "{}")) for key in ("probe_seconds", "probe_share"))
    dearest = sorted(seconds, key=seconds.__getitem__, reverse=True)
    return [f"{name} {1e3 * seconds[name]:.3g} ms a cell and step, {share[name]:.0%} of the time" for name in dearest]


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Callable[[Any], None]]:
    """A bar where someone is looking; in a log, a line every tenth."""
    if sys.stderr.isatty():
        from richness.runs.sweep import progress_bar

        yield progress_bar(name)
        return
    told = 0

    def tell(state: Any) -> None:
        nonlocal told
        if state.done * 10 // state.total > told:
            told = state.done * 10 // state.total
            print(f"{name}: {10 * told} %, {state}", file=sys.stderr, flush=True)

    yield tell


def _sweep_command() -> Callable[..., int]:
    from richness.runs.experiment import Experiment

    options: Any = _fields_as_options(Experiment)

    def sweep(
        experiment: Annotated[options, tyro.conf.arg(name="")],  # type: ignore[valid-type]
        out: Annotated[str | None, tyro.conf.arg(metavar="FILE.nc", help_behavior_hint="")] = None,
        workers: str = "1",
        scheduler: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="")] = None,
    ) -> int:
        """One sweep over the γ–η plane, resumable. Grids are numbers or start:stop:points, log-spaced.

        Args:
            out: where the result goes (default: runs/sweep-<hash>.nc)
            workers: processes to share the work; with 1, this process takes every core
            scheduler: of a Dask cluster to do the work, such as tcp://host:8786
        """
        described = _experiment({name: getattr(experiment, name) for name in Experiment.model_fields})
        processes = _processes(workers, scheduler)
        path = _output(out or f"runs/sweep-{described.hash[:12]}.nc")
        if _is_done(path, described.hash):
            print(f"{path} holds this experiment already; nothing to do.")
            return 0
        _sweep_and_save(described, path, processes, scheduler)
        return 0

    return sweep


def _search_command() -> Callable[..., int]:
    from richness.runs.experiment import Experiment

    options: Any = _fields_as_options(Experiment)

    def search(
        experiment: Annotated[options, tyro.conf.arg(name="")],  # type: ignore[valid-type]
        boundaries: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")] = (),
        per_decade: str = "12",
        guard: str = "1",
        out: Annotated[str | None, tyro.conf.arg(metavar="FILE.nc", help_behavior_hint="")] = None,
        workers: str = "1",
        scheduler: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="")] = None,
    ) -> int:
        """The boundaries of the γ–η plane between the smallest and the largest η, without the plane; resumable.

        Args:
            boundaries: eta_max, eta_min, eta_crit (default: all)
            per_decade: points a decade of the grid of η that boundaries are placed on
            guard: runs before a boundary that must show nothing
            out: where the cells that were run go (default: runs/search-<hash>.nc)
            workers: processes to share the work; with 1, this process takes every core
            scheduler: of a Dask cluster to do the work, such as tcp://host:8786
        """
        from richness.runs import search as room

        described = _experiment({name: getattr(experiment, name) for name in Experiment.model_fields})
        processes = _processes(workers, scheduler)
        sought: dict[str, Any] = {
            "boundaries": [
                choice(name, "--boundaries", list(room.APPROACHES)) for name in boundaries or room.APPROACHES
            ],
            "per_decade": whole(per_decade, "--per-decade", least=1),
            "guard": whole(guard, "--guard"),
        }
        recipe_hash = room.identity(described, **sought)
        path = _output(out or f"runs/search-{recipe_hash[:12]}.nc")
        if _is_done(path, recipe_hash):
            print(f"{path} holds this search already; nothing to do.")
            return 0
        about = f"boundaries at {len(described.gammas)} γ × {len(described.seeds)} seeds, {described.steps} steps"
        runs = _run_and_save(
            functools.partial(room.search, **sought), described, about, path, processes, scheduler
        )  # fmt: skip
        print(
            f"{runs.cells_run} of {runs.cells_full_grid} cells were run.\n{_boundary_table(runs, sought['boundaries'])}"
        )
        return 0

    return search


def _boundary_table(runs: Any, names: Sequence[str]) -> str:
    """The boundaries at every γ, geometric mean over the seeds that saw them, η_min for the whole run."""
    import numpy as np

    from richness.analysis import boundaries

    found = boundaries.boundaries(runs)[list(names)]
    found = found.sel(budget=runs.step.values[-1]) if "budget" in found.dims else found
    means = found.map(np.log10).mean("seed")
    rows = [
        {"gamma": float(gamma)} | {name: 10 ** float(means[name].sel(gamma=gamma)) for name in names}
        for gamma in runs.gamma
    ]
    return _table(rows, ("gamma", *names))


def _precompute_command() -> Callable[..., int]:
    def precompute(
        recipes: Words = (),
        /,
        scale: str = "laptop",
        workers: str = "1",
        scheduler: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="")] = None,
        device: Annotated[str | None, tyro.conf.arg(metavar="DEVICE", help_behavior_hint="")] = None,
        dry_run: Switch = False,
    ) -> int:
        """Fills precomputed/ with the named recipes; with no name, with all that are stale but those on downloaded data.

        Args:
            recipes: names of recipes
            scale: smoke (goes to runs/), laptop or paper
            workers: processes to share the work; with 1, this process takes every core
            scheduler: of a Dask cluster to do the work, such as tcp://host:8786
            device: auto, cpu, cuda or cuda:0 (default: the recipe's own)
            dry_run: only say what is stale
        """
        from richness.runs.recipes import all_recipes, paper_recipes, recipe

        choice(scale, "--scale", SCALES)
        processes = _processes(workers, scheduler)
        for name in recipes:
            if name in paper_recipes() and scale != "paper":
                raise Usage(
                    f"RECIPE: {name} has the paper's own data and sizes: it is a recipe at --scale paper alone."
                )
            choice(name, "RECIPE", sorted({*all_recipes(), *paper_recipes()}))
        stale = 0
        for name in recipes or sorted(all_recipes()):
            experiment = _on(recipe(name, scale), device)
            path = _place(name, scale)
            reason = _staleness(path, experiment)
            if reason is None:
                print(f"{name} at {scale}: up to date ({path})")
                continue
            stale += 1
            print(f"{name} at {scale}: {reason}{'' if dry_run else '; computing'}", flush=True)
            if not dry_run:
                _sweep_and_save(experiment, path, processes, scheduler, name, scale)
        print(f"{stale} stale" if dry_run else f"{stale} computed")
        return 0

    return precompute


def _on(experiment: Any, device: str | None) -> Any:
    """The same experiment on another device, which is no part of its identity."""
    if device is None:
        return experiment
    if device == "auto":
        from richness.runs.results import device_here

        device = device_here(device)
    try:
        return type(experiment)(**(experiment.model_dump() | {"device": device}))
    except pydantic.ValidationError as error:
        raise Usage(sentences(error, _option)) from error


def _place(name: str, scale: str) -> Path:
    """Where a recipe's result belongs: smoke never goes under precomputed/."""
    from richness.runs import results

    if scale == "smoke":
        return results.runs_folder() / "smoke" / f"{name}.nc"
    if results.checkout() is None:
        raise Failure("precomputed/ is part of a clone of the repository; run this in one, or use 'richness sweep'.")
    return results.precomputed_path(name, scale)


def _staleness(path: Path, experiment: Any) -> str | None:
    """Why the stored result must be made anew, or None if it need not."""
    if not path.exists():
        return "not there yet"
    from richness.runs import results

    try:
        stored = results.read(path)
    except results.ResultError as error:
        return f"not readable ({_one_line(error)})"
    return None if stored.attrs.get("recipe_hash") == experiment.hash else "made by another recipe"


def _rerun_command() -> Callable[..., int]:
    def rerun(
        chapters: Words = (),
        /,
        scale: Annotated[str | None, tyro.conf.arg(metavar="SCALE", help_behavior_hint="")] = None,
        device: Annotated[str | None, tyro.conf.arg(metavar="DEVICE", help_behavior_hint="")] = None,
        parameter: Annotated[
            tyro.conf.UseAppendAction[tuple[tuple[str, str], ...]],
            tyro.conf.arg(aliases=["-p"], metavar="NAME VALUE", help="sets one parameter of the chapter"),
        ] = (),
        parameters: Annotated[str | None, tyro.conf.arg(metavar="SET", help_behavior_hint="")] = None,
        out: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs",
        log: Annotated[str | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None,
        again: Switch = False,
    ) -> int:
        """Executes chapters with Papermill, their parameters checked first. No name means all chapters.

        Args:
            chapters: paths or stems, such as 02-phase-portrait
            scale: smoke (seconds), laptop (what precomputed/ holds), paper (a GPU); default: each chapter's own
            device: auto, cpu, cuda, cuda:1, mps
            parameters: a YAML file of parameters, or one of chapters/parameters/: smoke, laptop, t4, paper
            out: where the executed notebooks go
            log: gets a line of JSON a chapter (default: log.jsonl in DIR)
            again: also what was executed before with the same parameters and commit
        """
        from richness.site import notebooks
        from richness.site.parameters import FIELDS

        if scale is not None:
            choice(scale, "--scale", SCALES)
        parameter_of = {field: name for name, field in FIELDS.items()}
        try:
            reports = notebooks.rerun(
                chapters, scale=scale, device=device, parameters=parameter, parameter_set=parameters, out=Path(out),
                log=Path(log) if log else None, again=again,
            )  # fmt: skip
        except notebooks.BadParameter as error:
            raise Usage(str(error)) from error
        except pydantic.ValidationError as error:
            raise Usage(sentences(error, lambda field: f"-p {parameter_of.get(field, field)}")) from error
        rows = [
            {"chapter": one.chapter, "seconds": round(one.seconds), "result": one.outcome, "notebook": str(one.output)}
            for one in reports
        ]
        print("\n" + _table(rows, ("chapter", "seconds", "result", "notebook"), widest=80))
        failed = [one for one in reports if one.problem]
        if failed:
            raise Failure("; ".join(f"{one.chapter} failed: {one.problem}" for one in failed) + ".")
        return 0

    return rerun


def _adopt_command() -> Callable[..., int]:
    def adopt(file: tyro.conf.Positional[str], /, force: Switch = False) -> int:
        """Checks a result from another machine and puts it into precomputed/.

        Args:
            file: the .nc file that `richness precompute` wrote there
            force: also where it contradicts what is stored, once you know why
        """
        from richness.site.adopting import adopt

        print(adopt(Path(file), force=force))
        return 0

    return adopt


def _status_command() -> Callable[..., int]:
    def status(logs: Words = ()) -> int:
        """When each chapter last ran from top to bottom; logs of reruns are taken into that record first.

        Args:
            logs: files that `richness rerun` wrote (log.jsonl)
        """
        from richness.site import status as room

        if logs:
            room.record(Path(log) for log in logs)
        print(_table(room.status().rows(), ("chapter", *SCALES, room.COLAB), widest=80))
        return 0

    return status


def _ledger_command() -> Callable[..., int]:
    def ledger(json: Switch = False) -> int:
        """Every claim of the paper with its prediction, what was measured here, and the verdict.

        Args:
            json: a list of rows for a machine
        """
        from richness.analysis.ledger import ledger as rows_of

        rows = _rows(rows_of())
        if json:
            print(json_module.dumps(rows, ensure_ascii=False, indent=2, default=str))
            return 0
        print(_table(rows, ("id", "part", "claim", "predicted", "measured", "interval", "verdict")))
        return 0

    return ledger


def _rows(ledger: Any) -> list[dict[str, Any]]:
    if hasattr(ledger, "to_dict"):
        return ledger.to_dict(orient="records")
    return [row if isinstance(row, dict) else row._asdict() if hasattr(row, "_asdict") else vars(row) for row in ledger]


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str], widest: int = 48) -> str:
    """A plain table, columns aligned, long cells cut with an ellipsis."""

    def cell(value: Any) -> str:
        text = "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
        return text if len(text) <= widest else text[: widest - 1] + "…"

    body = [[cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in [list(columns), *body]) for i in range(len(columns))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in
             [list(columns), ["-" * width for width in widths], *body]]  # fmt: skip
    return "\n".join(lines)


def _advise_command() -> Callable[..., int]:
    def advise(
        depth: Annotated[str, tyro.conf.arg(metavar="L")] = "3",
        loss: Annotated[str, tyro.conf.arg(metavar="LOSS")] = "mse",
        gamma: Annotated[str, tyro.conf.arg(metavar="GAMMA")] = "1",
        width: Annotated[str, tyro.conf.arg(metavar="N")] = "64",
        batch_size: Annotated[str, tyro.conf.arg(metavar="B")] = "64",
        steps: Annotated[str, tyro.conf.arg(metavar="T")] = "1000",
        optimizer: Annotated[str, tyro.conf.arg(metavar="NAME")] = "sgd",
        outputs: Annotated[str, tyro.conf.arg(metavar="K")] = "10",
        json: Switch = False,
    ) -> int:
        """Which η to use: a range of at most one decade, from the measured portraits.

        Args:
            depth: weight layers, 2 to 6
            loss: mse or cross_entropy
            gamma: richness, 1e-4 to 1e4
            width: units a hidden layer; it moves lr_raw only
            batch_size: fresh samples a step, 16 to 256
            steps: the budget in updates
            optimizer: sgd, momentum, signsgd or adam
            outputs: of the network; under mse gradients fall with their number
            json: for a machine
        """
        from dataclasses import asdict

        from richness.networks import LOSSES, OPTIMIZERS
        from richness.studies.adviser import analysis as adviser

        counts = {"width": width, "batch_size": batch_size, "steps": steps, "outputs": outputs}
        setting: dict[str, Any] = {name: whole(text, _option(name), 1) for name, text in counts.items()}
        setting["optimizer"] = choice(optimizer, "--optimizer", tuple(OPTIMIZERS))
        loss = choice(loss, "--loss", tuple(LOSSES))
        try:
            advice = adviser.advise(whole(depth, "--depth", 2), loss, number(gamma, "--gamma"), **setting)
        except ValueError as error:
            raise Usage(str(error)) from error
        print(json_module.dumps(asdict(advice), ensure_ascii=False) if json else advice)
        return 0

    return advise


def _bench_command() -> Callable[..., int]:
    def bench(
        json: Switch = False,
        quick: Switch = False,
        only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = (),
        out: Annotated[str | None, tyro.conf.arg(metavar="FILE.json", help_behavior_hint="")] = None,
    ) -> int:
        """Ratios against the peers, measured now: first that all give the same numbers, then their times, in turns.

        Args:
            json: the report for a machine
            quick: tiny sizes, to see that all agree; its times mean nothing
            only: these jobs (default: all)
            out: write the report there as well
        """
        measure = _benchmarks()
        place = _output(out, ".json") if out else None
        found = measure(only, quick, lambda line: print(f"bench: {line}", file=sys.stderr, flush=True))
        text = json_module.dumps(found, ensure_ascii=False, indent=1)
        if place:
            place.write_text(text + "\n")
        rows = found["rows"]
        print(text if json else _bench_table(rows))
        broken = [f"{row['name']}: {row['failed']}" for row in rows if row["failed"]]
        if broken:
            raise Failure(f"not everything could be measured. {'; '.join(broken)}.")
        return 0

    return bench


def _benchmarks() -> Callable[..., Any]:
    """``benchmarks.bench.measure`` of the clone."""
    import importlib

    from richness.site.address import repository

    root = repository()
    if not (root / "benchmarks" / "bench.py").is_file():
        raise Failure(f"the benchmarks are not part of the installed package; run this in a clone (looked in {root}).")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks.bench").measure


def _bench_table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a comparison, and beneath it what could not be measured."""
    lines = []
    for row in rows:
        low, high = row["spread"] or (None, None)
        goal = "" if row["target"] is None else f"{'≥' if row['sense'] == 'at least' else '≤'} {row['target']:g}"
        reached = {True: "yes", False: "no", None: ""}[row["reached"]]
        spread = "" if low is None else f"{low:.3g} to {high:.3g}"
        lines.append({**row, "spread": spread, "target": goal, "reached": reached, "difference": row["difference"]})
    table = _table(
        [line for line in lines if line["ratio"] is not None],
        ("name", "peer", "ours", "theirs", "unit", "ratio", "spread", "target", "reached", "difference"),
    )
    rest = [f"{row['name']}: {row['missing'] or row['failed']}" for row in rows if row["missing"] or row["failed"]]
    return "\n".join([table, *rest])


def _cite_command() -> Callable[..., int]:
    def cite(files: Words = ()) -> int:
        """The BibTeX of the paper, of this companion, and of what your results used.

        Args:
            files: result files (.nc); none means everything
        """
        from richness.site import citations

        print(citations.bibtex([Path(name) for name in files]))
        return 0

    return cite


def _fetch_command() -> Callable[..., int]:
    def fetch(
        tasks: Words = (),
        /,
        folder: Annotated[str | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None,
        verify: Switch = False,
    ) -> int:
        """Brings the files of tasks into the cache (RICHNESS_DATA, or the platform's), resumable. With no name, lists them.

        Args:
            tasks: such as cifar10, tinyimagenet, cifar5m, cifar5m_0 (one of its parts), fashion
            folder: where the chunks of mnist1m lie, which is imported
            verify: compute checksums again
        """
        from richness.data import TASKS, task
        from richness.data.fetch import megabytes
        from richness.data.files import FILE_SETS, file_set

        if not tasks:
            rows = [
                {"task": name, "size": megabytes(sum(source.size for source in made.sources)) if made.sources else "",
                 "here": f"{sum(source.path.exists() for source in made.sources)} of {len(made.sources)} files",
                 "terms": made.licence} for name, made in FILE_SETS.items()
            ]  # fmt: skip
            print(_table(rows, ("task", "size", "here", "terms"), widest=80))
            return 0
        for name in tasks:
            if name not in TASKS or file_set(name) is None:
                raise Usage(
                    f"TASK: expected one of {', '.join(FILE_SETS)}; got {name!r}.{_perhaps(name, list(FILE_SETS))}"
                )
        if folder is not None and tuple(tasks) != ("mnist1m",):
            raise Usage("--folder: only mnist1m is imported from a folder; fetch it alone.")
        for name in tasks:
            told: dict[str, Any] = {"verify": verify} | ({"folder": folder} if folder is not None else {})
            if not sys.stderr.isatty():
                told["progress"] = _tenths(name)
            found = task(name, **told)
            print(f"{found.name}: {found.about}")
        return 0

    return fetch


def _tenths(name: str) -> Callable[[int, int | None], None]:
    """A download in a log: a line every tenth."""
    told = -1

    def tell(done: int, total: int | None) -> None:
        nonlocal told
        tenth = 10 * done // total if total else 0
        if tenth != told:
            told = tenth
            print(f"{name}: {10 * tenth} %, {done / 1e6:.0f} MB", file=sys.stderr, flush=True)

    return tell


def _check_coordinates_command() -> Callable[..., int]:
    def check_coordinates(
        network: Annotated[str, tyro.conf.arg(metavar="NAME")] = "mlp",
        depth: Annotated[str | None, tyro.conf.arg(metavar="L", help_behavior_hint="")] = None,
        task: Annotated[str, tyro.conf.arg(metavar="TASK")] = "digits8",
        loss: Annotated[str, tyro.conf.arg(metavar="LOSS")] = "mse",
        optimizer: Annotated[str, tyro.conf.arg(metavar="NAME")] = "sgd",
        widths: Annotated[tuple[str, ...], tyro.conf.arg(metavar="N ...", help_behavior_hint="")] = (),
        seeds: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SEED ...", help_behavior_hint="")] = (),
    ) -> int:
        """Whether a network follows width and γ as it should, layer by layer: the coordinate check of µP, and of γ.

        Args:
            network: mlp, cnn, resnet or vit
            depth: weight layers (default: the smallest with everything in it)
            task: the stream of samples
            loss: mse or cross_entropy
            optimizer: sgd, momentum, signsgd or adam
            widths: ascending, at least two (default: 64 128 256)
            seeds: over which sizes are averaged (default: 0 1 2 3)
        """
        from richness.analysis import coordinates as room
        from richness.data import TASKS
        from richness.networks import LOSSES, NETWORKS, OPTIMIZERS

        asked: dict[str, Any] = {
            "network": choice(network, "--network", tuple(NETWORKS)),
            "task": choice(task, "--task", tuple(TASKS)),
            "loss": choice(loss, "--loss", tuple(LOSSES)),
            "optimizer": choice(optimizer, "--optimizer", tuple(OPTIMIZERS)),
        }
        if depth is not None:
            asked["depth"] = whole(depth, "--depth", 2)
        if widths:
            asked["widths"] = [whole(text, "--widths", 1) for text in widths]
        if seeds:
            asked["seeds"] = [whole(text, "--seeds") for text in seeds]
        found = room.check_coordinates(**asked)
        print(found)
        if not found.passed:
            raise Failure(
                f"{len(found.failed)} of {len(found.rows)} quantities do not follow width or γ as they should."
            )
        return 0

    return check_coordinates


def _address_command() -> Callable[..., int]:
    def address(url: tyro.conf.Positional[str], /) -> int:
        """Writes the repository's public address wherever it must stand: configuration, README, CITATION, chapters.

        Args:
            url: such as https://github.com/you/richness
        """
        from richness.site.address import BadAddress, set_address

        try:
            changed = set_address(url)
        except BadAddress as error:
            raise Usage(str(error)) from error
        print(
            "\n".join(f"wrote {path}" for path in changed) or "nothing to change: the address stands everywhere already"
        )
        return 0

    return address


# name -> (one line for the list of commands, what makes the function). Made when called: help needs no heavy import.
COMMANDS: dict[str, tuple[str, Callable[[], Callable[..., int]]]] = {
    "sweep": ("one sweep over the γ–η plane, resumable", _sweep_command),
    "search": ("the boundaries of the plane without the plane, resumable", _search_command),
    "precompute": ("fills precomputed/ with what is stale", _precompute_command),
    "rerun": ("executes chapters at a scale, parameters checked", _rerun_command),
    "status": ("when each chapter last ran, from the logs of reruns", _status_command),
    "adopt": ("takes a result from another machine into precomputed/", _adopt_command),
    "ledger": ("the paper's claims and their verdicts", _ledger_command),
    "advise": ("which η to use, from the measured portraits", _advise_command),
    "fetch": ("brings the data of tasks that are read from files", _fetch_command),
    "check-coordinates": ("whether a network follows width and γ as µP asks", _check_coordinates_command),
    "bench": ("ratios against the peers, measured now", _bench_command),
    "cite": ("the BibTeX of what you used", _cite_command),
    "address": ("writes the repository's public address everywhere", _address_command),
}


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {about}" for name, (about, _) in COMMANDS.items()]
    return "\n".join(
        ["usage: richness COMMAND [OPTIONS]", "", *lines, "", "richness COMMAND --help lists a command's options."]
    )


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"richness {version('richness')}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise Usage(
            f"{name!r} is not a command; the commands are {', '.join(COMMANDS)}.{_perhaps(name, list(COMMANDS))}"
        )
    function = COMMANDS[name][1]()
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            call = _parse(function, name, rest)
    except SystemExit as stop:
        if not stop.code:
            return 0
        raise Usage(_reader_sentence(complaint.getvalue(), name)) from None
    return call()


def _parse(function: Callable[..., int], name: str, rest: Sequence[str]) -> Callable[[], int]:
    """Reads `rest` for `function` and returns the call, not yet made: only the reading has its complaints rewritten."""
    made: list[Callable[[], int]] = []

    def keep(*positional: Any, **named: Any) -> None:
        made.append(lambda: function(*positional, **named))

    keep.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    keep.__annotations__ = function.__annotations__
    keep.__doc__ = function.__doc__
    keep.__name__ = name
    tyro.cli(keep, prog=f"richness {name}", args=list(rest), config=(tyro.conf.OmitArgPrefixes,))
    return made[0]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; errors become one sentence on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"richness: note: {message}", file=sys.stderr)
            return _dispatch(arguments)
    except KeyboardInterrupt as stop:
        print("\nrichness: stopped by Ctrl-C.", file=sys.stderr)
        for how_to_go_on in getattr(stop, "__notes__", ()):
            print(f"{how_to_go_on} {shlex.join(['richness', *arguments])}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("RICHNESS_DEBUG") == "1":
            raise
        command = f" {arguments[0]}" if arguments and arguments[0] in COMMANDS else ""
        print(f"richness{command}: {_explain(error)}", file=sys.stderr)
        return 2 if isinstance(error, Usage) else 1


def _explain(error: Exception) -> str:
    if isinstance(error, pydantic.ValidationError):
        return sentences(error)
    ours = type(error).__module__.partition(".")[0] == "richness"
    if (ours or isinstance(error, ValueError)) and str(error):
        said = _one_line(error)
        return said if said.endswith((".", "?", "!")) else said + "."
    if isinstance(error, ModuleNotFoundError):
        return f"the package {error.name!r} is missing; 'make setup' (in a clone) or 'pip install richness' brings it."
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}."
    return f"{type(error).__name__}: {_one_line(error)}. RICHNESS_DEBUG=1 before the command shows where."


if __name__ == "__main__":
    sys.exit(main())
