"""The page on clusters: each of its blocks is run, Slurm's on a Slurm of one node where there is one."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from richness.cli import workers
from richness.runs import results

PAGE = Path(__file__).parents[2] / "chapters" / "clusters.md"
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def block(language: str, mark: str) -> str:
    """The only block of that language that has the mark."""
    (found,) = [text for kind, text in BLOCKS if kind == language and mark in text]
    return found


def _commands(folder: Path, bodies: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, body in bodies.items():
        path = folder / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)


@pytest.fixture
def shell(tmp_path, monkeypatch) -> Path:
    """A folder first on the PATH: `richness` and `dask` of this environment."""
    _commands(tmp_path / "bin", {name: f'exec {sys.executable} -m {name} "$@"' for name in ("richness", "dask")})
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stand_ins(shell) -> Path:
    """Slurm's commands as stand-ins that start a job on this machine."""
    bodies = {  # sbatch keeps a copy of the script, as Slurm does: dask-jobqueue removes its own
        "hostname": "echo 127.0.0.1",
        "srun": 'exec "$@"',
        "sbatch": 'job=$(cat "$1"); bash -c "$job" > /dev/null 2>&1 & echo "Submitted batch job $!"',
        "scancel": 'kill "$@"',
    }
    _commands(shell / "bin", bodies)
    return shell


SOON = "cred_expire=5"  # seconds that a requeued job waits, which are 120 where nothing is said
SLURM = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol")


@contextlib.contextmanager
def _one_node(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """munge, the controller and one node of two cores, with their own ports, sockets and folders."""
    home, node = folder / "slurm", socket.gethostname().partition(".")[0]
    home.mkdir()
    key = home / "munge.key"
    key.write_bytes(os.urandom(256))
    key.chmod(0o400)
    settings = {
        "ClusterName": "one", "SlurmctldHost": f"{node}(127.0.0.1)", "SlurmUser": "root", "SlurmdUser": "root",
        "AuthType": "auth/munge", "AuthInfo": f"socket={home}/munge.socket,{SOON}", "SlurmctldPort": free_port(45000),
        "SlurmdPort": free_port(46000), "StateSaveLocation": home / "state", "SlurmdSpoolDir": home / "spool",
        "SlurmctldPidFile": home / "controller.pid", "SlurmdPidFile": home / "node.pid",
        "SlurmctldLogFile": home / "controller.log", "SlurmdLogFile": home / "node.log",
        "ProctrackType": "proctrack/linuxproc", "TaskPlugin": "task/none", "ReturnToService": 2, "MpiDefault": "none",
        "KillWait": 5, "JobAcctGatherType": "jobacct_gather/none", "AccountingStorageType": "accounting_storage/none",
        "SelectType": "select/cons_tres", "SelectTypeParameters": "CR_Core",
    }  # fmt: skip
    text = "".join(f"{name}={value}\n" for name, value in settings.items())
    text += f"NodeName={node} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory=4000 State=UNKNOWN\n"
    text += f"PartitionName=cpu Nodes={node} Default=YES MaxTime=INFINITE State=UP\n"
    (home / "slurm.conf").write_text(text)
    monkeypatch.setenv("SLURM_CONF", str(home / "slurm.conf"))
    paths = [f"--{what}-file={home}/munge.{what}" for what in ("key", "pid", "seed", "log")]
    commands = (
        ["munged", "--foreground", "--force", f"--socket={home}/munge.socket", *paths],
        ["slurmctld", "-D"],
        ["slurmd", "-D"],
    )
    with contextlib.ExitStack() as ends:
        for command in commands:
            with open(home / "said", "ab") as said:
                daemon = subprocess.Popen(command, stdout=said, stderr=said)
            ends.callback(daemon.wait, 30)
            ends.callback(daemon.terminate)
            time.sleep(1)
        for _ in range(60):
            state = subprocess.run(
                ["scontrol", "show", "node", node], capture_output=True, text=True, check=False
            ).stdout
            if "State=IDLE" in state:
                break
            time.sleep(0.5)
        assert "State=IDLE" in state, (home / "said").read_text()[-1000:]
        yield


@pytest.fixture
def slurm(request, shell, monkeypatch) -> Iterator[Path]:
    """A Slurm: of one node where Debian's `slurm-wlm` is installed and we are root, or its commands' stand-ins."""
    if request.param == "stand-in":
        yield request.getfixturevalue("stand_ins")
        return
    if os.geteuid() or not all(map(shutil.which, SLURM)):
        pytest.skip("optional: needs Debian's slurm-wlm, and root to start it")
    with _one_node(shell, monkeypatch):
        yield shell


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_all_python_on_the_page_is_python():
    for kind, text in BLOCKS:
        if kind == "python":
            compile(text, str(PAGE), "exec")


def test_every_command_on_the_page_exists_with_its_options(promised):
    lines = [
        line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines() if line.startswith("richness")
    ]
    assert len(lines) == 4
    for line in lines:
        promised(line.removeprefix("richness "), PAGE.name)


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


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl")
def test_with_a_certificate_and_not_without_one(shell, monkeypatch):
    """The page's own settings, in a home of their own; while they stand a stranger knocks without a certificate."""
    monkeypatch.setenv("HOME", str(shell / "home"))
    port = str(free_port())
    stranger = f"""
import socket, ssl
context = ssl._create_unverified_context()
with socket.create_connection(("localhost", {port}), timeout=20) as plain, context.wrap_socket(plain) as tls:
    try:
        tls.send(b"hello")
        print("heard", tls.recv(100))
    except OSError as error:
        print("turned away:", error)
"""
    (shell / "stranger.py").write_text(stranger)
    lines = block("bash", "dask worker tls://localhost:8786").replace("8786", port)
    knock = f"{shlex.quote(sys.executable)} stranger.py"
    (shell / "script").write_text(f"trap 'kill $(jobs -p)' EXIT\n{block('bash', 'openssl req')}\n{lines}\n{knock}")
    assert "turned away" in run("bash", "script")
    assert results.read("runs/portrait.nc").status.size == 60
    assert stat.S_IMODE((shell / "home" / ".dask" / "key.pem").stat().st_mode) == 0o600


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
@pytest.mark.parametrize("slurm", ["real", "stand-in"], indirect=True)
def test_slurm_from_python(slurm):
    text = block("python", "SLURMCluster(")
    for stands, small in (
        ("cores=16, processes=16", "cores=2, processes=2"),
        ("jobs=8", "jobs=1"),
        ("wait_for_workers(16)", "wait_for_workers(2)"),
        ('memory="32GB"', 'memory="1GB"'),
        ('"phase_portrait_mlp3_mse", "laptop"', '"laboratory_mlp3_mse", "smoke"'),
    ):
        assert stands in text
        text = text.replace(stands, small)
    (slurm / "portrait.py").write_text(text)
    run(sys.executable, "portrait.py")
    assert results.read("runs/portrait.nc").attrs["recipe_hash"]


@pytest.fixture
def one_job(slurm) -> Path:
    """The page's batch script, with two tasks."""
    script, small = block("bash", "#SBATCH"), ("--ntasks=64", "--ntasks=2")
    assert small[0] in script
    _commands(slurm / "bin", {"hostname": "echo 127.0.0.1"})
    path = slurm / "script"
    path.write_text(script.replace(*small))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("slurm", ["real", "stand-in"], indirect=True)
def test_slurm_as_one_job(one_job, request, monkeypatch):
    if "real" in request.node.name:
        _completed(run("sbatch", "script").split()[-1])
    else:
        monkeypatch.setenv("SLURM_JOB_ID", str(free_port() - 20000))
        run("bash", "script")
    assert results.read("runs/portrait.nc").status.size == 60


@pytest.mark.slow
@pytest.mark.parametrize("slurm", ["real"], indirect=True)
def test_a_job_that_slurm_requeues_goes_on_from_what_was_finished(one_job, richness):
    text = one_job.read_text()
    assert text.count("--steps 300") == 1 and "#SBATCH --requeue" in text
    longer = "--steps 1000 --seeds 0 1 2 3 4 5"  # shards enough that some are left when the first is done
    one_job.write_text(text.replace("--steps 300", longer))
    job = run("sbatch", "--open-mode=append", "script").split()[-1]

    def kept() -> dict[Path, float]:
        return {path: path.stat().st_mtime for path in Path("runs").glob("portrait.parts/*/shard-*.npz")}

    _wait(kept, lambda: _said(job), 120)
    run("scontrol", "requeue", job)
    _wait(lambda: "Restarts=1" in _job(job) and "JobState=RUNNING" in _job(job), lambda: _job(job))
    before = kept()
    assert before and not Path("runs/portrait.nc").exists()
    _wait(lambda: len(kept()) > len(before), lambda: _said(job))
    assert before.items() <= kept().items()
    _completed(job)

    line = next(line for line in text.splitlines() if line.startswith("richness sweep"))
    _, *alone = shlex.split(line.replace("--steps 300", longer).partition(" --scheduler")[0])
    assert richness(*alone, "--out", "runs/alone.nc").code == 0
    assert results.read("runs/portrait.nc").equals(results.read("runs/alone.nc"))


def _completed(job: str) -> None:
    _wait(lambda: "JobState=COMPLETED" in _job(job), lambda: _said(job))


def _said(job: str) -> str:
    return _job(job) + Path(f"slurm-{job}.out").read_text()[-2000:]


def _job(job: str) -> str:
    return subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=False).stdout


def _wait(done: Callable[[], Any], complaint: Callable[[], str], seconds: float = 240) -> None:
    for _ in range(int(seconds)):
        if done():
            return
        time.sleep(1)
    raise AssertionError(complaint())


@pytest.mark.slow
def test_progress_of_ones_own(shell):
    (shell / "script.py").write_text(block("python", "lambda now"))
    said = run(sys.executable, "script.py")
    assert said.splitlines()[-1] == "100% 12 of 12 cells done, 0 diverged"


def free_port(first: int = 20000) -> int:
    """A port from there on that nobody listens on. The page's jobs take 20000 and their number."""
    for port in range(first, first + 10000):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)):
                return port
    raise OSError("no port is free")


# `--scheduler` when it does not work ----------------------------------------------------------------------------------


def test_a_scheduler_that_does_not_answer_is_a_sentence(richness, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "SCHEDULER_PATIENCE", 1)
    answer = richness(*tiny, "--scheduler", f"tcp://127.0.0.1:{free_port()}", "--out", tmp_path / "a.nc")
    assert answer.code == 1 and "nothing answers at tcp://127.0.0.1:" in answer.err and "within 1 s" in answer.err
    assert "Traceback" not in answer.err and not list(tmp_path.iterdir())


def test_without_dask_the_extra_is_named(richness, tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    answer = richness(*tiny, "--scheduler", "tcp://127.0.0.1:8786", "--out", tmp_path / "a.nc")
    assert answer.code == 1 and "'dask[distributed]>=" in answer.err and "Traceback" not in answer.err
