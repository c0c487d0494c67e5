"""Bad inputs, one a row: each ends in a clear sentence and a non-zero exit, never in a traceback."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from richness.runs import results
from richness.runs.experiment import Experiment
from richness.runs.sweep import sweep

# What was typed after `richness`, and the words that the answer must have. A sweep's row is completed by a good γ and η
# grid where it gives none of its own. {name} is filled in by the fixture `files`.
SWEEP = [
    ("--gammas 0 1", "--gammas greater than 0 '0'"),
    ("--gammas -1", "--gammas greater than 0 '-1'"),
    ("--gammas -1e-3 1", "--gammas greater than 0 '-1e-3'"),
    ("--gammas nan", "--gammas finite 'nan'"),
    ("--gammas inf", "--gammas finite 'inf'"),
    ("--gammas 1e400", "--gammas finite '1e400'"),
    ("--gammas 1e-400", "--gammas greater than 0 '1e-400'"),
    ("--gammas one", "--gammas number 'one'"),
    ("--gammas 1,0", "--gammas number '1,0'"),
    ("--gammas", "--gammas at least one value"),
    ("--gammas 1 1", "--gammas once 1"),
    ("--gammas 1:2", "--gammas start:stop:points '1:2'"),
    ("--gammas 1:2:3:4", "--gammas start:stop:points '1:2:3:4'"),
    ("--gammas 0:1:5", "--gammas both ends positive '0:1:5'"),
    ("--gammas 1:nan:5", "--gammas start:stop:points '1:nan:5'"),
    ("--gammas 1:1:5", "--gammas different '1:1:5'"),
    ("--gammas 1:10:1", "--gammas at least two points '1:10:1'"),
    ("--gammas 1:10:2.5", "--gammas start:stop:points '1:10:2.5'"),
    ("--gammas 1:10:1000000000", "--gammas 1000000000 points fewer"),
    ("--gammas ::", "--gammas start:stop:points '::'"),
    ("--etas 0", "--etas greater than 0 '0'"),
    ("--etas -0.1 1", "--etas greater than 0 '-0.1'"),
    ("--etas nan", "--etas finite 'nan'"),
    ("--etas", "--etas at least one value"),
    ("--seeds 0 0", "--seeds once 0"),
    ("--seeds -1", "--seeds at least 0 '-1'"),
    ("--seeds 1.5", "--seeds whole number '1.5'"),
    ("--seeds nan", "--seeds whole number 'nan'"),
    ("--seeds 4294967296", "--seeds less than 4294967296"),
    ("--seeds", "--seeds at least one value"),
    ("--network mpl", "network 'mpl' mlp"),
    ("--task mnist", "task 'mnist' digits"),
    ("--loss readers_hinge", "loss 'readers_hinge' mse"),
    ("--optimizer adamw", "optimizer 'adamw' sgd"),
    ("--activation gelly", "activation 'gelly' relu"),
    ("--probes sharpnes", "probe 'sharpnes' sharpness"),
    ("--probes loss loss", "--probes once loss"),
    ("--dtype float23", "--dtype 'float23' float32"),
    ("--device tpu", "device 'tpu' cpu"),
    ("--device cuda:99", "device cuda:99 not here"),
    ("--device cuda:x", "--device 'cuda:x' cuda:0"),
    ("--depth 1", "--depth at least 2 '1'"),
    ("--depth 0", "--depth at least 2 '0'"),
    ("--width 0", "--width at least 1 '0'"),
    ("--steps 0", "--steps at least 1 '0'"),
    ("--steps -5", "--steps at least 1 '-5'"),
    ("--steps 1e-3", "--steps whole number '1e-3'"),
    ("--steps 1e3", "--steps whole number '1e3'"),
    ("--steps many", "--steps whole number 'many'"),
    ("--batch-size 0", "--batch-size at least 1 '0'"),
    ("--band 1", "--band two numbers"),
    ("--band 2 1", "band low high"),
    ("--band -1 1", "--band greater than 0"),
    ("--band 1e6 1e7", "band no cell widen"),
    ("--budgets 5000", "budgets steps 5000"),
    ("--budgets 0", "--budgets at least 1 '0'"),
    ("--task teacher --loss cross_entropy", "cross_entropy 'teacher' mse"),
    ("--task staircase --probes accuracy", "accuracy 'staircase'"),
    ("--gamas 1", "--gamas Did you mean --gammas"),
    ("--width", "--width Missing value"),
    ("--workers 0", "--workers at least 1 0"),
    ("--workers two", "--workers whole number 'two'"),
    ("--scheduler host", "--scheduler 'host' tcp://host:8786"),
    ("--scheduler ftp://host:8786", "--scheduler 'ftp://host:8786' tcp://host:8786"),
    ("--scheduler tcp://host:8786 --workers 2", "--scheduler its own workers leave --workers out"),
    ("--out {folder}", "--out file directory {folder}"),
    ("--out {folder}/result.csv", "--out .nc result.csv"),
    ("--out {text}/inside/a.nc", "--out folder {text} choose another"),
    ("--out {cut}", "{cut} not a whole result Move it away"),
    ("--out {flipped}", "{flipped} not a whole result checksum"),
    ("--out {other}", "{other} another experiment"),
]
REST = [
    ("frobnicate", "'frobnicate' not a command"),
    ("swep", "Did you mean sweep"),
    ("sweep --etas 1", "--gammas needed"),
    ("search --gammas 1 --etas 1e-3 1e3 --boundaries eta_maxx", "--boundaries 'eta_maxx' Did you mean eta_max"),
    ("search --gammas 1 --etas 1e-3 1e3 --per-decade 0", "--per-decade at least 1"),
    ("search --gammas 1 --etas 1e-3 1e3 --guard few", "--guard whole number 'few'"),
    ("search --gammas -1 --etas 1e-3 1e3", "--gammas greater than 0"),
    ("search --gammas 1 --etas 1", "smallest largest both ends"),
    ("precompute no_such_recipe", "no_such_recipe phase_portrait_mlp3_mse"),
    ("precompute phase_portrait_mlp3_mze", "Did you mean phase_portrait_mlp3_mse"),
    ("precompute --scale huge", "--scale huge smoke laptop paper"),
    ("precompute --scheduler 8786", "--scheduler '8786' tcp://host:8786"),
    ("precompute --device tpu", "device 'tpu' cpu"),
    ("rerun no-such-chapter", "'no-such-chapter' no chapter"),
    ("rerun {folder}/absent.ipynb", "notebook absent.ipynb no such file"),
    ("rerun {text}.ipynb", "not a readable notebook"),
    ("rerun {chapter} --scale huge", "--scale huge smoke laptop paper"),
    ("rerun {chapter} -p sead 1", "sead Did you mean seed"),
    ("rerun {chapter} -p seed nan", "seed whole number 'nan'"),
    ("rerun {chapter} -p seed -1", "-p seed at least 0"),
    ("rerun {chapter} -p seed 1e-3", "seed whole number '1e-3'"),
    ("rerun {chapter} -p gamma nan", "gamma finite 'nan'"),
    ("rerun {chapter} -p gamma -1", "-p gamma greater than 0"),
    ("rerun {chapter} -p gamma big", "gamma number 'big'"),
    ("rerun {chapter} -p scale tiny", "scale 'tiny' smoke"),
    ("rerun {chapter} -p task mnist", "task 'mnist'"),
    ("rerun {chapter} -p curves perhaps", "curves true or false 'perhaps'"),
    ("rerun {chapter} -p seed 1 -p seed 2", "seed twice"),
    ("rerun {chapter} -p seed", "Missing value"),
    ("rerun {chapter} --scale smoke -p scale smoke", "scale once"),
    ("rerun {chapter} --device cpu", "no parameter 'device'"),
    ("rerun {chapter} --out {text}", "--out folder file"),
    ("rerun {chapter} --out {folder}", "--out chapters overwritten"),
    ("adopt {folder}", "result file {folder} folder"),
    ("adopt {folder}/absent.nc", "absent.nc not there"),
    ("adopt {cut}", "{cut} damaged"),
    ("adopt {flipped}", "{flipped} damaged"),
    ("adopt {text}", "{text} a table no result"),
    ("adopt {other}", "{other} names the recipe expected one of"),
    ("adopt {smoke}", "{smoke} scale smoke laptop"),
    ("adopt {stale}", "{stale} recipe same commit"),
    ("adopt", "Missing"),
    ("cite {cut}", "{cut} damaged"),
    ("ledger --jsn", "--jsn"),
    ("address github", "'github' https://"),
    ("address ftp://example.org/a/b", "ftp https://"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files that a reader might hand to a command by mistake."""
    folder = tmp_path_factory.mktemp("files")
    places = {name: str(folder / f"{name}.nc") for name in ("other", "cut", "flipped", "smoke", "stale")}
    places |= {"folder": str(folder), "text": str(folder / "text"), "chapter": str(folder / "chapter.ipynb")}
    experiment = Experiment(gammas=(0.5,), etas=(0.01, 0.1), width=8, steps=10, batch_size=8, record_points=4)
    runs = sweep(experiment)
    results.save(runs, places["other"])
    for name, scale in (("smoke", "smoke"), ("stale", "laptop")):
        results.save(runs.assign_attrs(recipe_name="phase_portrait_mlp3_mse", scale=scale), places[name])
    whole = Path(places["other"]).read_bytes()
    Path(places["cut"]).write_bytes(whole[: len(whole) // 2])
    Path(places["flipped"]).write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
    for name in ("text", "text.ipynb"):
        (folder / name).write_text("not what was expected\n")
    Path(places["chapter"]).write_text(
        json.dumps(_notebook('scale = "laptop"\nseed = 0\ngamma = 1.0\ntask = "digits8"\ncurves = True'))
    )
    return places


def _notebook(parameters: str) -> dict:
    cell = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return nbformat.v4.new_notebook(cells=[cell], metadata=kernel)


def _with_good_grids(typed: str) -> str:
    for option, grid in (("--gammas", "0.1 1"), ("--etas", "0.01 0.1 1")):
        if option not in typed.split():
            typed += f" {option} {grid}"
    return f"sweep {typed}"


ROWS = [(_with_good_grids(typed), words) for typed, words in SWEEP] + REST


def _check(code: int, said: str, words: str) -> None:
    assert code in (1, 2), said
    assert "Traceback" not in said and 'File "' not in said
    lines = [line for line in said.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("richness"), said
    assert lines[0].rstrip().endswith((".", "?", "!")), said
    for word in words.split():
        assert word in said, f"{word!r} is not in: {said}"


@pytest.mark.parametrize(("typed", "words"), ROWS, ids=[typed for typed, _ in ROWS])
def test_a_bad_input_ends_in_one_clear_sentence(typed, words, richness, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = richness(*shlex.split(typed.format(**files)))
    _check(answer.code, answer.err, words.format(**files))
    assert not list(tmp_path.rglob("*.nc")), "a refused command left a result behind"


def test_the_table_is_long_enough():
    assert len(ROWS) >= 40 and len({typed for typed, _ in ROWS}) == len(ROWS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed", ["sweep --gammas nan --etas 1", "frobnicate", "rerun no-such-chapter", "adopt absent.nc"]
)
def test_so_it_does_from_a_shell(typed, root):
    run = subprocess.run(
        [sys.executable, "-m", "richness", *typed.split()], capture_output=True, text=True, cwd=root, check=False
    )
    _check(run.returncode, run.stderr, "")


def test_usage_is_2_and_failure_is_1(richness, files):
    assert richness("sweep", "--gammas", "nan", "--etas", "1").code == 2
    assert richness("adopt", files["cut"]).code == 1


def test_an_unwritable_folder_is_named(richness, tiny, tmp_path, monkeypatch):
    # Permission bits do not stop root, so the answer of the system is given here.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    answer = richness(*tiny, "--out", tmp_path / "a.nc")
    _check(answer.code, answer.err, f"{tmp_path} cannot be written choose")


def test_debug_shows_the_traceback(richness, monkeypatch):
    monkeypatch.setenv("RICHNESS_DEBUG", "1")
    with pytest.raises(ValueError, match="not a command"):
        richness("frobnicate")
