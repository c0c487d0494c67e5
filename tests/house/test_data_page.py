"""The page on the paper's data says of every set what the code knows of it, and its commands exist."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from richness import networks
from richness.data.fetch import megabytes
from richness.data.files import FILE_SETS
from richness.runs.recipes import paper_recipes, recipe

PAGE = (Path(__file__).parents[2] / "chapters" / "data.md").read_text()


@pytest.mark.parametrize("name", FILE_SETS)
def test_addresses_and_sizes_are_those_of_the_code(name):
    made = FILE_SETS[name]
    row = next(line for line in PAGE.splitlines() if f'richness.task("{name}"' in line and line.startswith("|"))
    assert f"{made.side}×{made.side}" in row and f"{made.classes} classes" in row
    if not made.sources:
        return
    whole = sum(source.size for source in made.sources)
    each = f"{len(made.sources)} of about {megabytes(made.sources[0].size)}" if name == "cifar5m" else megabytes(whole)
    assert each in row
    assert made.sources[0].url in row or made.sources[0].url.rpartition("/")[0] in row


def test_weights_are_counted():
    for experiment in (recipe(name, "paper") for name in paper_recipes()):
        source = FILE_SETS[experiment.task]
        made = networks.build(
            experiment.network, source.inputs, source.classes, experiment.width, experiment.depth, "relu"
        )
        assert f"{sum(math.prod(shape) for shape in made.shapes):,}" in PAGE, experiment.network


def test_recipes_and_their_cost_are_counted():
    for name in paper_recipes():
        experiment = recipe(name, "paper")
        runs = len(experiment.cells()) * len(experiment.seeds)
        cost = 6 * experiment.architecture.products * experiment.batch_size * experiment.steps * runs
        (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}`"))
        told, _arithmetic, hours = (cell.strip() for cell in row.split("|")[2:5])
        assert told == f"{runs:,}" and float(hours) == pytest.approx(cost / 30e12 / 3600, rel=0.1)


def test_every_command_exists_with_its_options(promised):
    for line in re.findall(r"^richness ([^\n#]+)", PAGE, re.M):
        promised(line, "the page")
