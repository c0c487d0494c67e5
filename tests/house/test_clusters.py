"""The page on clusters: each of its blocks is run, Slurm's against a stand-in that starts a job on this machine."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from richness import cli
from richness.runs import results

PAGE = Path(__file__).parents[2] / "chapters" / "clusters.md"
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def block(language: str, mark: str) -> str:
    """The only block of that language that has the mark."""
    (found,) = [text for kind, text in BLOCKS if kind == language and mark in text]
    return found


@pytest.fixture
def shell(tmp_path, monkeypatch) -> Path:
    """A folder first on the PATH: `richness` and `dask` of this environment, and Slurm's commands as stand-ins."""
    folder = tmp_path / "bin"
    folder.mkdir()
    stand_ins = {
        "richness": f'exec {sys.executable} -m richness "$@"',
        "dask": f'exec {sys.executable} -m dask "$@"',
        "hostname": "echo 127.0.0.1",
        "srun": 'exec "$@"',
        "sbatch": 'bash "$1" > /dev/null 2>&1 & echo "Submitted batch job $!"',
        "scancel": 'kill "$@"',
    }
    for name, body in stand_ins.items():
        path = folder / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_all_python_on_the_page_is_python():
    for kind, text in BLOCKS:
        if kind == "python":
            compile(text, str(PAGE), "exec")


def test_every_command_on_the_page_exists_with_its_options(richness):
    lines = [
        line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines() if line.startswith("richness")
    ]
    assert len(lines) == 3
    for line in lines:
        _, command, *rest = shlex.split(line)
        said = richness(command, "--help").out
        assert command in cli.COMMANDS and all(word in said for word in rest if word.startswith("--"))


@pytest.mark.slow
def test_one_machine(shell, richness):
    (line,) = block("bash", "--workers 2").splitlines()
    assert richness(*shlex.split(line)[1:]).code == 0
    assert results.read("runs/portrait.nc").status.size == 60


@pytest.mark.slow
def test_dask_on_one_machine(shell):
    (shell / "portrait.py").write_text(block("python", "LocalCluster"))
    run(sys.executable, "portrait.py")
    assert results.read("runs/portrait.nc").status.size == 120


@pytest.mark.slow
def test_a_scheduler_by_its_address(shell):
    """The three lines, the first two in the background until the third is done."""
    script = block("bash", "dask worker tcp://localhost:8786").replace("8786", str(free_port()))
    (shell / "script").write_text(f"trap 'kill $(jobs -p)' EXIT\n{script}")
    run("bash", "script")
    assert results.read("runs/portrait.nc").status.size == 60


def test_slurm_is_asked_for_one_thread_a_worker():
    """dask-jobqueue writes the job's script without any Slurm."""
    from dask_jobqueue import SLURMCluster

    text = block("python", "SLURMCluster(")
    arguments = re.search(r"SLURMCluster\((.*?)\)  # fmt", text, re.DOTALL)
    assert arguments
    with eval(f"SLURMCluster({arguments[1]})", {"SLURMCluster": SLURMCluster}) as cluster:
        job = cluster.job_script()
    for line in ("#SBATCH -p cpu", "#SBATCH --cpus-per-task=16", "#SBATCH -t 04:00:00", "export OMP_NUM_THREADS=1"):
        assert line in job
    assert "--nthreads 1 " in job and "--nworkers 16 " in job and "--lifetime 230m" in job


@pytest.mark.slow
def test_slurm_from_python(shell):
    text = block("python", "SLURMCluster(")
    for stands, small in (
        ("cores=16, processes=16", "cores=2, processes=2"),
        ("jobs=8", "jobs=1"),
        ("wait_for_workers(16)", "wait_for_workers(2)"),
        ('"phase_portrait_mlp3_mse", "laptop"', '"laboratory_mlp3_mse", "smoke"'),
    ):
        assert stands in text
        text = text.replace(stands, small)
    (shell / "portrait.py").write_text(text)
    run(sys.executable, "portrait.py")
    assert results.read("runs/portrait.nc").attrs["recipe_hash"]


@pytest.mark.slow
def test_slurm_as_one_job(shell, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", str(free_port() - 20000))
    (shell / "script").write_text(block("bash", "#SBATCH"))
    run("bash", "script")
    assert results.read("runs/portrait.nc").status.size == 60


@pytest.mark.slow
def test_progress_of_ones_own(shell):
    (shell / "script.py").write_text(block("python", "lambda now"))
    said = run(sys.executable, "script.py")
    assert said.splitlines()[-1] == "100% 12 of 12 cells done, 0 diverged"


def free_port() -> int:
    """A port between 20000 and 40000 that nobody listens on."""
    import socket

    for port in range(20000, 40000):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)):
                return port
    raise OSError("no port is free")


# `--scheduler` when it does not work ----------------------------------------------------------------------------------


def test_a_scheduler_that_does_not_answer_is_a_sentence(richness, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "SCHEDULER_PATIENCE", 1)
    answer = richness(*tiny, "--scheduler", f"tcp://127.0.0.1:{free_port()}", "--out", tmp_path / "a.nc")
    assert answer.code == 1 and "nothing answers at tcp://127.0.0.1:" in answer.err and "within 1 s" in answer.err
    assert "Traceback" not in answer.err and not list(tmp_path.iterdir())


def test_without_dask_the_extra_is_named(richness, tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    answer = richness(*tiny, "--scheduler", "tcp://127.0.0.1:8786", "--out", tmp_path / "a.nc")
    assert answer.code == 1 and 'pip install "richness[cluster]"' in answer.err and "Traceback" not in answer.err
