"""The kernel apart from its engine: its vectorised tanh, its text, and that only its user's own library is ever loaded."""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import subprocess
import sys
import tempfile
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from richness import kernel, measure, sweep
from richness.kernel import compiler
from richness.runs import results, store
from richness.runs.engines import Fused, engine_for, passed_over


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_is_tanh_to_a_few_units_in_the_last_place(dtype):
    """Through a network of two layers whose weights are the identity; at NaN and the infinities too."""
    x = torch.cat([s * torch.logspace(-30, 3, 999, dtype=torch.float64) for s in (1, -1)]).to(dtype)
    x = torch.cat([x, torch.tensor([0.0, torch.inf, -torch.inf, torch.nan], dtype=dtype)])
    shape = kernel.Shape([1, 1, 1], [1.0, 1.0], len(x), dtype, "mse", "tanh")
    one, columns = kernel.pad_rows(torch.ones(1, 1, dtype=dtype)), kernel.pad_rows(x[None])
    out = torch.empty_like(columns)
    kernel.call("outputs", dtype, shape.plan, 1, kernel.pointers([one, one]), columns, out)
    exact = torch.tanh(x.double())
    torch.testing.assert_close(
        out[0, : len(x)].double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=0, equal_nan=True
    )


def test_the_kernels_text_holds_every_header():
    text = compiler.source()
    for path in compiler.FOLDER.glob("*.h"):
        assert path.read_text(encoding="utf-8") in text, path


def test_the_kernels_codes_are_those_of_its_source():
    text = compiler.source()
    for kind, codes in (
        ("Loss", kernel.LOSS_CODES), ("Activation", kernel.ACTIVATION_CODES), ("Optimizer", kernel.OPTIMIZER_CODES),
    ):  # fmt: skip
        (names,) = re.findall(rf"^enum {kind} {{(.*?)}};", text, re.M)
        assert {name.strip().lower(): code for code, name in enumerate(names.split(","))} == codes


def alone(code: str, **environment: str) -> str:
    """Run some lines in a fresh process with its own kernel cache; what it prints."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


LOAD = (
    "from richness.kernel.compiler import library, reason; from richness.runs.engines import engine_for;"
    "from richness import Experiment;"
    "print(engine_for(Experiment(gammas=[1], etas=[1])).__name__, reason())"
)


@pytest.mark.slow
def test_without_a_compiler_torch_takes_over_and_says_why(tmp_path):
    empty = tmp_path / "bin"
    empty.mkdir()
    said = alone(LOAD, PATH=str(empty), XDG_CACHE_HOME=str(tmp_path), CXX="")
    assert said.startswith("Fused no C++ compiler is installed") and "g++" in said


@pytest.mark.slow
def test_a_compiler_that_fails_is_quoted(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no room for registers >&2\nexit 1\n")
    broken.chmod(0o755)
    assert "no room for registers" in alone(LOAD, CXX=str(broken), XDG_CACHE_HOME=str(tmp_path))


@pytest.mark.slow
def test_a_damaged_kernel_is_built_again(tmp_path):
    assert alone(LOAD, XDG_CACHE_HOME=str(tmp_path)) == "Compiled"
    (kept,) = (tmp_path / "richness" / "kernel").glob("*.so")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:1000])
    assert alone(LOAD, XDG_CACHE_HOME=str(tmp_path)) == "Compiled"
    (kept,) = (tmp_path / "richness" / "kernel").glob("*.so")
    assert len(kept.read_bytes()) >= len(whole)


@pytest.mark.slow
def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "richness").write_text("in the way")
    assert alone(LOAD, XDG_CACHE_HOME=str(tmp_path), TMPDIR=str(tmp_path)) == "Compiled"


@pytest.mark.slow
def test_the_kernel_is_not_asked_for_by_an_import():
    assert compiler.SOURCE.is_file()
    look = "from richness.kernel.compiler import _load_once; print(_load_once.cache_info().misses)"
    assert alone(f"import richness.runs.training; {look}") == "0"


@pytest.mark.slow
def test_in_any_locale(tmp_path):
    assert alone(LOAD, XDG_CACHE_HOME=str(tmp_path), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") == "Compiled"


# -- gradient and Hessian ------------------------------------------------------------------------------------------------

SIZES = [5, 7, 3, 9, 4, 6, 3]  # features of the layers: no two alike, none a multiple of a vector
PHI = {"relu": torch.relu, "linear": lambda h: h, "tanh": torch.tanh}


class Problem:
    """Three networks of a depth, with torch's own losses, gradients and Hessians, in float64."""

    def __init__(self, depth: int, activation: str, loss: str, dtype: torch.dtype, samples: int = 70):
        draw = torch.Generator().manual_seed(depth)
        self.sizes, self.scales = [*SIZES[:depth], SIZES[-1]], [0.3 + 0.2 * k for k in range(depth)]
        self.activation, self.loss, self.gamma = activation, loss, torch.tensor([0.3, 1.0, 4.0], dtype=dtype)
        shapes = list(pairwise(self.sizes))
        self.start = [torch.randn(1, out, into, generator=draw).to(dtype) for into, out in shapes]
        self.weights = [w + 0.2 * torch.randn(3, *w.shape[1:], generator=draw).to(dtype) for w in self.start]
        self.x = torch.randn(samples, self.sizes[0], generator=draw).to(dtype)
        labels = torch.randint(self.sizes[-1], (samples,), generator=draw)
        self.targets = torch.nn.functional.one_hot(labels, self.sizes[-1]).to(dtype)
        self.dtype, self.ends = dtype, [out * into for into, out in shapes]

    def kernels(self) -> kernel.Curvature:
        samples = kernel.Samples(self.sizes, self.scales, self.loss, self.activation, self.x, self.targets, self.start)
        return kernel.Curvature(samples, self.weights, self.gamma)

    def value(self, row: torch.Tensor, cell: int) -> torch.Tensor:
        """The loss of one network as a function of its parameters (P,)."""

        def outputs(layers: list[torch.Tensor]) -> torch.Tensor:
            a = self.x.double()
            for number, (w, scale) in enumerate(zip(layers, self.scales, strict=True), 1):
                h = scale * a @ w.T
                a = PHI[self.activation](h) if number < len(layers) else h
            return a

        layers = [part.view(w.shape[1:]) for part, w in zip(row.split(self.ends), self.weights, strict=True)]
        f = (outputs(layers) - outputs([w[0].double() for w in self.start])) / self.gamma[cell].double()
        named = {"mse": torch.nn.functional.mse_loss, "cross_entropy": torch.nn.functional.cross_entropy}
        return named[self.loss](f, self.targets.double())

    @property
    def rows(self) -> torch.Tensor:
        return torch.cat([w.flatten(1) for w in self.weights], dim=1).double()

    @cached_property
    def hessians(self) -> torch.Tensor:
        return torch.stack([torch.func.hessian(self.value)(row, cell) for cell, row in enumerate(self.rows)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ["relu", "linear", "tanh"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("depth", [2, 3, 4, 5, 6])
def test_gradient_and_hessian_are_those_of_automatic_differentiation(depth, loss, activation, dtype):
    problem = Problem(depth, activation, loss, dtype)
    curvature = problem.kernels()
    values = torch.stack([problem.value(row, cell) for cell, row in enumerate(problem.rows)])
    gradients = torch.stack([torch.func.grad(problem.value)(row, cell) for cell, row in enumerate(problem.rows)])
    vectors = torch.randn(3, problem.rows.shape[1], generator=torch.Generator().manual_seed(1)).to(dtype)
    products = torch.bmm(problem.hessians, vectors.double()[:, :, None])[:, :, 0]
    found = (curvature.loss[:, None], curvature.gradient, curvature.multiply(vectors))
    for mine, exact in zip(found, (values[:, None], gradients, products), strict=True):
        # softmax makes an error relative to f of one relative to 1, and f is up to some tens here
        assert ((mine - exact).norm(dim=1) < 100 * torch.finfo(dtype).eps * exact.norm(dim=1)).all()


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("depth", [2, 3, 4, 5, 6])
def test_sharpness_through_the_kernel_is_the_dense_hessians(depth, loss):
    """In float32, to the error asked for, at every depth."""
    problem = Problem(depth, "relu", loss, torch.float32)
    curvature = problem.kernels()
    found = measure.sharpness(None, problem.weights, product=curvature.multiply, start=curvature.gradient)
    exact = torch.linalg.eigvalsh(problem.hessians)[:, -1]
    assert ((found / exact - 1).abs() < 1e-4).all()


@pytest.mark.parametrize("samples", [1, 16, 64, 65, 200])
def test_any_number_of_samples(samples):
    problem = Problem(3, "relu", "mse", torch.float64, samples)
    vectors = torch.ones_like(problem.rows)
    exact = problem.hessians.sum(dim=2)
    torch.testing.assert_close(problem.kernels().multiply(vectors), exact, rtol=1e-9, atol=1e-12)


def test_a_loss_that_is_not_finite_leaves_nan_and_only_its_own():
    problem = Problem(3, "relu", "mse", torch.float32)
    whole = problem.kernels()
    problem.weights[0][1] = torch.inf
    broken, ones = problem.kernels(), torch.ones_like(whole.gradient)
    for before, after in ((whole.gradient, broken.gradient), (whole.multiply(ones), broken.multiply(ones))):
        assert torch.isnan(after[1]).all() and torch.equal(before[[0, 2]], after[[0, 2]])


@pytest.mark.parametrize("sizes", [[5, 7, 3, 3], [16, 32, 16, 3]])
def test_a_product_is_its_networks_own_wherever_the_vector_lies(sizes):
    """A row of a wider tensor, as the Lanczos process has them; sizes of whole vectors, whose rows are taken as they are."""
    draw = torch.Generator().manual_seed(0)
    weights = [torch.randn(3, out, into, generator=draw) for into, out in pairwise(sizes)]
    x, targets = torch.randn(20, sizes[0], generator=draw), torch.randn(20, sizes[-1], generator=draw)
    samples = kernel.Samples(sizes, [0.5] * 3, "mse", "relu", x, targets, [w[:1] for w in weights])
    curvature = kernel.Curvature(samples, weights, torch.ones(3))
    basis = torch.randn(3, 4, sum(w[0].numel() for w in weights), generator=draw)
    whole = curvature.multiply(basis[:, 2])
    assert torch.equal(whole, curvature.multiply(basis[:, 2].clone()))
    for cell in range(3):
        alone = kernel.Curvature(samples, [w[cell : cell + 1] for w in weights], torch.ones(1))
        assert torch.equal(alone.multiply(basis[cell : cell + 1, 2])[0], whole[cell])


# -- whose library is loaded ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty cache of this user's; the library is looked for anew, and built in haste."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiler, "_load_once", cache(compiler._load_once.__wrapped__))
    monkeypatch.setattr(compiler, "FLAGS", ("-O0", *compiler.FLAGS[2:]))
    compiler._describe_build.cache_clear()
    made = tmp_path / "richness" / "kernel"
    made.mkdir(mode=0o700, parents=True)
    yield made
    compiler._describe_build.cache_clear()


def plant(folder: Path) -> Path:
    """A file under the name of the library that is looked for, as anyone can make one: loaded, it would be an error."""
    content = b"of somebody else"
    stem = compiler._short_hash(f"{compiler._describe_build().identity} {compiler.source()}".encode())
    planted = folder / f"kernel-{stem}-{compiler._short_hash(content)}.so"
    planted.write_bytes(content)
    return planted


def let_others_write(folder: Path, monkeypatch) -> None:
    folder.chmod(0o770)


def be_a_link(folder: Path, monkeypatch) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def be_anothers(folder: Path, monkeypatch) -> None:
    user = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: user)


def be_of_nobody(folder: Path, monkeypatch) -> None:
    """Neither HOME nor an entry among the system's users."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: {}[number])


@pytest.mark.parametrize("spoil", [let_others_write, be_a_link, be_anothers, be_of_nobody])
def test_what_others_could_have_written_is_never_loaded(folder, monkeypatch, spoil):
    """The kernel is built anew, in a folder of this process, which is gone afterwards."""
    planted = plant(folder)
    spoil(folder, monkeypatch)
    kept = Path(compiler.library()._name)
    assert folder.parent not in kept.parents and not kept.parent.exists()
    assert planted.read_bytes() == b"of somebody else" and len(list(planted.parent.iterdir())) == 1


def test_a_file_that_others_could_have_written_is_built_again(folder):
    plant(folder).chmod(0o666)
    kept = Path(compiler.library()._name)
    assert kept.parent == folder and kept.stat().st_mode & 0o777 == 0o700
    assert [kept] == list(folder.iterdir())
    before = kept.stat().st_mtime_ns
    compiler._load_once.cache_clear()
    assert Path(compiler.library()._name) == kept and kept.stat().st_mtime_ns == before


@pytest.mark.slow
def test_where_nothing_may_be_loaded_torch_takes_over_and_says_why(folder, small, monkeypatch):
    """As from a file system without permission to execute."""

    def refuse(path: str) -> None:
        raise OSError(f"{path}: failed to map segment from shared object")

    monkeypatch.setattr(ctypes.cdll, "LoadLibrary", refuse)
    assert compiler.library() is None and compiler.build() is None
    assert compiler.reason().count("failed to map segment") == 2 and str(folder) in compiler.reason()
    assert engine_for(small()) is Fused
    assert passed_over(small()).startswith(f"the compiled engine cannot be built here ({folder}")
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError("no folder")))
    compiler._load_once.cache_clear()
    assert compiler.reason().endswith("; then: no folder")


def test_a_result_and_its_store_know_the_compiler_and_the_processor(small, tmp_path, monkeypatch):
    made, processor = compiler.build(), results.processor_name()
    here = store.folder_of(tmp_path, small())
    assert sweep(small(steps=2)).attrs["device"].endswith(f"{processor}, {made.version}")
    monkeypatch.setattr(compiler, "_describe_build", lambda: made._replace(identity="of clang"))
    assert store.folder_of(tmp_path, small()) != here
