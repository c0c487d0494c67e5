"""The bench: peers give our results, every row is whole, and no time is ever judged."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def clone(monkeypatch):
    """The benchmarks are no part of the package: they are imported from the clone."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.slow
def test_every_peer_gives_our_results_before_it_is_timed(richness, tmp_path):
    from benchmarks.bench import QUICK
    from benchmarks.report import Row

    answer = richness("bench", "--quick", "--json", "--out", tmp_path / "bench.json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found == json.loads((tmp_path / "bench.json").read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert len(rows) == len(found["rows"])
    for peer in ("sweep-16-eager", "sweep-16-vmap", "sweep-16-jax", "sweep-16-jaxmap"):
        assert 0 < rows[peer]["difference"] < 1e-3  # other arithmetic, same numbers
    for peer in ("sharpness-curvlinops", "sharpness-pyhessian"):
        assert rows[peer]["difference"] < 1e-3
    assert rows["dead"]["difference"] == 0
    for row in rows.values():
        assert set(row) == {field.name for field in fields(Row)} | {"reached"}
        assert not row["missing"] and not row["failed"] and row["reached"] is None
        assert np.isfinite(row["ratio"]) and row["label"] and row["what"] and row["peer"] and row["unit"]
    for job in QUICK:
        assert any(name.startswith(job) for name in rows), f"{job} left no row"
    about = found["provenance"]
    assert about["quick"] and len(about["commit"]) == 40 and about["cores"] >= 1 and about["packages"]["jax"]


@pytest.mark.slow
def test_the_accelerators_questions_can_be_asked_here():
    asked = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--quick"]
    answer = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    about, *rows = map(json.loads, answer.stdout.splitlines())
    assert about["device"] == "cpu" and not [row for row in rows if "failed" in row]
    assert {row["question"] for row in rows} == {"same", "steps", "probes"}  # the others are CUDA's alone
    assert all(row["difference"] == 0 for row in rows if row["question"] == "same")
    assert all(row["gflops"] > 0 for row in rows if row["question"] == "steps")
    refused = subprocess.run([*asked, "speed"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1 and "no such question: speed; choose from same, syncs" in refused.stderr


@pytest.mark.slow
def test_a_missing_peer_is_a_row_that_says_how_to_get_it():
    """In a process of its own: jax may be imported here already."""
    code = """
import sys
sys.modules["jax"] = None  # what `import jax` then meets is a ModuleNotFoundError
from benchmarks import sweeps
from benchmarks.contenders import Contender
def absent(module, *arguments, **named):
    if module == "benchmarks.peer_jax":
        import jax
    return kept(module, *arguments, **named)
if __name__ == "__main__":
    kept, sweeps.Contender = Contender, absent
    sweeps.PEERS = (sweeps.EAGER, sweeps.JAX)
    eager, jax = sweeps.against_peers(8, steps=5, repeats=1, grid=(2, 3))
    assert eager.ratio > 0 and not eager.missing
    assert jax.ratio is None and "jax is not installed: pip install" in jax.missing, jax
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_peers_that_disagree_are_not_timed():
    from benchmarks import sweeps, workload
    from benchmarks.contenders import Disagreement

    experiment = workload.stable(2, 3, width=8, steps=5)
    ours = np.ones((len(experiment.recorded_steps), 6))
    off = np.ones((5, 6))
    off[3, 4] += 0.01
    assert sweeps.differences(experiment, {"ours": ours, "jax": np.ones((5, 6))}) == {"jax": 0.0}
    with pytest.raises(Disagreement, match=r"JAX.*0\.0099"):
        sweeps.differences(experiment, {"ours": ours, "jax": off})
    with pytest.raises(Disagreement):
        sweeps.differences(experiment, {"ours": ours, "jax": off * np.nan})


def test_a_job_that_breaks_leaves_a_row_and_the_others_go_on(richness, monkeypatch, tmp_path):
    """The command is given the report of these jobs by a clone of its own, which has nothing else."""
    from benchmarks import bench
    from benchmarks.report import Row
    from richness.runs import places

    def breaks():
        raise RuntimeError("no such luck")

    def holds():
        return [Row("holds", "it holds", "work", "peer", ratio=3.0, target=2.0, spread=(2.5, 3.5))]

    monkeypatch.setattr(bench, "JOBS", {"breaks": breaks, "holds": holds})
    reports = {"": bench.measure(), "holds": bench.measure(["holds"])}
    with pytest.raises(ValueError, match="breaks, holds"):
        bench.measure(["nothing"])
    (tmp_path / "benchmarks").mkdir()
    program = f"import sys\nprint({ {names: json.dumps(report) for names, report in reports.items()} }[' '.join(sys.argv[1:])])"
    (tmp_path / "benchmarks" / "__main__.py").write_text(program)
    monkeypatch.setattr(places, "checkout", lambda: tmp_path)
    answer = richness("bench")
    assert answer.code == 1 and "breaks: RuntimeError: no such luck" in answer.err
    assert "2.5 to 3.5" in answer.out and "≥ 2" in answer.out and "yes" in answer.out
    answer = richness("bench", "--only", "holds")
    assert answer.code == 0 and "breaks" not in answer.out


@pytest.mark.slow
def test_an_unknown_job_is_refused_with_the_names_of_all(capfd):
    """The words of the program come through the command, and nothing beside them."""
    from benchmarks.bench import QUICK
    from richness.cli import main

    assert main(["bench", "--quick", "--only", "nothing"]) == 1
    said = capfd.readouterr()
    assert said.err == f"richness bench: unknown job nothing: choose from {', '.join(QUICK)}.\n" and not said.out


def test_without_the_benchmarks_a_clone_is_asked_for(richness, monkeypatch):
    from richness.runs import places

    monkeypatch.setattr(places, "checkout", lambda: None)
    answer = richness("bench")
    assert answer.code == 1 and "run this in a clone" in answer.err


@pytest.mark.parametrize(
    ("changes", "reached"),
    [({"ratio": 2.0}, True), ({"ratio": 1.9}, False), ({"ratio": 2.1, "sense": "at most"}, False),
     ({"ratio": 1.0, "sense": "at most"}, True), ({"ratio": None}, None), ({"ratio": 3.0, "target": None}, None),
     ({"ratio": 3.0, "difference": 2e-3, "allowed": 1e-3}, False)],
)  # fmt: skip
def test_what_counts_as_reached(changes, reached):
    from benchmarks.report import Row

    assert Row("a", "b", "c", "d", **({"target": 2.0} | changes)).reached is reached


def test_operations_are_counted_as_written_out():
    """Two hidden layers of 3, four inputs, two outputs, five samples, product by product."""
    from benchmarks.problem import Problem

    weights = tuple(np.zeros(shape, np.float32) for shape in ((3, 4), (3, 3), (2, 3)))
    zeros = np.zeros((1, 5, 4), np.float32), np.zeros((1, 5, 2), np.float32)
    problem = Problem(weights, *zeros, gamma=np.ones(1), lr=np.ones(1))
    forward = 2 * 5 * (4 * 3 + 3 * 3 + 3 * 2)
    to_weights, to_inputs, update = forward, 2 * 5 * (3 * 3 + 3 * 2), 2 * (12 + 9 + 6)
    assert problem.flops() == forward + to_weights + to_inputs + update
    assert problem.scales == (4**-0.5, 3**-0.5, 1 / 3)


def test_a_fitted_network_is_the_centred_one_in_other_words():
    """Its loss is that of f = (f̃ − f̃₀)/γ on one-hot targets, as the package computes it."""
    import torch

    from benchmarks import curvature
    from benchmarks.peer_eager import network
    from richness.networks import LOSSES
    from richness.networks.parameterization import centre_output

    experiment, fitted = curvature.networks(width=8, steps=5, samples=16)
    for one in fitted:
        x, labels = torch.from_numpy(one.inputs), torch.from_numpy(one.one_hot).argmax(dim=1)
        stacks = [[torch.from_numpy(w)[None] for w in weights] for weights in (one.weights, one.start)]
        raw, at_start = (experiment.architecture.forward(stack, x) for stack in stacks)
        ours = LOSSES["mse"](centre_output(raw, at_start, torch.tensor([one.gamma])), labels)
        theirs = torch.nn.functional.mse_loss(network(one.weights, one.scales)(x), torch.from_numpy(one.targets))
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)
        assert not torch.equal(raw, at_start)
