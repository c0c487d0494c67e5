"""``richness ledger`` and ``richness advise``: the verdicts, and what follows from them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from richness.cli.errors import Usage
from richness.cli.options import Parser, name_option, read_choice, read_positive, read_whole
from richness.cli.tables import format_table
from richness.cli.terminal import print_json


def ledger(words: Sequence[str]) -> int:
    parser = Parser("ledger", "Every claim of the paper with its prediction, what was measured here, and the verdict.")
    parser.add_argument("ids", nargs="*", metavar="ID", help="claims, such as C7 or S1.2 (default: all)")
    parser.add_argument("--json", action="store_true", help="a list of rows for a machine")
    parser.add_argument(
        "--full", action="store_true", help="no cell cut short, and the reason where there is no interval"
    )
    options = parser.read(words)

    from richness.analysis.ledger import claims
    from richness.analysis.ledger import ledger as list_rows

    known = tuple(dict.fromkeys(claim.id for claim in claims()))
    wanted = {read_choice(one, "ID", known) for one in options.ids}
    rows = [row for row in list_rows() if not wanted or row["id"] in wanted]
    columns = ("id", "part", "claim", "predicted", "measured", "interval", "verdict")
    if options.json:
        print_json(rows, indent=2)
    elif options.full:
        print(format_table(rows, (*columns, "reason"), widest=sys.maxsize))
    else:
        print(format_table(rows, columns))
    return 0


def advise(words: Sequence[str]) -> int:
    options = _advise_options().read(words)

    from richness.networks import LOSSES, OPTIMIZERS
    from richness.studies.adviser.analysis import advise as advise_on

    counts: dict[str, Any] = {
        name: read_whole(getattr(options, name), name_option(name), 1)
        for name in ("width", "batch_size", "steps", "outputs")
    }
    optimizer = read_choice(options.optimizer, "--optimizer", tuple(OPTIMIZERS))
    loss = read_choice(options.loss, "--loss", tuple(LOSSES))
    depth, gamma = read_whole(options.depth, "--depth", 2), read_positive(options.gamma, "--gamma")
    try:
        advice = advise_on(depth, loss, gamma, optimizer=optimizer, **counts)
    except ValueError as error:
        raise Usage(str(error)) from error
    print_json(asdict(advice)) if options.json else print(advice)
    return 0


def _advise_options() -> Parser:
    parser = Parser("advise", "Which η to use: a range of at most one decade, from the measured portraits.")
    for name, metavar, default, about in (
        ("depth", "L", "3", "weight layers, 2 to 6"),
        ("loss", "LOSS", "mse", "mse or cross_entropy"),
        ("gamma", "GAMMA", "1", "richness, 1e-4 to 1e4"),
        ("width", "N", "64", "units a hidden layer; it moves lr_raw only"),
        ("batch_size", "B", "64", "fresh samples a step, 16 to 256"),
        ("steps", "T", "1000", "the budget in updates"),
        ("optimizer", "NAME", "sgd", "sgd, momentum, signsgd or adam"),
        ("outputs", "K", "10", "of the network; under mse gradients fall with their number"),
    ):
        parser.add_argument(name_option(name), metavar=metavar, default=default, help=f"{about} (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="for a machine")
    return parser
