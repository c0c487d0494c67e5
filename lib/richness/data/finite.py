"""A reader's own samples, a finite set: seen in epochs, each shuffled anew by the counter-based generator.

Step t has the samples t·B to (t + 1)·B of one endless row of epochs, so that a batch is a function of (seed, step) as it is in
a stream. A part is held out before anything is drawn, for accuracies; training on the rest is no longer online from the second
epoch on, and captions say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from richness.data.order import shuffle
from richness.data.streams import TASKS, Task, check_task
from richness.fingerprint import fingerprint

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Epochs:
    """Samples in epochs: a ``Draw``.

    Attributes:
        inputs: float32 (n, D). targets: labels int64 (n,) or real targets float32 (n, K).
    """

    inputs: Tensor
    targets: Tensor

    def __call__(self, seed: int, steps: range, batch_size: int, name: str, device: str) -> Pair:
        place = torch.as_tensor(steps)[:, None] * batch_size + torch.arange(batch_size)
        epochs, within = place // len(self.inputs), place % len(self.inputs)
        index = torch.empty_like(place)
        for epoch in epochs.unique().tolist():
            here = epochs == epoch
            index[here] = _order(seed, name, epoch, len(self.inputs))[within[here]]
        return self.inputs[index].to(device), self.targets[index].to(device)


@lru_cache(maxsize=16)
def _order(seed: int, name: str, epoch: int, count: int) -> Tensor:
    return torch.from_numpy(shuffle(seed, f"{name}/epoch", epoch, count))


def register_data(
    name: str,
    inputs: Any,
    targets: Any = None,
    *,
    held_out: float | tuple[Any, Any] = 0.1,
    outputs: int | None = None,
    about: str = "",
) -> None:
    """Add a finite set of your own; ``Experiment(task=name)`` then trains on it, epoch after epoch.

    Args:
        name: a new name, a Python identifier. Other samples may come under the same name: a recipe's hash holds theirs.
        inputs: an array or a tensor, samples along its first axis, each flattened; taken as float32, as they are: scale them
            first. Or a ``torch.utils.data.Dataset`` of (input, target) with a length, which is read once.
        targets: labels, whole numbers from 0, (n,); or real targets (n,) or (n, K). None with a Dataset.
        held_out: samples that are never trained on, by which accuracies are measured: a share of those given, chosen at
            random, or (inputs, targets) of their own.
        outputs: K; one more than the largest label where not given.
        about: one sentence for captions.

    Raises:
        ValueError: samples that do not fit each other, are not finite, or that a Dataset draws anew at each look.
        TypeError: something else than arrays, tensors or a Dataset with a length.
    """
    given = _samples(name, inputs, targets)
    if isinstance(held_out, tuple):
        kept, held = given, _samples(name, *held_out)
    else:
        kept, held = _split(name, given, held_out)
    classes = kept[1].dtype == torch.int64
    width = outputs or (1 + int(max(kept[1].max(), held[1].max())) if classes else kept[1].shape[1])
    said = about or f"{len(kept[0]):,} samples of a reader's own, in epochs"
    made = Task(
        name, kept[0].shape[1], width, classes, Epochs(*kept), lambda: held, said, Epochs(*held), epoch=len(kept[0])
    )
    check_task(made)
    TASKS.add(name, made, register_data, fingerprint((*kept, *held)))


def _samples(name: str, inputs: Any, targets: Any) -> Pair:
    """Samples as float32 (n, D), and labels int64 (n,) or targets float32 (n, K)."""
    if targets is None:
        inputs, targets = _read(name, inputs)
    x, y = _tensor(name, inputs), _tensor(name, targets)
    if not x.ndim or not y.ndim or len(x) != len(y) or not len(x):
        raise ValueError(
            f"data {name!r}: expected as many targets as inputs, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    whole = not y.is_floating_point() and y.ndim == 1
    return x.flatten(1).float() if x.ndim > 1 else x[:, None].float(), y.long() if whole else y.reshape(
        len(y), -1
    ).float()


def _tensor(name: str, values: Any) -> Tensor:
    if not isinstance(values, Tensor | np.ndarray | Sequence) or isinstance(values, str):
        raise TypeError(
            f"data {name!r}: expected an array, a tensor or a Dataset with a length, got {type(values).__name__}"
        )
    return torch.as_tensor(np.array(values) if not isinstance(values, Tensor) else values.detach().cpu().clone())


def _read(name: str, dataset: Any) -> tuple[Tensor, Tensor]:
    """A Dataset's samples, each looked at once."""
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or isinstance(
        dataset, Tensor | np.ndarray
    ):
        raise TypeError(
            f"data {name!r}: without targets, a Dataset with a length is expected, got {type(dataset).__name__}"
        )
    pairs = [tuple(map(torch.as_tensor, dataset[k])) for k in range(len(dataset))]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"data {name!r}: a Dataset must have samples, each (input, target)")
    again = tuple(map(torch.as_tensor, dataset[0]))
    if not all(torch.equal(one, other) for one, other in zip(pairs[0], again, strict=True)):
        raise ValueError(
            f"data {name!r}: its first sample is another at a second look: leave random transforms out, or draw them in a task "
            "(richness.register_task) from the seed and step that it is handed"
        )
    x, y = zip(*pairs, strict=True)
    return torch.stack(x), torch.stack(y)


def _split(name: str, given: Pair, share: float) -> tuple[Pair, Pair]:
    """The samples that are trained on, and those that are held out."""
    count = len(given[0])
    aside = round(share * count)
    if not 0 < aside < count:
        raise ValueError(
            f"data {name!r}: held_out is a share that leaves samples on both sides, got {share} of {count}"
        )
    order = torch.from_numpy(shuffle(0, "held_out", 0, count))
    chosen = order[:aside].sort().values, order[aside:].sort().values
    held, kept = ((given[0][index], given[1][index]) for index in chosen)
    return kept, held
