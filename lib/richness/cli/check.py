"""``richness check-coordinates``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import Any

from richness.cli.errors import Failure
from richness.cli.options import Parser, read_choice, read_whole


def check_coordinates(words: Sequence[str]) -> int:
    options = _check_options().read(words)

    from richness.analysis.coordinates import check_coordinates as check

    report = check(**_read_setting(options))
    print(report)
    if not report.passed:
        raise Failure(f"{len(report.failed)} of {len(report.rows)} quantities do not follow width or γ as they should.")
    return 0


def _check_options() -> Parser:
    parser = Parser(
        "check-coordinates",
        "Whether a network follows width and γ as it should, layer by layer: the coordinate check of µP, and of γ.",
    )
    add = parser.add_argument
    add("--network", metavar="NAME", default="mlp", help="mlp, cnn, resnet or vit (default: %(default)s)")
    add("--depth", metavar="L", help="weight layers (default: the smallest with everything in it)")
    add("--task", default="digits8", help="the stream of samples (default: %(default)s)")
    add("--loss", default="mse", help="mse or cross_entropy (default: %(default)s)")
    add("--optimizer", metavar="NAME", default="sgd", help="sgd, momentum, signsgd or adam (default: %(default)s)")
    add("--widths", metavar="N", nargs="*", help="ascending, at least two (default: 64 128 256)")
    add("--seeds", metavar="SEED", nargs="*", help="over which sizes are averaged (default: 0 1 2 3)")
    return parser


def _read_setting(options: Namespace) -> dict[str, Any]:
    """What was asked for; what was not stays at the function's own defaults."""
    from richness.data import TASKS
    from richness.networks import LOSSES, NETWORKS, OPTIMIZERS

    known: dict[str, Iterable[str]] = {"network": NETWORKS, "task": TASKS, "loss": LOSSES, "optimizer": OPTIMIZERS}
    setting: dict[str, Any] = {
        name: read_choice(getattr(options, name), f"--{name}", tuple(names)) for name, names in known.items()
    }
    if options.depth is not None:
        setting["depth"] = read_whole(options.depth, "--depth", 2)
    if options.widths:
        setting["widths"] = [read_whole(text, "--widths", 1) for text in options.widths]
    if options.seeds:
        setting["seeds"] = [read_whole(text, "--seeds") for text in options.seeds]
    return setting
