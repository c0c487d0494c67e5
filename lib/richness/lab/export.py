"""torch -> ONNX: the library's own training step, gradient, Hessian-vector product, gauges and streams, for a web page.

Each network is traced once, in float64, with a batch of any size; the graphs of one purpose each are cut out of the whole, and
lowered to float32 as well. What JavaScript needs to know besides (shapes, names of draws, constants, sizes of files) goes into
``manifest.json``, so that nothing is typed twice.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import logging
import math
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from richness import measure
from richness.data import TASKS, Task, digits
from richness.data.streams import TEST_SAMPLES, Analytic, digits_stream
from richness.measure import curvature
from richness.networks import LOSSES, MLP, OPTIMIZERS
from richness.networks.optimizers import Step, stability_line
from richness.networks.parameterization import FLOAT64_BELOW, centre_output
from richness.runs.experiment import Experiment
from richness.runs.probes import KERNEL_SAMPLES

WIDTH, DEPTHS, OPTIMIZER = 64, (2, 3, 4), "sgd"
OFFERED: dict[str, tuple[str, ...]] = {
    "digits8": ("mse", "cross_entropy"),
    "teacher": ("mse",),
    "staircase": ("mse",),
    "halfspace": ("mse",),
}
BATCH_SIZES = (16, 32, 64, 128, 256, 512)
STEPS = (100, 300, 1000, 3000, 10_000)
PROBE_POINTS = 16
DTYPES = {"float32": "f32", "float64": "f64"}
EXACT = "gauges"  # in float64 always: onnxruntime's float32 sums leave 3e-5 of error in a centred kernel's alignment
REASONS = {
    "depth": "The page carries networks of 2, 3 and 4 layers; any other depth needs a kernel (Jupyter or Colab).",
    "width": f"The page carries networks {WIDTH} units wide; any other width needs a kernel (Jupyter or Colab).",
    "loss": "Cross-entropy needs classes: this task has real targets.",
    "task": "The page makes 8×8 digits and the analytic tasks; 28×28 digits and photographs need a kernel.",
    "optimizer": "The page trains by SGD; momentum, sign steps and Adam need a kernel (Jupyter or Colab).",
    "batch_size": f"The page trains on batches of {BATCH_SIZES[0]} to {BATCH_SIZES[-1]}; others need a kernel.",
    "steps": f"The page trains for up to {STEPS[-1]:,} steps; longer runs need a kernel (Jupyter or Colab).",
}
OPSET = 20
BATCH = 48  # to trace with: equal to no other dimension, else it would be taken for that

Tensors = dict[str, Tensor]
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs")
WASM, PACKED_WASM, DIGITS, MANIFEST = "ort-wasm-simd-threaded.wasm", "ort.wasm.gz", "digits.bin.gz", "manifest.json"


# The mathematics -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Programs:
    """What is computed of one network under one loss: every method takes and gives tensors of one cell.

    ``w0, w1, …`` are the weights, each (1, fan_out, fan_in), ``s0, …`` those at step 0; x inputs (B, D); ``labels`` int64 (B,);
    ``targets`` real or one-hot rows (B, K); raw0 f̃(x; θ₀), (1, B, K); gamma and eta (1,); v (1, P).
    """

    network: MLP
    loss: str
    classes: bool

    def _weights(self, of: Tensors, letter: str = "w") -> list[Tensor]:
        return [of[f"{letter}{layer}"] for layer in range(self.network.depth)]

    def _outputs(self, weights: list[Tensor], of: Tensors) -> Tensor:
        return centre_output(self.network.forward(weights, of["x"]), of["raw0"], of["gamma"])

    def _loss_of(self, outputs: Tensor, of: Tensors) -> Tensor:
        return LOSSES[self.loss](outputs, of["labels" if self.loss == "cross_entropy" else "targets"])

    def raw(self, of: Tensors) -> Tensors:
        """f̃, neither centred nor divided."""
        return {"raw": self.network.forward(self._weights(of), of["x"])}

    def step(self, of: Tensors) -> Tensors:
        """One update: the loss before it, the outputs f, and the weights after it, n0, n1, …"""
        network, optimizer = self.network, OPTIMIZERS[OPTIMIZER]
        leaves = [w.requires_grad_() for w in self._weights(of)]
        f = self._outputs(leaves, of)
        loss = self._loss_of(f, of)
        moved: Tensors = {}
        gradients = torch.autograd.grad(loss.sum(), leaves)
        for layer, (leaf, gradient) in enumerate(zip(leaves, gradients, strict=True)):
            factor = optimizer.factor(network.width, network.scales[layer], network.fans[layer])
            size = (of["eta"] * factor)[:, None, None]
            weight = leaf.detach().clone()
            optimizer.update(weight, gradient.clone(), [], size, Step(0, [size], size, 0.0))
            moved[f"n{layer}"] = weight
        return {"loss": loss.detach(), "f": f.detach(), **moved}

    def gradient(self, of: Tensors) -> Tensors:
        """The gradient of the loss, (1, P)."""
        weights = self._weights(of)
        return {"gradient": curvature.gradient(lambda w: self._loss_of(self._outputs(w, of), of), weights)}

    def product(self, of: Tensors) -> Tensors:
        """The Hessian of the loss times v, (1, P)."""
        product = self.network.hessian_vector_product(
            self._weights(of), of["x"], lambda raw: self._loss_of(centre_output(raw, of["raw0"], of["gamma"]), of)
        )
        return {"product": product(of["v"])}

    def gauges(self, of: Tensors) -> Tensors:
        """The kernel's alignment with the targets, (1,), and every hidden layer's drift, (1, L − 1)."""
        network, now, start = self.network, self._weights(of), self._weights(of, "s")
        kernel = measure.ntk_from_factors(network.factors(now, of["x"]))
        drift = measure.drift(network.hidden(now, of["x"]), network.hidden(start, of["x"]))
        return {"alignment": measure.alignment(kernel, of["targets"]), "drift": torch.stack(drift, dim=1)}

    def test(self, of: Tensors) -> Tensors:
        """The loss, and the share of classes named rightly, (1,)."""
        f = self._outputs(self._weights(of), of)
        out = {"test_loss": self._loss_of(f, of)}
        if self.classes:
            right = f.argmax(dim=-1) == of["labels"]
            out["accuracy"] = right.to(f.dtype).mean(dim=1)
        return out

    def inputs(self) -> tuple[Tensors, dict[str, int]]:
        """An example of every input, and the axis along which samples lie where there are any."""
        net, start = self.network, self.network.initialise(0)
        generator = torch.Generator().manual_seed(0)
        like = partial_normals(generator)
        example = {f"w{k}": w[None].clone() for k, w in enumerate(start)}
        example |= {f"s{k}": w[None].clone() for k, w in enumerate(start)}
        example |= {"x": like(BATCH, net.inputs), "raw0": like(1, BATCH, net.outputs), "v": like(1, _size(net))}
        example |= {"gamma": torch.ones(1).double(), "eta": torch.full((1,), 0.1).double()}
        example |= {"targets": like(BATCH, net.outputs)}
        axes = {"x": 0, "raw0": 1, "targets": 0}
        if self.classes:
            example["labels"], axes["labels"] = torch.arange(BATCH) % net.outputs, 0
        return example, axes

    def all(self) -> dict[str, Callable[[Tensors], Tensors]]:
        """The programs by the names of their graphs."""
        return {name: getattr(self, name) for name in ("raw", "step", "gradient", "product", "gauges", "test")}


def partial_normals(generator: torch.Generator) -> Callable[..., Tensor]:
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)


def _size(network: MLP) -> int:
    return sum(math.prod(shape) for shape in network.shapes)


# Tracing -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's progress and deprecations are not this project's to show."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(before)


def traced(program: Callable[[Tensors], Tensors], example: Tensors, axes: Mapping[str, int]) -> Any:
    """A function of tensors as an ONNX model whose inputs and outputs have their names.

    Args:
        program: a dict of tensors to a dict of tensors, in torch operations; it may differentiate.
        example: inputs to trace with. axes: those that hold samples, along which axis; their number is left open.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    outputs = list(program(example))  # what is made once and kept, is made here, outside of the trace
    example = {name: value.detach().clone() for name, value in example.items()}

    def flat(*values: Tensor) -> list[Tensor]:
        return list(program(dict(zip(example, values, strict=True))).values())

    batch = torch.export.Dim("batch", min=2, max=2**16)
    shapes = tuple({axes[name]: batch} if name in axes else None for name in example)
    with _quiet():
        graph = make_fx(flat, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*example.values())
        exported = torch.export.export(graph, tuple(example.values()), dynamic_shapes=shapes, strict=False)
        made = torch.onnx.export(
            exported, dynamo=True, opset_version=OPSET, optimize=True, verbose=False,
            input_names=list(example), output_names=outputs,
        )  # fmt: skip
    assert made is not None
    model = made.model_proto
    _count_on_one(model, axes)
    return model


def _count_on_one(model: Any, axes: Mapping[str, int]) -> None:
    """Read the number of samples off the first input that has them: else a program may need one for its size alone."""
    first, axis = next(iter(axes.items()))
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] in axes:
            ends = {attribute.name: attribute for attribute in node.attribute}
            if (ends["start"].i, ends["end"].i) == (axes[node.input[0]], axes[node.input[0]] + 1):
                node.input[0] = first
                ends["start"].i, ends["end"].i = axis, axis + 1


def cut(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """The part of a model that leads from some inputs to some outputs, without what only explains it."""
    from onnx.utils import Extractor

    part = Extractor(model).extract_model([name for name in inputs if name in _used(model, outputs)], list(outputs))
    _strip(part)
    return part


def _used(model: Any, outputs: Sequence[str]) -> set[str]:
    """The names of all values that some outputs depend on."""
    makers = {name: node for node in model.graph.node for name in node.output}
    seen: set[str] = set()
    left = list(outputs)
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left.extend(makers[name].input if name in makers else ())
    return seen


def _strip(model: Any) -> None:
    graph = model.graph
    for thing in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del thing.metadata_props[:]
        thing.doc_string = ""
    for node in graph.node:
        node.name = ""
    del graph.value_info[:]
    _rename(graph)


def _rename(graph: Any) -> None:
    """Inner values by short names: a third of the file was names."""
    kept = {value.name for value in (*graph.input, *graph.output)} | {""}
    names: dict[str, str] = {}

    def short(name: str) -> str:
        return name if name in kept else names.setdefault(name, f"_{len(names)}")

    for initializer in graph.initializer:
        initializer.name = short(initializer.name)
    for node in graph.node:
        for field in (node.input, node.output):
            field[:] = [short(name) for name in field]


def lowered(model: Any) -> Any:
    """The same model in float32: every float64 in it rounded, as torch rounds a constant to the dtype of its tensor."""
    import onnx
    from onnx import TensorProto, numpy_helper

    low = onnx.ModelProto()
    low.CopyFrom(model)

    def tensor(value: Any) -> None:
        if value.data_type == TensorProto.DOUBLE:
            value.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(value).astype("float32"), value.name))

    for initializer in low.graph.initializer:
        tensor(initializer)
    for value in (*low.graph.input, *low.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in low.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                tensor(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.DOUBLE:
                attribute.i = TensorProto.FLOAT
    return low


# What a page is given ------------------------------------------------------------------------------------------------


def network_name(depth: int, task: Task, loss: str) -> str:
    """Tasks of one size share their graphs."""
    return f"mlp{depth}_{task.inputs}_{task.outputs}_{loss}"


def networks() -> dict[str, Programs]:
    """All networks that are offered, by name."""
    found = {}
    for name, losses in OFFERED.items():
        task = TASKS[name]
        for depth in DEPTHS:
            for loss in losses:
                net = MLP(task.inputs, task.outputs, WIDTH, depth)
                found[network_name(depth, task, loss)] = Programs(net, loss, task.classification)
    return found


def network_graphs(name: str) -> dict[str, bytes]:
    """The files of one network: ``<network>.<program>.<dtype>.onnx`` -> bytes."""
    programs = networks()[name]
    example, axes = programs.inputs()
    parts = programs.all()
    outputs = {part: list(program(dict(example))) for part, program in parts.items()}

    def whole(of: Tensors) -> Tensors:
        return {key: value for program in parts.values() for key, value in program(dict(of)).items()}

    model = traced(whole, example, axes)
    files = {}
    for part, names in outputs.items():
        exact = cut(model, list(example), names)
        protos = {"float64": exact} if part == EXACT else {"float64": exact, "float32": lowered(exact)}
        for dtype, proto in protos.items():
            files[f"{name}.{part}.{DTYPES[dtype]}.onnx"] = proto.SerializeToString(deterministic=True)
    return files


def stream_graphs() -> dict[str, bytes]:
    """The files of the streams: what comes after the random numbers."""
    files = {}
    normals = partial_normals(torch.Generator().manual_seed(0))
    uniform = torch.rand(BATCH, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    control = normals(BATCH, *digits.DRAWS["displacement"][1])
    models = {
        "digits.places": traced(
            lambda of: {"places": digits.places(of["affine"], of["displacement"])},
            {"affine": uniform, "displacement": control},
            {"affine": 0, "displacement": 0},
        ),
        "digits.inputs": traced(
            lambda of: {"x": digits.inputs(of["grey"], True)},
            {"grey": torch.rand(BATCH, digits.SIDE, digits.SIDE)},
            {"grey": 0},
        ),
    }
    for name in OFFERED:
        draw = TASKS[name].draw
        if isinstance(draw, Analytic):
            numbers = normals(BATCH, draw.inputs)
            numbers = (numbers.abs() * 2**31).to(torch.int64) if draw.kind == "bits" else numbers
            models[name] = traced(_samples(draw), {draw.kind: numbers}, {draw.kind: 0})
    for name, model in models.items():
        part = cut(model, [value.name for value in model.graph.input], [value.name for value in model.graph.output])
        files[f"{name}.onnx"] = part.SerializeToString(deterministic=True)
    return files


def _samples(draw: Analytic) -> Callable[[Tensors], Tensors]:
    return lambda of: dict(zip(("x", "targets"), draw.samples(of[draw.kind]), strict=True))


def packed_digits() -> bytes:
    """All digits as bytes, gzip: 10,000 images of 28×28 grey levels, then their labels."""
    images, labels = digits.load()
    return _gzip(images.numpy().tobytes() + labels.numpy().astype("uint8").tobytes())


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


def described(task: Task) -> dict[str, Any]:
    """A task as the page makes it."""
    common = {"inputs": task.inputs, "outputs": task.outputs, "classes": task.classification, "about": task.about}
    if isinstance(task.draw, Analytic):
        graph = f"{task.name}.onnx"
        own = {
            "side": 0,
            "streams": {part: task.stream(part) for part in ("train", "probe", "test")},
            "draws": {task.draw.kind: task.draw.inputs},
            "graph": graph,
            "files": [f"graphs/{graph}"],
        }
    else:
        own = {
            "side": math.isqrt(task.inputs),
            "streams": {part: digits_stream(task.stream(part)) for part in ("train", "probe")},
            "draws": {name: {"kind": kind, "shape": shape} for name, (kind, shape) in digits.DRAWS.items()},
            "files": [DIGITS, "graphs/digits.places.onnx", "graphs/digits.inputs.onnx"],
        }
    return common | own


def fetched_first(network: str, task: Task, dtype: str) -> list[str]:
    """The files that a first run of that network fetches, besides the engine's own modules."""
    graphs = [
        f"graphs/{network}.{part}.{DTYPES['float64' if part == EXACT else dtype]}.onnx"
        for part in networks()[network].all()
    ]
    return [*RUNTIME, PACKED_WASM, *described(task)["files"], *graphs]


def manifest(sizes: Mapping[str, int]) -> dict[str, Any]:
    """All that JavaScript needs to know, ``files`` and their sizes in bytes among it."""
    tasks = {name: TASKS[name] for name in OFFERED}
    found = {}
    for name, programs in networks().items():
        net = programs.network
        weights = [{"name": key, "shape": [1, *shape]} for key, shape in zip(net.names, net.shapes, strict=True)]
        found[name] = {"weights": weights, "outputs": net.outputs, "hidden": net.depth - 1}
    one = Experiment(gammas=1.0, etas=1.0, width=WIDTH, optimizer=OPTIMIZER)
    lanczos = signature(curvature.largest_eigenpair).parameters
    limits: dict[str, Any] = {
        "depth": DEPTHS,
        "width": [WIDTH],
        "loss": sorted({loss for losses in OFFERED.values() for loss in losses}, reverse=True),
        "task": list(OFFERED),
        "optimizer": [OPTIMIZER],
        "batch_size": BATCH_SIZES,
        "steps": STEPS,
        "losses_of": OFFERED,
    }
    usual = Experiment(gammas=1.0, etas=1.0)
    first = fetched_first(network_name(usual.depth, usual.source, usual.loss), usual.source, "float32")
    return {
        "bytes": sum(sizes[name] for name in first),
        "limits": limits,
        "reasons": REASONS,
        "files": dict(sorted(sizes.items())),
        "tasks": {name: described(task) for name, task in tasks.items()},
        "networks": found,
        "network_of": {
            name: {loss: {depth: network_name(depth, tasks[name], loss) for depth in DEPTHS} for loss in losses}
            for name, losses in OFFERED.items()
        },
        "digits": {"images": len(digits.load()[1]), "training": digits.TRAINING, "side": digits.SIDE},
        "dtypes": DTYPES,
        "float64_below": FLOAT64_BELOW,
        "lr_raw": one.lr_raw(1.0),
        "line": stability_line(1.0, OPTIMIZER),
        "probe_samples": one.probe_samples,
        "kernel_samples": KERNEL_SAMPLES,
        "test_samples": TEST_SAMPLES,
        "record_points": one.record_points,
        "probe_points": PROBE_POINTS,
        "lanczos": {
            "tolerance": lanczos["tolerance"].default,
            "iterations": lanczos["iterations"].default,
            "hidden": curvature.HIDDEN,
            "direction": curvature.DIRECTION,
        },
    }


def write(folder: Path, runtime: Path) -> None:
    """Write graphs, digits, manifest and onnxruntime-web's files; about a minute of one core.

    Args:
        folder: made if missing.
        runtime: the ``dist`` folder of the npm package ``onnxruntime-web``.

    Raises:
        FileNotFoundError: the runtime lacks a file.
    """
    (folder / "graphs").mkdir(parents=True, exist_ok=True)
    made = [stream_graphs(), *map(network_graphs, networks())]
    files: dict[str, bytes] = {f"graphs/{name}": data for graphs in made for name, data in graphs.items()}
    files[DIGITS] = packed_digits()
    files[PACKED_WASM] = _gzip((runtime / WASM).read_bytes())
    files |= {name: (runtime / name).read_bytes() for name in RUNTIME}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    told = manifest({name: len(data) for name, data in files.items()})
    (folder / MANIFEST).write_text(json.dumps(told, separators=(",", ":")), encoding="utf-8")


def fingerprint(runtime: Path) -> str:
    """A hash of all that the files depend on: the library's sources, the exporters, the runtime."""
    here = Path(__file__).parents[1]
    total = hashlib.sha256()
    for room in ("rng.py", "data", "networks", "measure", "runs/experiment.py", "runs/probes.py", "lab/export.py"):
        path = here / room
        for file in [path] if path.is_file() else sorted((*path.rglob("*.py"), *path.rglob("*.npz"))):
            total.update(file.read_bytes())
    for package in ("torch", "onnx", "onnxscript"):
        total.update(metadata.version(package).encode())
    total.update((runtime.parent / "package.json").read_bytes())
    return total.hexdigest()[:16]


def cached(caches: Path, runtime: Path) -> Path:
    """The folder under ``caches`` with the files as they are now. Where it is missing it is written, and old ones go."""
    target = caches / fingerprint(runtime)
    if not target.is_dir():
        unfinished = caches / f".{target.name}.{os.getpid()}"
        write(unfinished, runtime)
        for old in caches.iterdir():
            if old.is_dir() and not old.name.startswith("."):  # those may be another process's, not yet whole
                shutil.rmtree(old)
        try:
            unfinished.rename(target)
        except OSError:  # another process was sooner
            shutil.rmtree(unfinished)
    return target


if __name__ == "__main__":
    print(cached(Path(sys.argv[1]), Path(sys.argv[2])))
