"""What is shipped: the floors, the wheel, the pins, and nothing that only one machine has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest


def _git(root: Path, *words: str) -> list[str]:
    run = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    return run.stdout.splitlines()


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every text file of the repository: tracked, or new and not ignored."""
    root = Path(__file__).parents[2]
    names = _git(root, "ls-files", "--cached", "--others", "--exclude-standard")
    assert names, "this is no git checkout"
    found = {}
    for name in names:
        path = root / name
        if path.is_file() and path.suffix not in (".npz", ".nc", ".png", ".woff2", ".ico"):
            found[name] = path.read_text(encoding="utf-8", errors="replace")
    return found


def test_the_floors_hold(root):
    tool = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([tool, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "4 kept, 0 broken" in run.stdout


def test_the_contract_names_every_floor(root):
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    layers = " ".join(settings["tool"]["importlinter"]["contracts"][0]["layers"])
    rooms = {path.stem for path in (root / "lib" / "richness").iterdir() if path.suffix == ".py" or path.is_dir()}
    for room in rooms - {"__init__", "__main__", "__pycache__"}:
        assert f"richness.{room}" in layers, f"{room} stands on no floor"


def test_git_keeps_lib(root):
    assert _git(root, "check-ignore", "lib/richness/new.py", "lib/richness/data/new.npz") == []
    assert "lib/richness/rng.py" in _git(root, "ls-files", "lib")


def test_constraints_pin_plain_versions(root):
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert "torch==2.13.0" in lines
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line
        assert not line.startswith("richness")


def test_the_package_itself_only_asks_for_a_floor(root):
    """Colab has its own torch and numpy; a pin here would replace them."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    for requirement in settings["project"]["dependencies"]:
        assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+", requirement), requirement


def test_all_that_is_asked_for_is_pinned(root):
    """What is asked for and not pinned may drift."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = settings["optional-dependencies"]
    asked = [*settings["dependencies"], *(one for extra in extras.values() for one in extra)]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-") for line in (root / "constraints.txt").read_text().split()
    } | {settings["name"]}  # one extra may name another
    for requirement in asked:
        name = re.split(r"[<>=\[ ]", requirement, maxsplit=1)[0].lower()
        assert name in pinned, f"{name} is asked for and not pinned"


def test_no_registry_host_is_named_and_one_place_names_the_index_of_cpu_builds(texts):
    hosts = [name + ".org" for name in ("pypi", "pythonhosted", "npmjs", "deb.debian")] + ["ubuntu.com/" + "ubuntu"]
    assert [(name, host) for name, text in texts.items() for host in hosts if host in text] == []
    named = [name for name, text in texts.items() if "download.pytorch" + ".org" in text]
    assert named == ["Makefile"]


def test_the_lock_has_no_addresses(root):
    lock = json.loads((root / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]


def test_no_path_of_one_machine(texts):
    machine = re.compile(r"(?<![\w.])(/work/|/home/\w+/|/Users/\w+/|/opt/wheels|C:\\\\Users)")
    for name, text in texts.items():
        if name != "tests/house/test_packaging.py":
            found = machine.search(text)
            assert not found, f"{name} has the path {text[found.start() : found.end() + 30]!r}"


def test_what_is_committed_stays_small(root):
    for name in _git(root, "ls-files"):
        path = root / name
        assert not path.is_file() or path.stat().st_size < 8_000_000, f"{name} is too large for git"
    stored = sum(path.stat().st_size for path in (root / "precomputed").rglob("*.nc"))
    assert stored < 60_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(__file__).parents[2]
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(root)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_carries_data_results_and_licences(wheel, root):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (root / "lib" / "richness").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(root / "lib")) in names, f"{path} is not in the wheel"
    for path in (root / "precomputed").rglob("*.nc"):
        assert str(Path("richness") / path.relative_to(root)) in names
    assert "richness/references.bib" in names and "richness/data/NOTICE.md" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "node_modules" in name or name.startswith(("tests", "chapters"))]


def _clean(wheel: Path, home: Path) -> tuple[Path, Path]:
    """(its Python, this environment's packages): a clean environment in which only the wheel provides this project."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    zipfile.ZipFile(wheel).extractall(next(home.glob("lib/python*/site-packages")))
    return home / "bin" / "python", Path(next(path for path in sys.path if path.endswith("site-packages")))


@pytest.mark.slow
def test_a_chapter_runs_from_the_wheel_as_on_colab(wheel, root, tmp_path):
    """In a folder that is not the repository, with a stand-in for Colab's own module: the set-up cell and all others."""
    python, here = _clean(wheel, tmp_path / "clean")
    work = tmp_path / "content"
    (work / "google" / "colab").mkdir(parents=True)
    (work / "google" / "__init__.py").touch()
    (work / "google" / "colab" / "__init__.py").write_text("from google.colab import output\n")
    (work / "google" / "colab" / "output.py").write_text(
        "def enable_custom_widget_manager():\n    print('widgets are on')\n"
    )
    shutil.copy(root / "chapters" / "02-phase-portrait.ipynb", work)
    shutil.copy(root / "chapters" / "parameters" / "laptop.yml", work)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RICHNESS"))}
    # Not a .pth file: this environment's own .pth would bring the repository back.
    command = [str(python), "-m", "richness", "rerun", "./02-phase-portrait.ipynb", "--parameters", "./laptop.yml"]
    run = subprocess.run([*command, "--out", "out"], cwd=work, env=kept | {"PYTHONPATH": str(here)}, capture_output=True,
                         text=True, check=False)  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    said = (work / "out" / "02-phase-portrait.ipynb").read_text()
    assert "widgets are on" in said and "This chapter takes about" in said
    line = json.loads((work / "out" / "log.jsonl").read_text())
    assert line["outcome"] == "ok" and line["commit"].startswith("version ") and line["parameters"]["scale"] == "laptop"


@pytest.mark.slow
def test_the_wheel_works_far_from_the_repository(wheel, tmp_path):
    python, here = _clean(wheel, tmp_path / "clean")
    # Not a .pth file: this environment's own .pth would bring the repository back.
    code = """
import sys
sys.path.append(sys.argv[1])
import richness
assert richness.__file__.startswith(sys.prefix), richness.__file__
from richness.runs import places, results
assert places.checkout() is None, places.checkout()
from richness.data import task
batch = task("digits8").batch(0, 3, 4)
print("digits", [tuple(part.shape) for part in batch])
from richness.site import citations
assert "loosli2007training" in citations.entries()
for path in sorted(places.precomputed_folder().rglob("*.nc")):
    print("loaded", path.stem, dict(results.load(path.stem).sizes))
from richness.cli import main
assert main(["cite"]) == 0
assert main(["sweep", "--gammas", "1", "--etas", "0.1", "--width", "4", "--steps", "3", "--out", "a.nc"]) == 0
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RICHNESS"))}
    run = subprocess.run([str(python), "-c", code, str(here)], cwd=tmp_path, env=environment,
                         capture_output=True, text=True, check=False)  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "digits" in run.stdout and (tmp_path / "a.nc").exists()
