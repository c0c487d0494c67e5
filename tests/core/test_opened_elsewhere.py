"""A result opened without this package, by xarray, pandas, HDF5 and R: the same numbers, and the recipe beside them."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from richness import save, sweep
from richness.cli import main

XARRAY = """
import json, sys, xarray
with xarray.open_dataset(sys.argv[1]) as runs:
    rows = runs[["late_loss", "status"]].to_dataframe().reset_index()
    told = json.loads(runs.attrs["recipe"])
print(json.dumps({"dims": list(runs.late_loss.dims), "words": runs.status.attrs["flag_meanings"], "recipe": told,
                  "rows": rows.astype(float).fillna(-1).to_dict("list"), "ours": "richness" in sys.modules}))
"""

R = """
suppressPackageStartupMessages(library(ncdf4))
file <- nc_open(commandArgs(TRUE)[1])
late <- ncvar_get(file, "late_loss")
cat(dim(late), "\\n")
cat(format(as.vector(late), digits = 9), "\\n")
cat(ncatt_get(file, 0, "recipe_hash")$value, "\\n")
cat(ncatt_get(file, "late_loss", "long_name")$value, "\\n")
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A result with a run that diverged, and its file; every axis of another length."""
    from richness import Experiment

    experiment = Experiment(
        width=12, steps=30, gammas=[0.3, 3], etas=[0.01, 0.1, 1, 1e5], seeds=[0, 1, 2], batch_size=16
    )
    runs = sweep(experiment)
    assert (runs.status == 1).any()
    return runs, save(runs, tmp_path_factory.mktemp("kept") / "mine.nc")


def test_xarray_and_pandas_open_it_without_this_package(kept, tmp_path):
    runs, path = kept
    said = subprocess.run(
        [sys.executable, "-c", XARRAY, path], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = json.loads(said.stdout)
    assert not found["ours"] and found["dims"] == ["gamma", "eta", "seed"] and found["words"] == "ok diverged not_run"
    assert found["recipe"] == json.loads(runs.attrs["recipe"])
    rows = pd.DataFrame(found["rows"])
    assert len(rows) == runs.status.size
    for row in rows.itertuples():
        cell = runs.sel(gamma=row.gamma, eta=row.eta, seed=int(row.seed))
        assert np.float32(row.late_loss) == cell.late_loss.fillna(-1) and row.status == cell.status


def test_pandas_reads_what_show_lists(kept, capsys):
    runs, path = kept
    capsys.readouterr()
    assert main(["show", str(path), "--csv"]) == 0
    rows = pd.read_csv(io.StringIO(capsys.readouterr().out))
    np.testing.assert_allclose(
        rows.set_index(["gamma", "eta", "seed"]).late_loss.to_xarray(), runs.late_loss, rtol=1e-6
    )
    assert (rows.status == "diverged").sum() == int((runs.status == 1).sum())


def test_hdf5_opens_it_though_a_checksum_stands_at_its_end(kept):
    runs, path = kept
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["late_loss"][()], runs.late_loss)
        assert [file["late_loss"].dims[k][0].name for k in range(3)] == ["/gamma", "/eta", "/seed"]


def test_r_opens_it(kept):
    """By the C library of NetCDF; R counts axes from the other end."""
    if shutil.which("Rscript") is None:
        pytest.skip("optional: needs Debian's r-base-core and r-cran-ncdf4")
    runs, path = kept
    said = subprocess.run(["Rscript", "-e", R, str(path)], capture_output=True, text=True)
    if "no package called" in said.stderr:
        pytest.skip("optional: needs Debian's r-cran-ncdf4")
    assert said.returncode == 0, said.stderr
    shape, late, recipe, name = said.stdout.strip().splitlines()
    assert [int(size) for size in shape.split()] == [3, 4, 2]
    np.testing.assert_allclose([float(value) for value in late.split()], runs.late_loss.values.ravel(), rtol=1e-6)
    assert recipe.strip() == runs.attrs["recipe_hash"] and name.strip() == runs.late_loss.attrs["long_name"]
