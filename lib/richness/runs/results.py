"""Results: one ``xarray.Dataset`` a sweep, its schema, rounding, provenance and files.

A file is NetCDF4 with one line appended: the SHA-256 of everything before it. So a half-written, truncated or bit-flipped file
is refused by name, and any NetCDF reader still opens it (HDF5 ignores what follows its end).
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from richness.networks.parameterization import DTYPE_REASON, dtype_for
from richness.runs import places
from richness.runs.attributes import check_attributes
from richness.runs.description import Measurement
from richness.runs.experiment import REGISTRIES, Experiment
from richness.runs.loops import read_recipe
from richness.runs.places import SCALES

SCHEMA = 1
STATUS = {"ok": 0, "diverged": 1, "not_run": 2}
CURVE_BITS = 14  # mantissa bits kept in curves: relative rounding 3e-5, which halves a file

_SEAL = b"\nrichness-sha256:"


class ResultError(RuntimeError):
    """A result that is missing, damaged, or of another recipe or schema. The message says what to do."""


# Sealed files.


def write_sealed(path: Path, content: bytes) -> None:
    """Write ``content`` and its seal, as :func:`write_whole` does."""
    write_whole(path, content + _SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the whole new one, never a part.

    ``~`` is the reader's home, a link is written through, a file that stood there keeps its permissions, and a new one gets
    those that the umask leaves it.

    Raises:
        ResultError: the folder cannot be written or the disk is full.
    """
    try:
        target = path.expanduser().resolve()  # `os.replace` would put the file in the place of a link
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            with open(part, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, part)
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ResultError(
            f"cannot write {path}: {error.strerror or error}. Free some space or choose another place; "
            "what was finished before is kept"
        ) from error


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file, on disk when this returns: all of it or nothing.

    Raises:
        ResultError: the file cannot be written or the disk is full; what was in it before stays.
    """
    added = f"{line}\n".encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                if file.write(added) < len(added):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
    except OSError as error:
        raise ResultError(f"cannot write {path}: {error.strerror or error}. What it held before is kept") from error


def read_sealed(path: Path) -> bytes:
    """The content of a sealed file.

    Raises:
        ResultError: the file is missing, or is not whole; or is another kind of file, which is named.
    """
    return _unseal(path, _read_bytes(path))


def is_sealed(path: Path) -> bool:
    """Whether a file has a seal, right or wrong."""
    return _SEAL in _read_bytes(path)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror or error}") from error


def _unseal(path: Path, raw: bytes) -> bytes:
    content, seal, digest = raw.rpartition(_SEAL)
    if not seal or hashlib.sha256(content).hexdigest().encode() + b"\n" != digest:
        raise ResultError(f"{path} {_explain_unsealed(raw)}")
    return content


def _explain_unsealed(raw: bytes) -> str:
    """What a file without a right seal is, and what to do with it."""
    if _is_plain_netcdf(raw):
        return (
            "is a NetCDF file without this project's checksum, as runs.to_netcdf writes it: read it with "
            "richness.read(path, unsealed=True), and keep it with richness.save, which adds the checksum"
        )
    start = raw[:200].decode("utf-8", errors="replace").lstrip()
    if start.startswith("{") and "richness laboratory run" in start:
        return (
            "is one run, downloaded from the laboratory (JSON), and no result of a sweep: json.load reads its curve, and "
            "the command under its 'provenance' makes the result"
        )
    if start.startswith(("{", "[")):
        return "is JSON, and no result: results are the NetCDF files that richness.save and the commands write"
    if start and not {"\ufffd", "\0"} & set(start):
        return (
            "is a table or another text, and no result: pandas.read_csv reads a CSV, and richness.read the NetCDF files that "
            "richness.save and the commands write"
        )
    return (
        "is damaged (half-written, cut or changed: its checksum does not match): copy it again from where it was made, "
        "or make it again"
    )


def _is_plain_netcdf(raw: bytes) -> bool:
    """Whether it is whole, and never had a seal."""
    if _SEAL in raw or re.search(rb"[0-9a-f]{63,64}\n?\Z", raw):
        return False
    try:
        _open_netcdf(raw)
    except Exception:
        return False
    return True


# Datasets.


def round_mantissa(values: np.ndarray, bits: int = CURVE_BITS) -> np.ndarray:
    """float32 with the mantissa rounded (to nearest) to so many bits, so that it compresses; NaN and inf as they were."""
    single = narrow_to_float32(values)
    drop = 23 - bits
    nearest = ((single.view(np.int32) + (1 << (drop - 1))) >> drop) << drop
    # The largest numbers would round up to infinity: they stay as they are.
    return np.where(np.isfinite(nearest.view(np.float32)), nearest.view(np.float32), single)


def narrow_to_float32(values: np.ndarray) -> np.ndarray:
    """float32; what is finite stays finite (a float64 loss on its way up may be past float32's range)."""
    limit = np.finfo(np.float32).max
    return np.where(np.isfinite(values), np.clip(values, -limit, limit), values).astype(np.float32)


def with_coordinates(runs: xr.Dataset) -> xr.Dataset:
    """Add what follows from the others, where a part of a result still has them: ``lr_raw`` = N·η, the rescaled time
    ``tau`` = η·t/γ, and ``precision``, the dtype in which each γ was trained. A measurement that is no sweep stays as it is."""
    if "kind" in runs.attrs:
        return runs
    missing = {"gamma", "eta", *(["step"] if "loss" in runs else [])} - runs.coords.keys()
    if missing:
        raise ValueError(
            f"a result has the coordinates gamma, eta and step, and {', '.join(sorted(missing))} is not there"
        )
    experiment = recipe_of(runs)
    dtypes = [str(dtype_for(gamma, experiment.dtype)).removeprefix("torch.") for gamma in runs.gamma.values.flat]
    attrs = {"long_name": "dtype of training", "comment": DTYPE_REASON}
    precision = (runs.gamma.dims, np.array(dtypes, dtype="U7").reshape(runs.gamma.shape), attrs)
    runs = runs.assign_coords(lr_raw=experiment.lr_raw(runs.eta), precision=precision)
    if "step" not in runs.coords:
        return runs
    tau = runs.eta * runs.step / runs.gamma
    return runs.assign_coords(tau=tau.transpose("gamma", "trial", "eta", "step", missing_dims="ignore"))


def recipe_fields(runs: xr.Dataset) -> dict[str, Any]:
    """The fields of what a result was made by, as they were written down; empty where it carries none.

    They can be had of measurements too, and where something that a reader registered is not here: an :class:`Experiment`
    cannot, see :func:`recipe_of`. An older result's lack the fields that were added since.
    """
    return dict(json.loads(runs.attrs.get("recipe", "{}")))


def recipe_of(runs: xr.Dataset) -> Experiment:
    """The experiment that a result was made by.

    Raises:
        ResultError: it names something that a reader registered, such as a network, and that is not registered here; or
            the result is no sweep.
    """
    if "kind" in runs.attrs:
        raise ResultError(
            f"this result is a measurement ({runs.attrs['kind']}), not a sweep over γ and η: its fields are those of "
            "richness.runs.results.recipe_fields"
        )
    registered = json.loads(runs.attrs.get("registered", "{}"))
    named = {key: key.split(" ") for key in registered}  # a loop is only needed to be run again
    missing = [key for key, (kind, name) in named.items() if kind != "loop" and name not in REGISTRIES[kind]]
    if missing:
        raise ResultError(
            f"this result was made with {', '.join(missing)} of a reader's own: register the same again with "
            f"richness.register_{missing[0].split(' ')[0]}, then read it"
        )
    return read_recipe(runs.attrs["recipe"])


def provenance(description: Experiment | Measurement, name: str, scale: str, wall: float, cpu: float) -> dict[str, Any]:
    """What a result must say of its making, as NetCDF attributes."""
    version, dirty = git_state()
    return {
        "recipe": description.model_dump_json(),
        "recipe_hash": description.hash,
        "registered": json.dumps(description.registered),
        "recipe_name": name,
        "scale": scale,
        "schema": SCHEMA,
        "git_commit": version,
        "git_dirty": int(dirty),
        "seeds": json.dumps(description.seeds),
        "device": device_name(description.device),
        "dtype": description.dtype,
        "packages": json.dumps(_versions()),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "Conventions": "CF-1.10",
        "title": f"{description.title}: {name}" if name else description.title,
    }


def device_name(device: str) -> str:
    """The device in words: architecture, system and processor, or the GPU's name where there is one."""
    if device.startswith("cuda"):
        import torch

        return f"{device}: {torch.cuda.get_device_name(device)}" if torch.cuda.is_available() else device
    return f"{device}: {platform.machine()} {platform.system()}, {processor_name()}"


@cache
def processor_name() -> str:
    """The processor's model, with family, model and stepping where the system gives them: names of virtual ones are bare."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    lines = [line.partition(":") for line in text.split("\n\n")[0].splitlines()]
    said = {key.strip(): value.strip() for key, _, value in lines}
    name = said.get("model name", platform.machine())
    wide = "AVX-512" if "avx512f" in said.get("flags", "") else "AVX2" if "avx2" in said.get("flags", "") else ""
    parts = [f"{key} {said[key]}" for key in ("cpu family", "model", "stepping") if key in said] + [wide]
    return f"{name} ({', '.join(part for part in parts if part)})"


def device_here(device: str) -> str:
    """The device as torch calls it; ``auto`` is a GPU where torch has one, and the processor elsewhere.

    Raises:
        ValueError: no device's name, or one that torch does not see on this machine.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", device):
        raise ValueError(f"device: expected auto, cpu, cuda, cuda:0 or mps, got {device!r}")
    kind, _, index = device.partition(":")
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(kind, 1)
    if int(index or 0) >= there:
        raise ValueError(
            f"the device {device} is not here (torch sees {there} of its kind): name another, such as cpu, or auto"
        )
    return device


def git_state() -> tuple[str, bool]:
    """The commit of the checkout and whether tracked files differ from it; the package's version outside one."""
    root = places.checkout()
    try:
        if root is None:
            raise OSError

        def git(*words: str) -> str:
            run = subprocess.run(["git", "-C", str(root), *words], capture_output=True, encoding="utf-8", check=True)
            return run.stdout.strip()

        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no", "--", "lib"))
    except (OSError, subprocess.CalledProcessError):
        return f"version {_versions()['richness']}", False


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("richness", "torch", "numpy", "xarray", "h5netcdf"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed as a package"
    return versions


def _no_cluster() -> AbstractContextManager:
    """Where this process has a Dask cluster, xarray would ask it for a lock on the buffer, which it cannot name."""
    dask = sys.modules.get("dask")
    return dask.config.set(scheduler="synchronous") if dask else nullcontext()


def save(runs: xr.Dataset, path: str | Path) -> Path:
    """Write a result, or a part of one such as ``runs.isel(gamma=0)``, as sealed NetCDF4, atomically.

    Raises:
        TypeError: not a Dataset. ValueError: one that has lost its attributes, where the recipe stands.
        ResultError: the path is a folder, or cannot be written.
    """
    if not isinstance(runs, xr.Dataset):
        hint = f"; save runs[[{runs.name!r}]] for this variable alone" if isinstance(runs, xr.DataArray) else ""
        raise TypeError(f"runs: expected a Dataset such as richness.sweep gives, got {type(runs).__name__}{hint}")
    if "schema" not in runs.attrs:
        raise ValueError(
            "runs: expected a result with its recipe among its attributes, got a Dataset without: many of xarray's functions "
            "keep them with keep_attrs=True; what is no result is written by its own to_netcdf"
        )
    path = Path(path).expanduser()
    if path.is_dir():
        raise ResultError(f"{path} is a folder: give the name of a file, for example {path / 'result.nc'}")
    kept = runs.drop_vars(("tau", "precision"), errors="ignore")
    encoding = {
        name: {"zlib": True, "complevel": 5, "shuffle": True} for name, array in kept.variables.items() if array.ndim
    }
    buffer = io.BytesIO()
    with _no_cluster():
        kept.to_netcdf(buffer, engine="h5netcdf", encoding=encoding)
    write_sealed(path, buffer.getvalue())
    return path


def read(path: str | Path, *, unsealed: bool = False) -> xr.Dataset:
    """Read a result file, checked.

    Args:
        unsealed: take also a whole NetCDF file without a checksum, as ``runs.to_netcdf`` writes it.

    Raises:
        ResultError: missing, damaged, not one of ours, or of another schema.
    """
    path = Path(path).expanduser()
    raw = _read_bytes(path)
    content = raw if unsealed and _is_plain_netcdf(raw) else _unseal(path, raw)
    try:
        runs = _open_netcdf(content)
        if "schema" not in runs.attrs:
            raise ResultError(
                f"{path} carries no recipe: it is NetCDF, and no result of this project; xarray.open_dataset reads it"
            )
        schema = int(runs.attrs["schema"])
        if schema != SCHEMA:
            raise ResultError(
                f"{path} has schema {schema}, and this version reads schema {SCHEMA}: "
                "make it again with `richness precompute`, or use the version of richness that wrote it"
            )
        for array in runs.variables.values():
            array.encoding = {}
        runs.encoding = {}
        check_attributes(runs.attrs)
        return with_coordinates(runs)
    except ResultError:
        raise
    except Exception as error:  # whatever a stranger's file makes of the readers: it is none of ours
        why = " ".join(str(error).split())
        raise ResultError(f"{path} is not a result file of this project: {type(error).__name__}: {why}") from error


def _open_netcdf(content: bytes) -> xr.Dataset:
    """NetCDF in memory to a Dataset: version 4, or 3, which xarray writes where it finds nothing better."""
    with xr.open_dataset(io.BytesIO(content), engine="scipy" if content.startswith(b"CDF") else "h5netcdf") as file:
        return file.load()


def scales_of(name: str) -> list[str]:
    """The scales at which a recipe's result is stored, the smallest first."""
    return [scale for scale in SCALES if places.precomputed_path(name, scale).exists()]


def data_hash(runs: xr.Dataset) -> str:
    """SHA-256 of a result's numbers, in hex: of every variable with its name and axes, none of the attributes.

    So two machines that measured the same to the last bit have the same hash, whenever and however long they worked.
    """
    total = hashlib.sha256()
    for name in sorted(map(str, runs.data_vars)):
        values = np.ascontiguousarray(runs[name].values)
        total.update(f"{name}{runs[name].dims}{values.shape}{values.dtype.str}".encode())
        total.update(values.tobytes())
    return total.hexdigest()


def load(name: str | Path, scale: str | None = None) -> xr.Dataset:
    """A precomputed result, by the name of its recipe; or a result of your own, by its path.

    Args:
        name: for example ``"phase_portrait_mlp3_mse"``, or ``"runs/mine.nc"``.
        scale: of a recipe, ``laptop`` or ``paper``; the largest there is, if None.

    Raises:
        TypeError: neither a name nor a path. ValueError: no such scale. ResultError: no such result, or a damaged one.
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"name: expected a recipe's name or the path of a result, got {name!r}")
    if isinstance(name, os.PathLike) or {"/", os.sep, "."} & set(name):
        if scale is not None:
            raise ValueError(f"scale: {name} is a path, which has none; leave it out")
        return read(name)  # type: ignore[arg-type]
    if scale is not None and scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}: choose one of {', '.join(SCALES)}")
    for candidate in [scale] if scale else SCALES[::-1]:
        path = places.precomputed_path(name, candidate)
        if path.exists():
            return read(path)
    raise ResultError(
        f"no precomputed result {name!r}{f' at scale {scale}' if scale else ''} in {places.precomputed_folder()}: "
        f"make it with `richness precompute {name}`"
    )
