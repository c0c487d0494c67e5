from __future__ import annotations

import io
import json
import subprocess

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import richness
from richness import Experiment, sweep
from richness.runs import places, results
from richness.runs.results import ResultError, read, save


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    return sweep(
        Experiment(
            width=8, task="digits8", batch_size=16, steps=30, gammas=[0.1, 1.0, 10.0], etas="1e-3:1e3:6", seeds=[0, 3],
            probes=("loss", "sharpness", "accuracy"), probe_points=3, budgets=(15,), probe_samples=32, band=(0.05, 1e9),
        ),
        name="test", scale="smoke",
    )  # fmt: skip


def test_layout(runs):
    assert runs.loss.dims == ("gamma", "eta", "seed", "step")
    assert runs.late_loss.dims == runs.peak_loss.dims == runs.status.dims == ("gamma", "eta", "seed")
    assert runs.budget_loss.dims == ("gamma", "eta", "seed", "budget")
    assert runs.step.values[[0, -1]].tolist() == [0, 30] and runs.budget.values.tolist() == [15, 30]
    assert set(np.unique(runs.status)) == {0, 1, 2}
    np.testing.assert_allclose(runs.lr_raw, 8 * runs.eta)
    np.testing.assert_allclose(runs.tau.sel(gamma=10, step=30), runs.eta * 3)


def test_every_cell_tells_its_outcome(runs):
    """ok: finite to the end; diverged: finite up to diverged_at, NaN from there on; not_run: nothing at all."""
    status, loss = runs.status.values, runs.loss.values
    assert np.isfinite(loss[status == 0]).all() and np.isfinite(runs.late_loss.values[status == 0]).all()
    assert np.isnan(loss[status == 2]).all() and np.isnan(runs.initial_loss.values[status == 2]).all()
    assert np.isnan(runs.late_loss.values[status != 0]).all()
    died = status == 1
    assert ((runs.diverged_at.values >= 0) == died).all()
    before = runs.step.values < runs.diverged_at.values[died][:, None]
    assert (np.isfinite(loss[died]) == before).all()


def test_late_loss_and_peak_loss_use_every_step():
    fields = {"task": "staircase", "width": 4, "steps": 70, "record_points": 500, "dtype": "float64"}
    runs = sweep(Experiment(gammas=[1.0], etas=[0.1, 0.2], **fields)).isel(gamma=0, seed=0)
    assert runs.sizes["step"] == 71
    np.testing.assert_allclose(runs.late_loss, runs.loss.isel(step=slice(64, 71)).mean("step"))
    np.testing.assert_allclose(runs.peak_loss, runs.loss.isel(step=slice(0, 60)).max("step"))


def test_a_stored_and_a_live_result_are_one_and_any_netcdf_reader_opens_the_file(runs, tmp_path):
    path = save(runs, tmp_path / "r.nc")
    stored = read(path)
    xr.testing.assert_identical(runs, stored)
    assert stored.loss.dtype == runs.loss.dtype
    with xr.open_dataset(path, engine="h5netcdf") as plain:
        assert plain.loss.shape == runs.loss.shape


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_part_of_a_result_is_kept_as_it_is(runs, tmp_path_factory, data):
    """One γ, some steps, a few variables: what is read is what was saved."""
    part = runs[data.draw(st.lists(st.sampled_from(list(runs.data_vars)), min_size=1, unique=True))]
    for dim in sorted(map(str, part.sizes)):
        size = part.sizes[dim]
        kept = data.draw(
            st.one_of(st.none(), st.integers(0, size - 1), st.lists(st.integers(0, size - 1), unique=True))
        )
        part = part if kept is None else part.isel({dim: kept})
    path = save(part, tmp_path_factory.mktemp("part") / "part.nc")
    xr.testing.assert_identical(read(path), part)


def test_what_is_no_result_is_not_saved_as_one(runs, tmp_path):
    with pytest.raises(TypeError, match=r"runs: expected a Dataset .* got DataArray; save runs\[\['loss'\]\]"):
        save(runs.loss, tmp_path / "a.nc")
    with pytest.raises(ValueError, match="keep_attrs=True"):
        save(runs.drop_attrs(), tmp_path / "a.nc")


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_plain_netcdf_is_named_and_read_where_it_is_asked_for(runs, tmp_path, engine):
    path = tmp_path / "mine.nc"
    runs.to_netcdf(path, engine=engine)
    with pytest.raises(ResultError, match=r"without this project's checksum.*unsealed=True") as refused:
        read(path)
    assert "delete" not in str(refused.value)
    xr.testing.assert_equal(read(path, unsealed=True), runs)
    xr.testing.assert_equal(read(save(read(path, unsealed=True), tmp_path / "sealed.nc")), runs)
    cut = tmp_path / "cut.nc"
    cut.write_bytes(save(runs, tmp_path / "whole.nc").read_bytes()[:-1])
    with pytest.raises(ResultError, match="damaged"):
        read(cut, unsealed=True)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "gamma,eta,late_loss\n0.1,0.01,0.09\n", r"a table.*pandas\.read_csv"),
        ("a.json", '{"format": "richness laboratory run, version 1", "ask": {}}', "from the laboratory.*json.load"),
        ("b.json", '[{"id": "C1"}]', "is JSON"),
        ("empty.nc", "", "damaged.*make it again"),
    ],
)
def test_another_kind_of_file_is_named(tmp_path, name, content, words):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ResultError, match=words) as refused:
        richness.load(tmp_path / name)
    assert "delete" not in str(refused.value)


def test_other_netcdf_is_named(tmp_path):
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(ResultError, match="carries no recipe"):
        read(tmp_path / "a.nc", unsealed=True)


def test_load_takes_a_path(runs, tmp_path):
    path = save(runs, tmp_path / "mine.nc")
    xr.testing.assert_identical(richness.load(path), runs)
    xr.testing.assert_identical(richness.load(str(path)), runs)
    with pytest.raises(ResultError, match=r"cannot read runs/mine\.nc: No such file"):
        richness.load("runs/mine.nc")
    with pytest.raises(ValueError, match="is a path, which has none"):
        richness.load(path, "laptop")
    with pytest.raises(TypeError, match="name: expected"):
        richness.load(3)


def test_provenance_is_complete(runs):
    attrs = runs.attrs
    assert set(
        ["git_commit", "git_dirty", "device", "dtype", "packages", "date", "wall_seconds", "cpu_seconds", "seeds"]
    ) <= set(attrs)
    assert attrs["schema"] == results.SCHEMA and attrs["recipe_name"] == "test" and attrs["scale"] == "smoke"
    experiment = results.recipe_of(runs)
    assert experiment.hash == attrs["recipe_hash"] and experiment.gammas == tuple(runs.gamma.values)
    assert {"python", "torch", "numpy", "richness"} <= set(json.loads(attrs["packages"]))
    root = places.checkout()
    if root and (root / ".git").exists():
        head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
        assert len(head) == 40 and len(attrs["git_commit"]) == 40


def test_half_written_cut_and_flipped_files_are_refused_by_name(runs, tmp_path):
    path = save(runs, tmp_path / "whole.nc")
    raw = path.read_bytes()
    broken = {"half.nc": raw[: len(raw) // 2], "cut.nc": raw[:-1], "empty.nc": b"", "text.nc": b"not a result\n"}
    for position in np.random.default_rng(0).integers(0, len(raw) - 1, 40):
        flipped = bytearray(raw)
        flipped[position] ^= 1 << (position % 8)
        broken[f"flip-{position}.nc"] = bytes(flipped)
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ResultError, match=name.replace(".", r"\.")):
            read(tmp_path / name)


def test_another_schema_is_refused_by_number(runs, tmp_path):
    path = save(runs.assign_attrs(schema=99), tmp_path / "later.nc")
    with pytest.raises(ResultError, match=r"schema 99.*reads schema 1"):
        read(path)


JUNK = [
    "",
    "no JSON",
    "7",
    "[]",
    "null",
    '{"a": []}',
    '["<img src=x>"]',
    "[" * 50_000,
    7,
    -1.5,
    np.nan,
    np.zeros(3),
    "x" * 1000,
]


@pytest.mark.slow
@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: str(junk)[:12])
def test_whatever_the_attributes_say_a_file_is_read_or_refused_by_name(runs, tmp_path, junk):
    """KeyError, TypeError, IndexError and ValidationError used to come out; and HTML in `seeds` went into the page."""
    refused = 0
    for name in (*runs.attrs, "kind"):
        path = save(runs.assign_attrs({name: junk}), tmp_path / "odd.nc")
        try:
            read(path)
        except ResultError as error:
            assert "odd.nc" in str(error) and len(str(error)) < 3000
            refused += 1
    assert refused >= 8


def test_without_an_attribute_or_a_coordinate_a_file_is_refused_by_name(runs, tmp_path):
    needed = set(runs.attrs) - {
        "registered",
        "engine",
        "probe_seconds",
        "probe_share",
        "Conventions",
        "title",
        "schema",
    }
    for name in needed:  # without a schema it is not even saved
        attrs = {key: value for key, value in runs.attrs.items() if key != name}
        with pytest.raises(ResultError, match=r"odd\.nc"):
            read(save(runs.drop_attrs().assign_attrs(attrs), tmp_path / "odd.nc"))
    for name in ("gamma", "eta", "step"):
        with pytest.raises(ResultError, match=r"odd\.nc"):
            read(save(runs.drop_vars(name).rename({name: f"other_{name}"}), tmp_path / "odd.nc"))


def test_sealed_junk_is_refused_by_name(tmp_path):
    """A seal only says that a file is as it was written: anyone can seal anything."""
    other = io.BytesIO()
    xr.Dataset({"x": ("y", [1.0, 2.0])}).to_netcdf(other, engine="h5netcdf")
    for content in (b"", b"\x89HDF\r\n\x1a\n", b"CDF\x01" + bytes(100), bytes(10_000), other.getvalue()):
        results.write_sealed(tmp_path / "junk.nc", content)
        with pytest.raises(ResultError, match=r"junk\.nc is not a result|junk\.nc carries no recipe"):
            read(tmp_path / "junk.nc")


def test_writing_never_leaves_a_part_and_a_folder_is_no_place_for_a_result(runs, tmp_path, monkeypatch):
    path = save(runs, tmp_path / "r.nc")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.os, "fsync", full)
    with pytest.raises(ResultError, match="No space left"):
        save(runs, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ResultError, match="is a folder"):
        save(runs, tmp_path)


def test_rounding_keeps_what_matters():
    values = np.array([1.0, np.pi, 1e-30, 3.4e38, np.nan, np.inf, 1e300, -1e300, 0.0])
    out = results.round_mantissa(values)
    np.testing.assert_allclose(out[:3], values[:3], rtol=2.0**-15)
    assert np.isnan(out[4]) and np.isinf(out[5]) and np.isfinite(out[[3, 6, 7]]).all() and out[8] == 0
    assert (out[:3].view(np.int32) & ((1 << 9) - 1) == 0).all()


def test_load_names_what_is_missing_and_takes_the_largest_scale_there_is(runs, monkeypatch, tmp_path):
    monkeypatch.setattr(places, "precomputed_folder", lambda: tmp_path)
    with pytest.raises(ResultError, match="richness precompute nothing"):
        richness.load("nothing")
    with pytest.raises(ValueError, match="unknown scale 'huge'"):
        richness.load("nothing", "huge")
    for scale in ("laptop", "paper"):
        save(runs.assign_attrs(scale=scale), places.precomputed_path("x", scale))
    assert richness.load("x").attrs["scale"] == "paper"
    assert richness.load("x", "laptop").attrs["scale"] == "laptop"
