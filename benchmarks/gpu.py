"""An accelerator under the fused engine: ``python -m benchmarks.gpu`` on the machine that has it, about five minutes.

Prints a JSON line a question as soon as it is answered, so that a run that is cut off has told what it knew. What to look for:

==============  ==========================================================================================================
``same``        largest relative difference of losses from the CPU's, float32 and float64: rounding (1e-4, 1e-10) and no more
``syncs``       what waited for the device inside a block of steps: the list must be empty
``steps``       cells × steps a second and GFLOP/s by width, beside the device's own product of the same stack of matrices:
                ``of_peak`` below .5 at N ≥ 512 asks for a look at the launches
``launches``    kernels a step of training, and of drawing the data: drawing should be well below training
``graph``       the same block as one CUDA graph: its speed over the plain loop, and whether it gives the same bits. Well
                above 1 at small widths, it would be worth having in the engine
``memory``      bytes a cell took over :func:`~richness.runs.training.cell_bytes`, by which cells are cut into pieces: near 1
``probes``      milliseconds a cell of λ_max by how many are measured together: where it stops falling, ``DEVICE_PROBE_CELLS``
                should stand
==============  ==========================================================================================================

No time is asserted. ``--device cpu --quick`` runs all but what only CUDA can tell, at tiny sizes, to see that it works.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.problem import count_flops
from richness import Experiment
from richness.runs import training
from richness.runs.training import Trainer, cell_bytes, train

Answer = dict[str, Any]
BATCH = 128


class Bench:
    """The questions, of one device at one size: full, or quick."""

    def __init__(self, device: str, quick: bool):
        self.device, self.cuda = device, device.startswith("cuda")
        self.widths = (16, 32) if quick else (64, 128, 256, 512, 1024)
        self.cells = 4 if quick else 256
        self.steps = 8 if quick else 64

    def experiment(self, width: int, **changed: Any) -> Experiment:
        sized: dict[str, Any] = {"width": width, "steps": self.steps, "task": "digits", "batch_size": BATCH}
        return Experiment(**sized | {"gammas": [1.0], "etas": [0.01], "device": self.device} | changed)

    def trainer(self, width: int, **changed: Any) -> Trainer:
        cells = [(1.0, 0.01 * (1 + k / self.cells)) for k in range(self.cells)]
        return Trainer(self.experiment(width, **changed), 0, cells, "fused")

    def seconds(self, work: Callable[[], object], repeats: int = 3) -> float:
        """The least of a few runs, after one to warm up, each waited for."""
        work()
        times = []
        for _ in range(repeats):
            self.wait()
            begun = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - begun)
        return min(times)

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def same(self) -> Iterator[Answer]:
        for dtype in ("float32", "float64"):
            here = self.experiment(self.widths[0], dtype=dtype, device="cpu")
            losses = [
                torch.from_numpy(
                    train(here.model_copy(update={"device": device}), 0, [(1.0, 0.1)], engine="fused").loss
                )
                for device in ("cpu", self.device)
            ]
            yield {"dtype": dtype, "difference": float(((losses[0] - losses[1]) / losses[0]).abs().max())}

    def syncs(self) -> Iterator[Answer]:
        if not self.cuda:
            return
        trainer = self.trainer(self.widths[0])
        block = trainer.draw(range(4))
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                trainer.advance(*block)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        yield {"waited": sorted({str(one.message).splitlines()[0] for one in caught})}

    def stepping(self) -> Iterator[Answer]:
        for width in self.widths:
            trainer = self.trainer(width)
            block = trainer.draw(range(self.steps))
            took = self.seconds(lambda trainer=trainer, block=block: trainer.advance(*block)) / self.steps
            sizes = [w[0].numel() for w in trainer.pieces[0].engine.weights]
            flops = count_flops(sizes, BATCH) * self.cells
            yield {
                "width": width,
                "cell_steps": self.cells / took,
                "gflops": flops / took / 1e9,
                "of_peak": flops / took / self.peak(width),
            }

    def peak(self, width: int) -> float:
        """FLOP/s of the device's product of as many square matrices with as many batches."""
        left = torch.randn(self.cells, width, width, device=self.device)
        right = torch.randn(self.cells, width, BATCH, device=self.device)
        return 2.0 * BATCH * width**2 * self.cells / self.seconds(lambda: torch.bmm(left, right))

    def launches(self) -> Iterator[Answer]:
        if not self.cuda:
            return
        from torch.profiler import ProfilerActivity, profile

        trainer = self.trainer(self.widths[1])
        block = trainer.draw(range(self.steps))
        for what, work in (
            ("training", lambda: trainer.advance(*block)),
            ("drawing", lambda: trainer.draw(range(self.steps))),
        ):
            with profile(activities=[ProfilerActivity.CUDA]) as seen:
                work()
                self.wait()
            count = sum(event.count for event in seen.key_averages())
            yield {"of": what, "a_step": count / self.steps, "seconds": self.seconds(work)}

    def graph(self) -> Iterator[Answer]:
        if not self.cuda:
            return
        for width in self.widths[:3]:
            plain, recorded = self.trainer(width), self.trainer(width)
            block, graph, stream = plain.draw(range(self.steps)), torch.cuda.CUDAGraph(), torch.cuda.Stream()
            start = [w.clone() for w in recorded.pieces[0].engine.weights]

            def rewind(trainer: Trainer, start: list[torch.Tensor] = start) -> None:
                for weight, before in zip(trainer.pieces[0].engine.weights, start, strict=True):
                    weight.copy_(before)

            with torch.cuda.stream(stream):  # cuBLAS takes its workspace before the recording
                recorded.advance(*block)
            self.wait()
            try:
                with torch.cuda.graph(graph):
                    losses = recorded.pieces[0].engine.advance(*block)
            except RuntimeError as error:
                yield {"width": width, "recorded": False, "why": str(error).splitlines()[0]}
                continue
            rewind(recorded)
            graph.replay()
            bits = bool(torch.equal(losses, plain.pieces[0].engine.advance(*block)))
            speeds = [self.seconds(work) for work in (lambda p=plain, b=block: p.advance(*b), graph.replay)]
            yield {"width": width, "recorded": True, "same_bits": bits, "faster": speeds[0] / speeds[1]}

    def memory(self) -> Iterator[Answer]:
        if not self.cuda:
            return
        for width in (self.widths[1], self.widths[-1]):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            trainer = self.trainer(width)
            trainer.advance(*trainer.draw(range(4)))
            took = (torch.cuda.max_memory_allocated(self.device) - before) / self.cells
            yield {"width": width, "over_expected": took / cell_bytes(trainer.experiment, trainer.dtype)}

    def probes(self) -> Iterator[Answer]:
        usual = training.DEVICE_PROBE_CELLS
        try:
            for together in (2, 4) if self.cells < 16 else (4, 16, 64, 256):
                training.DEVICE_PROBE_CELLS = together
                trainer = self.trainer(self.widths[1], probes=("sharpness",))
                trainer.advance(*trainer.draw(range(4)))
                took = self.seconds(lambda trainer=trainer: trainer.probe("sharpness"), repeats=1)
                yield {"together": together, "ms_a_cell": 1e3 * took / self.cells}
        finally:
            training.DEVICE_PROBE_CELLS = usual


QUESTIONS: dict[str, Callable[[Bench], Iterator[Answer]]] = {
    "same": Bench.same,
    "syncs": Bench.syncs,
    "steps": Bench.stepping,
    "launches": Bench.launches,
    "graph": Bench.graph,
    "memory": Bench.memory,
    "probes": Bench.probes,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description="What an accelerator makes of the sweep."
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"of {', '.join(QUESTIONS)} (default: all)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu (default: cuda)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose times mean nothing")
    options = parser.parse_args()
    if unknown := sorted(set(options.questions) - set(QUESTIONS)):
        sys.exit(f"no such question: {', '.join(unknown)}; choose from {', '.join(QUESTIONS)}.")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device here; --device cpu --quick shows that the questions can be asked.")
    bench = Bench(options.device, options.quick)
    name = torch.cuda.get_device_name(options.device) if bench.cuda else options.device
    print(json.dumps({"device": name, "torch": torch.__version__}), flush=True)
    for question in options.questions or QUESTIONS:
        begun = time.perf_counter()
        try:
            for answer in QUESTIONS[question](bench):
                print(json.dumps({"question": question} | answer), flush=True)
        except (RuntimeError, ValueError) as error:  # one question that fails must not cost the others
            print(json.dumps({"question": question, "failed": f"{type(error).__name__}: {error}"}), flush=True)
        print(f"gpu: {question}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
