"""How many times faster than training the files are read, on one core: ``python -m benchmarks.reading``.

Files of the formats of CIFAR-5M and TinyImageNet, of random bytes, are written to a temporary folder; they stay in the system's
cache, so a disk is not measured. Each network then takes steps on batches that lie in memory, and, in turns with it, as many
are drawn from the files, in the blocks that its trainer asks for. What is compared are processor seconds a sample. With an
argument only the networks whose name begins with it: ``mlp``, ``cnn``, ``vit``, ``resnet``.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.contenders import best_ratio
from richness import Experiment
from richness.data import arrays
from richness.data.files import FILE_SETS, cifar5m
from richness.data.files.common import FileSet
from richness.data.order import Samples
from richness.runs.training import Trainer

WIDTH, BATCH, TURNS, AIM = 128, 128, 3, 3.0
IMAGES = {"cifar5m": 40_000, "tinyimagenet": 8_000}
# Network, depth, task, networks that train on one stream, batch size (large networks: a small one, to see the end of it).
EATERS = (
    ("mlp", 3, "cifar5m", 1, BATCH),
    ("mlp", 3, "cifar5m", 16, BATCH),
    ("cnn", 4, "cifar5m", 1, BATCH),
    ("mlp", 3, "tinyimagenet", 1, BATCH),
    ("mlp", 3, "tinyimagenet", 16, BATCH),
    ("vit", 50, "tinyimagenet", 1, 16),
    ("resnet", 18, "tinyimagenet", 1, 16),
)


def written(folder: Path) -> dict[str, FileSet]:
    """The two sets, on files of random bytes."""
    random = np.random.default_rng(0)
    labels = {name: random.integers(0, 10, count) for name, count in IMAGES.items()}
    for part in range(2):
        x = random.integers(0, 256, (IMAGES["cifar5m"], 32, 32, 3), dtype=np.uint8)
        np.savez(folder / f"part{part}.npz", X=x, Y=labels["cifar5m"])
    np.save(folder / "decoded.npy", random.integers(0, 256, (IMAGES["tinyimagenet"], 3, 64, 64), dtype=np.uint8))
    decoded = Samples("TinyImageNet", [arrays.in_npy(folder / "decoded.npy")], [labels["tinyimagenet"]])
    opened = {
        "cifar5m": cifar5m._opened([folder / "part0.npz", folder / "part1.npz"]),
        "tinyimagenet": (decoded, decoded),
    }
    return {name: dataclasses.replace(FILE_SETS[name], sources=(), opened_by=lambda _, name=name: opened[name])
            for name in IMAGES}  # fmt: skip


def seconds(work: Callable[[int], Any], samples: int, least: float = 1.0) -> float:
    """Processor seconds a sample of ``work(k)``, k = 0, 1, …, which takes so many at a time."""
    began, calls = time.process_time(), 0
    while calls < 2 or time.process_time() - began < least:
        work(calls)
        calls += 1
    return (time.process_time() - began) / (calls * samples)


def compared(source: FileSet, network: str, depth: int, cells: int, batch: int) -> tuple[list[float], list[float]]:
    """Processor seconds a sample to train on, and to read, turn by turn."""
    recipe = Experiment(gammas=1.0, etas=1e-3, network=network, depth=depth, width=WIDTH, task=source.name,
                        batch_size=batch, steps=1000, dtype="float32")  # fmt: skip
    trainer = Trainer(recipe, 0, [(1.0, 1e-3 * (1 + k)) for k in range(cells)])
    steps = range(trainer.block_steps)

    def draw(k: int) -> tuple[torch.Tensor, torch.Tensor]:
        # A pass is not left: that would be warned of.
        first = k * len(steps) % (IMAGES[source.name] // batch - len(steps))
        return source.draw(0, range(first, first + len(steps)), batch, f"{source.name}/train", "cpu")

    batches = draw(0)
    turns = [
        (
            seconds(lambda _: trainer.advance(*trainer.block(steps, *batches)), len(steps) * batch),
            seconds(draw, len(steps) * batch),
        )
        for _ in range(TURNS + 1)
    ]
    eating, reading = zip(*turns[1:], strict=True)  # the first warms up
    return list(eating), list(reading)


def main() -> int:
    """Print a line a network."""
    chosen = tuple(sys.argv[1:])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sets = written(Path(folder))
        print(f"samples a processor second, N = {WIDTH}; aimed at: read {AIM:g} times as many as are trained on")
        for network, depth, task, cells, batch in EATERS:
            if chosen and not network.startswith(chosen):
                continue
            eating, reading = compared(sets[task], network, depth, cells, batch)
            found = best_ratio(eating, reading)
            low, high = found["spread"]
            print(
                f"  {task:<12} {cells:>2} {network:<6} L = {depth:<2}  read {1 / min(reading):>9,.0f}  trained "
                f"{1 / min(eating):>9,.1f}  ratio {found['ratio']:,.1f} ({low:,.1f} to {high:,.1f})",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
