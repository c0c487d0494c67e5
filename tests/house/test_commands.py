"""The commands when all is well, and when they are stopped or left half-done."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from richness import cli
from richness.analysis import boundaries
from richness.analysis import ledger as claims
from richness.cli import saving
from richness.runs import jobs, places, recipes, results, shards
from richness.runs.batches import join_batches
from richness.runs.experiment import Experiment
from richness.runs.snapshots import load_weights
from richness.runs.sweep import sweep
from richness.site import citations


def test_help_does_not_wait_for_torch():
    code = "import sys, richness.cli as c; r = c.main(['--help']); assert 'torch' not in sys.modules; sys.exit(r)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    for name in cli.COMMANDS:
        assert name in run.stdout


def test_the_module_is_the_command():
    run = subprocess.run([sys.executable, "-m", "richness", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("richness ")


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_explains_itself(name, richness):
    answer = richness(name, "--help")
    assert answer.code == 0 and f"usage: richness {name}" in answer.out


def test_without_a_command_the_list_is_shown(richness):
    answer = richness()
    assert answer.code == 2 and "sweep" in answer.out


def test_the_options_of_sweep_are_the_fields_of_an_experiment(richness):
    said = richness("sweep", "--help").out
    for name in Experiment.model_fields:
        assert "--" + name.replace("_", "-") in said


def test_a_sweep_is_written_with_its_recipe_and_is_not_repeated(richness, tiny, tmp_path):
    out = tmp_path / "new" / "tiny.nc"
    first = richness(*tiny, "--out", out)
    assert first.code == 0 and "6 ok" in first.out
    runs = results.read(out)
    assert runs.loss.dims == ("gamma", "eta", "seed", "step") and runs.loss.shape[:3] == (2, 3, 1)
    assert results.recipe_of(runs).steps == 12
    before = out.read_bytes()
    second = richness(*tiny, "--out", out)
    assert second.code == 0 and "nothing to do" in second.out and out.read_bytes() == before
    assert not out.with_suffix(".parts").exists(), "finished shards are dropped once the whole is written"


def test_a_sweep_says_what_its_probes_cost(richness, tiny, tmp_path):
    answer = richness(*tiny, "--probes", "drift", "sharpness", "--probe-points", "2", "--out", tmp_path / "probed.nc")
    lines = answer.out.splitlines()[1:3]
    pattern = r"(drift|sharpness) [\d.e+]+ ms a cell and step, \d+% of the time"
    assert answer.code == 0 and len(lines) == 2 and all(re.fullmatch(pattern, line) for line in lines), lines


def test_a_grid_may_be_start_stop_points(richness, tmp_path):
    out = tmp_path / "grid.nc"
    small = ["--width", "8", "--steps", "5", "--batch-size", "8", "--record-points", "3"]
    assert richness("sweep", "--gammas", "1e-1:10:3", "--etas", "0.01", "0.1:1:4", *small, "--out", out).code == 0
    runs = results.read(out)
    assert runs.gamma.values == pytest.approx([0.1, 1, 10]) and runs.sizes["eta"] == 5


@pytest.mark.slow
def test_advice_is_a_range_of_at_most_a_decade(richness):
    said = richness("advise", "--depth", "3", "--loss", "mse", "--gamma", "10", "--width", "256", "--json")
    advice = json.loads(said.out)
    assert said.code == 0 and advice["low"] < advice["best"] < advice["high"] <= 10 * advice["low"]
    assert advice["lr_raw"] == pytest.approx([256 * advice[name] for name in ("low", "best", "high")])
    assert "η" in richness("advise", "--gamma", "10").out


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["--gamma", "0"], "a positive number"),
        (["--gamma", "1e9"], "1e"),
        (["--depth", "1"], "2"),
        (["--loss", "readers_hinge"], "mse"),
        (["--optimizer", "readers_lion"], "adam"),
    ],
)
def test_bad_questions_get_a_sentence(richness, typed, expected):
    answer = richness("advise", *typed)
    assert answer.code == 2 and expected in answer.err and "Traceback" not in answer.err


def test_a_search_says_where_the_boundaries_are_and_is_not_repeated(richness, tmp_path):
    out = tmp_path / "search.nc"
    typed = ["search", "--gammas", "1:30:3", "--etas", "1e-2", "1e4", "--width", "8", "--steps", "60", "--boundaries",
             "eta_crit", "--per-decade", "6", "--out", out]  # fmt: skip
    first = richness(*typed)
    runs = results.read(out)
    assert first.code == 0 and f"{runs.cells_run} of {runs.cells_full_grid} cells" in first.out
    for eta in boundaries.eta_crit(runs).values[:, 0]:
        assert f"{eta:.3g}" in first.out
    again = richness(*typed)
    assert again.code == 0 and "nothing to do" in again.out
    assert richness("sweep", "--gammas", "1", "--etas", "1", "--out", out).code == 1  # another recipe's file


def test_a_sweep_names_the_boundaries_that_it_did_not_see(richness, tiny, tmp_path):
    """Six cells see no boundary: each is told as beyond what was run, or as absent."""
    from richness.analysis.boundaries import boundaries
    from richness.runs import results

    said = richness(*tiny, "--out", tmp_path / "a.nc").out.splitlines()
    seen = boundaries(results.read(tmp_path / "a.nc"))
    for name, one in seen.items():
        told = [line for line in said if line.startswith(f"{name} is censored at")]
        gammas = one.attrs["censored_at"]
        assert len(told) == bool(gammas)
        assert all(f"{gamma:.3g}" in told[0] or "every gamma" in told[0] for gamma in gammas)
    assert any("eta_crit is censored at" in line and "above the η that were run there" in line for line in said)


def test_eta_in_natural_units_gives_each_gamma_its_own_band(richness, tmp_path):
    from richness.runs import results

    out = tmp_path / "a.nc"
    small = ["--width", "8", "--steps", "2", "--batch-size", "8", "--record-points", "3"]
    answer = richness("sweep", "--gammas", "0.01:100:3", "--etas", "0.1:10:5", "--natural", *small, "--out", out)
    runs = results.read(out)
    share = (runs.eta / results.recipe_of(runs).natural_eta(runs.gamma)).where(runs.status.isel(seed=0) != 2)
    counts = share.notnull().sum("eta").values
    assert answer.code == 0 and "eta_max / natural" in answer.out
    assert set(counts) <= {4, 5} and float(share.min()) >= 0.1 and float(share.max()) <= 10.001
    for typed, words in (
        (["--etas", "1", "2"], "one grid"),
        (["--etas", "0.1:10:5", "--band", "1", "2"], "no --band"),
    ):
        refused = richness("sweep", "--gammas", "1", "--natural", *typed, *small)
        assert refused.code == 2 and words in refused.err


def test_a_dry_run_tells_cells_cost_and_place(richness, tiny, tmp_path):
    out = tmp_path / "a.nc"
    answer = richness(*tiny, "--dry-run", "--out", out)
    assert answer.code == 0 and not out.exists() and not list(tmp_path.rglob("*.npz"))
    assert "6 cells × 1 seeds × 12 steps" in answer.out and str(out) in answer.out and "kept: 0 of 6" in answer.out
    assert re.search(r"cost: about \d+ s in this process", answer.out)


def test_show_tells_a_result_and_lists_its_runs(richness, tiny, tmp_path):
    import csv

    from richness.runs import results

    out = tmp_path / "a.nc"
    printed = richness(*tiny, "--out", out).out
    shown = richness("show", out)
    assert shown.code == 0 and "gamma 2, eta 3, seed 1" in shown.out and "6 ok" in shown.out
    table = next(line for line in printed.splitlines() if line.startswith("gamma "))
    assert table in shown.out
    runs = results.read(out)
    rows = list(csv.DictReader(richness("show", out, "--csv").out.splitlines()))
    assert len(rows) == 6 and {row["status"] for row in rows} == {"ok"}
    for row in rows:
        cell = runs.sel(gamma=float(row["gamma"]), eta=float(row["eta"]), seed=int(row["seed"]))
        assert float(row["late_loss"]) == pytest.approx(float(cell.late_loss))
    results.save(runs.isel(gamma=0, seed=0), tmp_path / "part.nc")
    assert "eta_crit" in richness("show", tmp_path / "part.nc").out
    runs.to_netcdf(tmp_path / "plain.nc")
    assert richness("show", tmp_path / "plain.nc").out == shown.out
    assert "make it with" in richness("show", "no_such_result").err


@pytest.mark.slow
def test_two_workers_give_the_same_numbers(richness, tiny, tmp_path):
    one, two = tmp_path / "one.nc", tmp_path / "two.nc"
    tiny[tiny.index("--seeds") + 1 : tiny.index("--seeds") + 2] = ["0", "1"]
    assert richness(*tiny, "--out", one).code == 0
    assert richness(*tiny, "--workers", "2", "--out", two).code == 0
    assert results.read(one).identical(results.read(two).assign_attrs(results.read(one).attrs))


def test_ctrl_c_says_how_to_go_on(richness, tiny, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "sweep", stopped)
    out = tmp_path / "an odd name.nc"
    answer = richness(*tiny, "--out", out)
    assert answer.code == 130 and "Traceback" not in answer.err
    assert f"kept in {out.with_suffix('.parts')}; to go on: richness sweep --gammas 0.1 1 " in answer.err
    assert shlex.split(answer.err.rpartition("to go on: ")[2]) == ["richness", *tiny, "--out", str(out)]


LONG = ["--gammas", "1e-1:10:4", "--etas", "1e-3:1:40", "--steps", "200000", "--seeds", "0", "1"]


@pytest.fixture
def long_sweep(tmp_path):
    """A sweep of minutes in a group of its own, ended with the test; it heeds Ctrl-C even where pytest was told not to."""
    begun: list[subprocess.Popen] = []

    def begin(workers: str) -> subprocess.Popen:
        run = subprocess.Popen(
            [sys.executable, "-m", "richness", "sweep", *LONG, "--workers", workers, "--out", str(tmp_path / "a.nc")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        begun.append(run)
        assert run.stderr is not None and "steps" in run.stderr.readline()
        time.sleep(2)
        assert run.poll() is None
        return run

    yield begin
    for run in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_real_ctrl_c_ends_at_once_and_quietly(workers, long_sweep):
    run = long_sweep(workers)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to the whole group
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130 and "to go on: richness sweep --gammas" in said, said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="optional: processes are counted in /proc")
def test_workers_end_with_the_command_that_was_killed(long_sweep):
    run = long_sweep("2")
    deadline = time.monotonic() + 120
    while len(group_of(run.pid)) < 3:  # the command, and workers that have come up
        assert time.monotonic() < deadline
        time.sleep(0.2)
    run.kill()
    while group_of(run.pid) - {run.pid}:
        assert time.monotonic() < deadline, "workers go on without their command"
        time.sleep(0.2)


def group_of(leader: int) -> set[int]:
    """The living processes of a process group."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(group) == leader and state != "Z":
                found.add(int(stat.parent.name))
    return found


def test_a_stopped_sweep_goes_on_from_its_shards(richness, tiny, tmp_path, monkeypatch):
    out = tmp_path / "a.nc"
    tiny[tiny.index("--seeds") + 1 : tiny.index("--seeds") + 2] = ["0", "1", "2"]
    whole, ran = shards.run_shard, []

    def stops_after_two(*arguments, **named):
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(1)
        return whole(*arguments, **named)

    monkeypatch.setattr(shards, "run_shard", stops_after_two)
    stopped = richness(*tiny, "--out", out)
    assert stopped.code == 130
    kept = sorted(out.with_suffix(".parts").rglob("shard*"))
    assert len(kept) == 2 and not out.exists()
    kept[0].write_bytes(kept[0].read_bytes()[:100])  # and one of the shards is damaged meanwhile
    ran.clear()
    monkeypatch.setattr(shards, "run_shard", lambda *a, **k: ran.append(1) or whole(*a, **k))
    again = richness(*shlex.split(stopped.err.rpartition("to go on: richness ")[2]))
    assert again.code == 0 and out.exists() and len(ran) == 2
    assert "damaged" in again.err and "Traceback" not in again.err


@pytest.mark.slow
def test_one_command_at_a_time_writes_a_file(richness, tmp_path):
    """The second is refused while the first lives; killed with -9, the first holds nothing back."""
    out = tmp_path / "a.nc"
    typed = ["sweep", "--gammas", "1e-1:10:4", "--etas", "1e-3:1:40", "--steps", "200000", "--out", str(out)]
    run = subprocess.Popen([sys.executable, "-m", "richness", *typed], stderr=subprocess.PIPE, text=True)
    assert run.stderr is not None and "200000 steps" in run.stderr.readline()
    answer = richness(*typed)
    assert answer.code == 1 and f"another command is at work on {out}" in answer.err
    run.kill()
    run.communicate()
    with saving.lock_result(out.with_suffix(".parts"), out):
        pass


def test_a_log_gets_a_line_each_tenth(richness, tiny, tmp_path):
    tiny[tiny.index("--steps") + 1] = "400"
    said = richness(*tiny, "--out", tmp_path / "a.nc").err.splitlines()
    assert said[0] == "a: 6 cells × 1 seeds × 400 steps" and 3 <= len(said) <= 11
    assert re.fullmatch(r"a: \d0 %, 0 of 6 cells done, 0 diverged, [\d,]+ cell·steps/s, \d+ s left", said[1])
    assert said[-1] == "a: 100 %, 6 of 6 cells done, 0 diverged"


def test_a_terminal_gets_a_bar(richness, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    said = richness(*tiny, "--out", tmp_path / "a.nc").err
    assert "6 of 6 cells, 0 diverged" in said and "100%" in said and "cell-steps/s" in said


@pytest.mark.slow
def test_ledger_json_is_a_list_of_rows_with_the_documented_keys(richness):
    answer = richness("ledger", "--json")
    assert answer.code == 0, answer.err
    rows = json.loads(answer.out)
    keys = {"id", "part", "claim", "predicted", "measured", "interval", "reason", "window", "seeds", "scale"}
    assert {row["id"] for row in rows} >= {f"C{i}" for i in range(1, 18)}
    for row in rows:
        assert set(row) >= keys | {"verdict", "chapter"}
        assert row["verdict"] in claims.VERDICTS
        assert row["interval"] or row["reason"], f"{row['id']} has neither an interval nor a reason"
    assert "NaN" not in answer.out
    table = richness("ledger")
    assert table.code == 0 and "C17" in table.out


ROWS = [
    {"id": one, "part": "whole", "claim": "long " * 20 + "end", "reason": "no " * 30 + "run"} for one in ("C7", "S1.2")
]


def test_the_ledger_is_read_claim_by_claim_and_in_full(richness, monkeypatch):
    monkeypatch.setattr(claims, "ledger", lambda: ROWS)
    assert [row["id"] for row in json.loads(richness("ledger", "S1.2", "--json").out)] == ["S1.2"]
    short, full = richness("ledger", "C7").out, richness("ledger", "C7", "--full").out
    assert "S1.2" not in short + full and "…" in short and "end" not in short
    assert ROWS[0]["claim"] in full and ROWS[0]["reason"] in full and "…" not in full
    wrong = richness("ledger", "C99")
    assert wrong.code == 2 and "C17" in wrong.err and "'C99'" in wrong.err


def test_cite_names_the_paper_first_and_what_a_result_used(richness, tiny, tmp_path):
    everything = richness("cite").out
    assert everything.startswith("@inproceedings{atanasov2025optimization") and "@software{richness" in everything
    out = tmp_path / "tiny.nc"
    richness(*tiny, "--probes", "loss", "sharpness", "--out", out)
    used = richness("cite", out).out
    keys = ("atanasov2025optimization", "lecun1998gradient", "loosli2007training", "salmon2011parallel", "cohen2021")
    assert [key for key in keys if key not in used] == []
    assert "noci2024super" not in used and used.count("{") == used.count("}")
    known = citations.entries()
    assert all(key in known for keys in citations.USES.values() for key in keys) and citations.PAPER in known


def test_precompute_makes_only_what_is_stale(richness, tmp_path, monkeypatch):
    def small(scale):
        return Experiment(gammas=(1.0,), etas=(0.01, 0.1), width=8, steps={"smoke": 5}.get(scale, 6), batch_size=8)

    monkeypatch.setattr(recipes, "all_recipes", lambda: {"small": small})
    monkeypatch.setattr(places, "precomputed_folder", lambda: tmp_path / "precomputed")
    monkeypatch.setattr(places, "runs_folder", lambda: tmp_path / "runs")
    assert "not there yet" in richness("precompute", "--dry-run").out
    assert richness("precompute").code == 0
    stored = results.load("small")
    assert stored.attrs["recipe_name"] == "small" and stored.attrs["scale"] == "laptop"
    assert "up to date" in richness("precompute").out
    assert richness("precompute", "--scale", "smoke").code == 0
    assert (tmp_path / "runs" / "smoke" / "small.nc").exists()
    assert not (tmp_path / "precomputed" / "smoke").exists(), "smoke never goes under precomputed/"


def test_an_unexpected_error_is_still_one_line(richness, monkeypatch):
    def broken():
        raise TypeError("something odd")

    monkeypatch.setattr(claims, "ledger", broken)
    answer = richness("ledger")
    assert answer.code == 1 and "something odd" in answer.err and "RICHNESS_DEBUG=1" in answer.err
    assert "Traceback" not in answer.err


def test_warnings_come_back_to_the_caller_as_they_were(richness):
    before = warnings.showwarning
    richness("--help")
    assert warnings.showwarning is before


def test_snapshots_are_told_before_the_start_kept_beside_the_result_and_refused_by_name(richness, tiny, tmp_path):
    out = tmp_path / "mine.nc"
    for steps, words in [
        ("13", "from 0 to 12, the last, got 13"),
        ("-1", "at least 0, got -1"),
        ("1.5", "whole number"),
    ]:
        answer = richness(*tiny, "--snapshots", "0", steps, "--out", out)
        assert answer.code == 2 and "--snapshots: expected" in answer.err and words in answer.err
    plan = richness(*tiny, "--snapshots", "0", "12", "--dry-run", "--out", out)
    assert plan.code == 0 and f"weights: steps 0, 12 in {tmp_path / 'mine.weights'}, about " in plan.out
    assert not list(tmp_path.rglob("*.safetensors"))
    answer = richness(*tiny, "--snapshots", "0", "12", "--out", out)
    assert answer.code == 0 and "weights: steps 0, 12 in" in answer.err
    assert len(load_weights(tmp_path / "mine.weights", 12)) == 6
    assert "nothing to do" in richness(*tiny, "--snapshots", "0", "--out", out).out
    before = results.read(out)
    assert richness(*tiny, "--snapshots", "6", "--out", out).code == 0
    assert len(load_weights(tmp_path / "mine.weights", 6)) == 6 and results.data_hash(
        results.read(out)
    ) == results.data_hash(before)


def test_show_tells_a_result_of_several_batch_sizes(richness, tmp_path):
    plane = {"width": 8, "steps": 20, "gammas": [0.1, 1], "etas": [0.01, 0.1, 1, 1e9], "record_points": 5}
    path = tmp_path / "batches.nc"
    results.save(join_batches({size: sweep(Experiment(batch_size=size, **plane)) for size in (4, 16)}), path)
    told = richness("show", path).out
    assert "batch_size 4, 16" in told and "batch 2" in told and "B = 4\ngamma" in told and "B = 16\ngamma" in told
    lines = richness("show", path, "--csv").out.splitlines()
    assert len(lines) == 1 + 2 * 2 * 4 and lines[0].startswith("batch,gamma,eta,seed")
