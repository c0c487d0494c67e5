"""What a reader registers: names, fingerprints, the recipe's hash, and the way to other processes."""

from __future__ import annotations

import copy
import functools
import multiprocessing
import sys
import threading
import types
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import cloudpickle
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import richness
from richness import Experiment, rng, sweep
from richness.fingerprint import fingerprint
from richness.networks import MLP, Network, hidden_weight, readout_weight
from richness.networks.losses import one_hot
from richness.runs.experiment import REGISTRIES
from richness.runs.registered import pack_registered, unpack_registered
from richness.runs.results import ResultError
from richness.runs.training import train

pytestmark = pytest.mark.usefixtures("tidy_registries")


def shallow(inputs, outputs, width, depth, activation):
    parameters = (hidden_weight("shallow/a", width, inputs), readout_weight("shallow/b", outputs, width))

    def apply(w, x):
        return torch.tanh(x @ w["shallow/a"].T) @ w["shallow/b"].T

    return Network(inputs, outputs, width, depth, parameters, apply)


def ramp(seed, steps, batch_size, stream, device):
    x = rng.normals(seed, stream, steps, batch_size * 6, device).reshape(len(steps), batch_size, 6).float()
    return x, x.sum(dim=-1, keepdim=True)


def largest(now):
    return torch.stack([w.flatten(1).abs().amax(dim=1) for w in now.weights]).amax(dim=0)


def typed(text: str, name: str, module: str = "__main__"):
    """The function that a reader typed into a notebook: of a module that no other process can import."""
    namespace = {"__name__": module, "torch": torch, "Network": Network}
    namespace |= {"hidden_weight": hidden_weight, "readout_weight": readout_weight}
    exec(text, namespace)
    return namespace[name]


SOURCE = """
def mine(inputs, outputs, width, depth, activation):
    first, last = hidden_weight("mine/a", width, inputs), readout_weight("mine/b", outputs, width)
    apply = lambda w, x: torch.relu(x @ w["mine/a"].T + SHIFT) @ w["mine/b"].T
    return Network(inputs, outputs, width, depth, (first, last), apply)
"""


def test_all_three_join_the_tables(small):
    richness.register_network("shallow", shallow)
    richness.register_task("ramp", ramp, inputs=6, outputs=1, classification=False)
    richness.register_probe("largest", largest)
    runs = sweep(small(network="shallow", task="ramp", probes=["largest", "sharpness"], steps=6, depth=2))
    assert (runs.status == 0).all() and runs.largest.notnull().any() and runs.sharpness.notnull().any()
    start = small(network="shallow", task="ramp").architecture.initialise(0)
    np.testing.assert_allclose(runs.largest[..., 0], max(float(w.abs().max()) for w in start), rtol=1e-4)


# Names.


def test_the_same_function_may_come_again_and_another_may_not():
    richness.register_network("shallow", shallow)
    richness.register_network("shallow", shallow)
    first, edited = (typed(SOURCE.replace("SHIFT", shift), "mine") for shift in ("0.0", "0.1"))
    richness.register_network("mine", first)
    richness.register_network("mine", edited)  # the cell was edited and run again
    assert REGISTRIES["network"]["mine"] is edited
    with pytest.raises(ValueError, match=r"network 'mine' is registered already, from __main__\.mine: choose another"):
        richness.register_network("mine", shallow)
    with pytest.raises(ValueError, match="network 'cnn' is one of the package's own"):
        richness.register_network("cnn", shallow)
    with pytest.raises(ValueError, match="must be a Python identifier such as 'mine', got 'two words'"):
        richness.register_network("two words", shallow)


def test_unknown_names_list_what_there_is(small):
    richness.register_network("shallow", shallow)
    with pytest.raises(ValueError, match=r"unknown network 'shalow': choose one of mlp, cnn, .*, shallow, or register"):
        small(network="shalow")
    with pytest.raises(ValueError, match=r"unknown task 'ramp': choose one of digits, .*richness\.register_task"):
        small(task="ramp")


# Wrong things.


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda i, o, w, d, a: torch.nn.Linear(i, o), "must return a richness.networks.Network, got Linear"),
        (lambda i, o: None, r"must take \(inputs, outputs, width, depth, activation\)"),
        (lambda i, o, w, d, a: shallow(i, o, w + 1, d, a), r"asked for .*'width': 12.* returned .*'width': 13"),
        (
            lambda i, o, w, d, a: Network(i, o, w, d, (hidden_weight("p", w, i),), lambda p, x: x @ p["p"].T),
            r"outputs \(batch, 10\); for a batch of 3 it gave \(3, 12\)",
        ),
        (
            lambda i, o, w, d, a: Network(i, o, w, d, (hidden_weight("p", o, 16),), lambda p, x: x @ p["p"].T),
            r"apply fails on inputs of shape \(batch, 64\): RuntimeError",
        ),
        (
            lambda i, o, w, d, a: Network(
                i, o, w, d, (hidden_weight("p", o, i),), lambda p, x: x @ p["p"].T if p["p"].sum() > 0 else x[:, :o]
            ),
            "apply fails .* data-dependent control flow",
        ),
        (
            lambda i, o, w, d, a: Network(
                i, o, w, d, (hidden_weight("p", o, i),), lambda p, x: x @ p["p"].T, lambda p, x: [(x @ p["p"].T).mT]
            ),
            r"layers must give a list of pre-activations, each \(batch, ...\)",
        ),
        (
            lambda i, o, w, d, a: Network(i, o, w, d, (hidden_weight("p", o, i),) * 2, lambda p, x: x @ p["p"].T),
            "names of their own",
        ),
    ],
)
def test_a_network_that_does_not_fit_is_told_so(small, build, message):
    richness.register_network("wrong", build)
    with pytest.raises(ValueError, match=f"(?s)network 'wrong': .*{message}"):
        small(network="wrong")


def test_what_is_no_function_is_refused():
    for register, more in (
        (richness.register_network, {}),
        (richness.register_task, {"inputs": 1, "outputs": 1, "classification": False}),
        (richness.register_probe, {}),
        (richness.register_activation, {}),
        (richness.register_loss, {}),
        (richness.register_optimizer, {}),
        (richness.register_schedule, {}),
    ):
        with pytest.raises(TypeError, match="takes a function"):
            register("mine", torch.zeros(3), **more)


def labels(seed, steps, batch_size, stream, device):
    x, y = ramp(seed, steps, batch_size, stream, device)
    return x, (y[..., 0] > 0).long()


@pytest.mark.parametrize(
    ("draw", "fields", "message"),
    [
        (ramp, {"inputs": 7}, r"draw must give inputs torch.float32 \(2, 3, 7\) .*got torch.float32 \(2, 3, 6\)"),
        (ramp, {"outputs": 2}, r"targets torch.float32 \(2, 3, 2\) .*got torch.float32 \(2, 3, 1\)"),
        (ramp, {"classification": True}, r"labels torch.int64 \(2, 3\) .*got torch.float32 \(2, 3, 1\)"),
        (labels, {"classification": True, "outputs": 1}, "labels must be from 0 to 0, got 0 to 1"),
        (lambda *a: tuple(t / 0 for t in ramp(*a)), {}, "inputs that are not finite"),
        (lambda *a: tuple(t.double() for t in ramp(*a)), {}, r"inputs torch.float32 .*got torch.float64"),
        (lambda s, t, b, n, d: (torch.rand(len(t), b, 6), torch.rand(len(t), b, 1)), {}, "different at a second draw"),
        (lambda s, t, b, n, d: ramp(s, range(len(t)), b, n, d), {}, "another when steps 0 and 1 are drawn together"),
    ],
)
def test_a_task_that_draws_wrongly_is_told_so(draw, fields, message):
    with pytest.raises(ValueError, match=f"task 'wrong': .*{message}"):
        richness.register_task("wrong", draw, **{"inputs": 6, "outputs": 1, "classification": False} | fields)
    assert "wrong" not in REGISTRIES["task"]


def test_a_task_of_classes_without_held_out_samples_is_tested_on_fresh_ones(small):
    richness.register_task("sides", labels, inputs=6, outputs=2, classification=True)
    fields = {"task": "sides", "probes": ["accuracy"], "steps": 200, "width": 32, "batch_size": 64}
    runs = sweep(small(**fields, gammas=[1.0], etas=[0.03, 0.1, 0.3]))
    assert float(runs.accuracy.sel(step=200).max()) > 0.9
    source = REGISTRIES["task"]["sides"]
    assert not torch.equal(source.test()[0][:64], source.batch(0, 0, 64)[0])


# The hash.


def test_the_hash_follows_the_source(small):
    plain = small().hash
    first, edited = (typed(SOURCE.replace("SHIFT", shift), "mine") for shift in ("0.0", "0.1"))
    richness.register_network("mine", first)
    one = small(network="mine", depth=2)
    before = one.hash
    assert before == small(network="mine", depth=2).hash
    richness.register_network("mine", edited)
    assert one.hash != before, "an edit changes what the recipe stands for"
    richness.register_network("mine", first, version="2")
    assert one.registered == {"network mine": "2"}
    assert small().hash == plain, "recipes of the package's own things do not change"


def test_a_store_does_not_mix_two_versions(small, tmp_path):
    first, edited = (typed(SOURCE.replace("SHIFT", shift), "mine") for shift in ("0.0", "1.0"))
    losses = []
    for build in (first, edited, first):
        richness.register_network("mine", build)
        experiment = small(network="mine", depth=2, steps=5, dtype="float64")
        losses.append(sweep(experiment, store=tmp_path).loss.values)
    assert not np.array_equal(losses[0], losses[1]) and np.array_equal(losses[0], losses[2])
    assert len(list(tmp_path.iterdir())) == 2


def bent(value):
    def function(h):
        return torch.tanh(value * h)

    return function


DIAL = 1.0


def dialled(outputs, targets):
    return DIAL * (outputs - one_hot(targets, outputs.shape[-1], outputs.dtype)).square().mean(dim=(1, 2))


def test_two_closures_of_one_factory_share_no_result(small, tmp_path):
    """Under one name and with one store, as when a cell is run again with another value."""
    runs = []
    for value in (1.0, 2.0, 1.0):
        richness.register_activation("bent", bent(value))
        runs.append(sweep(small(activation="bent", steps=5), store=tmp_path))
    assert runs[0].recipe_hash == runs[2].recipe_hash != runs[1].recipe_hash
    assert runs[0].loss.equals(runs[2].loss) and not runs[0].loss.equals(runs[1].loss)


def test_a_global_that_changes_after_registering_is_seen(small, tmp_path, monkeypatch):
    richness.register_loss("dialled", dialled)
    runs = []
    for value in (1.0, 3.0):
        monkeypatch.setitem(globals(), "DIAL", value)
        runs.append(sweep(small(loss="dialled", steps=3), store=tmp_path))
    np.testing.assert_allclose(runs[1].initial_loss, 3 * runs[0].initial_loss, rtol=1e-6)


def test_a_network_is_built_anew_when_what_it_was_built_with_changes(small, monkeypatch):
    space = {"torch": torch, "Network": Network, "hidden_weight": hidden_weight, "readout_weight": readout_weight}
    exec(SOURCE.replace("SHIFT", "shift").replace("    apply", "    shift = SHIFT\n    apply"), space)
    losses = []
    for space["SHIFT"] in (0.0, 1.0):
        richness.register_network("mine", space["mine"])
        losses.append(sweep(small(network="mine", depth=2, steps=4)).loss)
    assert not losses[0].equals(losses[1])


plain = st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=4), st.none(), st.booleans())
values = st.recursive(
    st.one_of(plain, st.lists(st.floats(allow_nan=False), max_size=3).map(np.array)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), st.dictionaries(st.text(max_size=2), inner)
    ),
    max_leaves=6,
)
HOLDERS = {
    "closed over": lambda value: bent(value),
    "a default": lambda value: types.FunctionType((lambda held: held).__code__, {}, argdefs=(value,)),
    "a global": lambda value: types.FunctionType((lambda: VALUE).__code__, {"VALUE": value}),  # noqa: F821
    "inside another function": lambda value: bent(bent(value)),
    "bound": lambda value: functools.partial(bent, value),
    "a field": lambda value: types.MethodType(bent, types.SimpleNamespace(value=value)),
}


@settings(deadline=None, max_examples=60)
@given(values, values, st.sampled_from(sorted(HOLDERS)))
def test_functions_are_told_apart_by_what_they_hold(one, other, where):
    """By values that print alike or not; a copy is the same function."""
    first, twin, second = (HOLDERS[where](value) for value in (one, copy.deepcopy(one), other))
    assert fingerprint(first) == fingerprint(twin) == fingerprint(cloudpickle.loads(cloudpickle.dumps(first)))
    assert (fingerprint(first) == fingerprint(second)) == (in_words(one) == in_words(other))


def in_words(value):
    """A value in words that tell 1 from 1.0 and True, and -0.0 from 0.0."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {value.tolist()}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} {[in_words(one) for one in value]}"
    if isinstance(value, dict):
        return f"{[(key, in_words(one)) for key, one in value.items()]}"
    return f"{type(value).__name__} {value!r}"


def test_modules_and_tensors_that_a_function_holds_count(small):
    def print_of(module):
        return fingerprint(lambda x: module(x))

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Dropout(0.1))
    before = print_of(module)
    assert print_of(copy.deepcopy(module)) == before
    with torch.no_grad():
        module[0].bias[1] += 1e-3
    assert print_of(module) != before
    module[0].bias.data[1] -= 1e-3
    module[1].p = 0.2
    assert print_of(module) != before


@pytest.mark.parametrize(
    "held", [threading.Lock(), sys.stdout, (k for k in range(3))], ids=["lock", "file", "generator"]
)
def test_what_cannot_be_told_asks_for_a_version(small, held):
    def leaning(now):
        return now.gamma * bool(held)

    with pytest.raises(TypeError, match=r"probe 'leaning': .*held, which it.* closes over.* give a version="):
        richness.register_probe("leaning", leaning)
    richness.register_probe("leaning", leaning, version="1")
    assert small(probes=["leaning"]).registered == {"probe leaning": "1"}


def test_held_out_samples_are_part_of_a_task(small):
    fields = {"inputs": 6, "outputs": 2, "classification": True}
    prints = set()
    for count in (3, 4):
        x = torch.ones(count, 6)
        richness.register_task("sides", labels, **fields, held_out=lambda x=x: (x, torch.zeros(len(x)).long()))
        prints.add(small(task="sides").hash)
    assert len(prints) == 2


# A reader's module.


def test_a_module_of_the_readers_is_not_torn_between_threads(small):
    """``functional_call`` swaps a module's weights while it runs; the pieces of a sweep run in threads."""
    module = torch.nn.Sequential(
        torch.nn.Linear(64, 12, bias=False), torch.nn.ReLU(), torch.nn.Linear(12, 10, bias=False)
    )

    def build(inputs, outputs, width, depth, activation):
        parameters = hidden_weight("0.weight", width, inputs), readout_weight("2.weight", outputs, width)
        apply = lambda w, x: torch.func.functional_call(module, dict(w), (x,))  # noqa: E731
        return Network(inputs, outputs, width, depth, parameters, apply)

    richness.register_network("modular", build)
    assert small(network="modular", depth=2).architecture.one_at_a_time
    assert not small(network="cnn", depth=4).architecture.one_at_a_time
    fields = {"depth": 2, "steps": 20, "etas": list(np.geomspace(1e-3, 0.1, 20)), "dtype": "float64"}
    together = train(small(network="modular", **fields), 0, [(1.0, eta) for eta in fields["etas"]] * 4, threads=4)
    alone = train(small(network="mlp", **fields), 0, [(1.0, eta) for eta in fields["etas"]] * 4)
    assert np.isfinite(together.loss).all() and alone.loss.shape == together.loss.shape


# Other processes.


def emptied():
    """The registries as a fresh process has them."""
    for table in REGISTRIES.values():
        for name in list(table._added):
            del table[name], table._added[name]


def test_what_was_packed_is_there_again(small):
    richness.register_network("mine", typed(SOURCE.replace("SHIFT", "0.3"), "mine"))
    richness.register_probe("largest", largest)
    experiment = small(network="mine", depth=2, probes=["largest"], steps=4)
    expected, mark = sweep(experiment), experiment.hash
    parcel = pack_registered(experiment)
    emptied()
    with pytest.raises(ValueError, match="unknown network 'mine'"):
        small(network="mine")
    unpack_registered(parcel)
    again = small(network="mine", depth=2, probes=["largest"], steps=4)
    assert again.hash == mark
    assert sweep(again).equals(expected)
    kept = REGISTRIES["network"]["mine"]
    unpack_registered(parcel)
    assert REGISTRIES["network"]["mine"] is kept, "what is there with the same fingerprint stays"
    assert pack_registered(small()) == b""


def test_what_cannot_travel_is_named(small):
    lock = threading.Lock()
    richness.register_probe("clinging", lambda now: now.gamma * lock.locked(), version="1")
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(ValueError, match="the probe 'clinging' cannot be sent to another"),
    ):
        sweep(small(probes=["clinging"], steps=2), executor=pool)


def test_a_module_that_the_worker_lacks_is_named(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "vanishing", module := types.ModuleType("vanishing"))
    exec("def largest(now): return now.gamma", module.__dict__)
    richness.register_probe("here_only", module.largest)
    parcel = pack_registered(small(probes=["here_only"]))
    monkeypatch.delitem(sys.modules, "vanishing")
    with pytest.raises(ModuleNotFoundError, match=r"a worker cannot import 'vanishing'.*install that module"):
        unpack_registered(parcel)


@pytest.mark.slow
def test_spawned_workers_know_what_was_registered(small, monkeypatch):
    """A notebook's network and an importable module's probe, in processes that have seen neither."""
    richness.register_network("mine", typed(SOURCE.replace("SHIFT", "0.3"), "mine"))
    richness.register_task("ramp", ramp, inputs=6, outputs=1, classification=False)
    richness.register_probe("largest", largest)
    experiment = small(network="mine", task="ramp", depth=2, probes=["largest"], steps=6, seeds=[0, 1])
    expected = sweep(experiment)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        assert sweep(experiment, executor=pool).equals(expected)
        monkeypatch.setitem(sys.modules, "vanishing", module := types.ModuleType("vanishing"))
        exec("def largest(now): return now.gamma", module.__dict__)
        richness.register_probe("here_only", module.largest)
        with pytest.raises(ResultError, match=r"a worker cannot import 'vanishing'"):
            sweep(small(probes=["here_only"], steps=2), executor=pool)


def test_the_mlp_is_still_what_an_experiment_means():
    assert isinstance(Experiment(gammas=[1], etas=[1]).architecture, MLP)
