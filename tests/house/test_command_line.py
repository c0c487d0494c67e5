"""How the words of a command are read, and what is imported for it."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from richness import cli
from richness.cli.errors import Usage
from richness.cli.options import Parser

HEAVY = ("torch", "xarray", "numpy", "pydantic")


@pytest.fixture
def parser():
    parser = Parser("try", "A command of this test alone.")
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("--batch-size")
    parser.add_argument("--gammas", nargs="*")
    parser.add_argument("--pair", nargs=2, action="append", default=[])
    parser.add_argument("--json", action="store_true")
    return parser


@pytest.mark.parametrize("typed", [["--help"], ["rerun", "--help"], ["precompute", "--help"], ["frobnicate"]])
def test_what_needs_no_numbers_imports_nothing_heavy(typed):
    code = f"import sys; from richness.cli import main; main({typed}); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = run.stdout.splitlines()[-1].split()
    allowed = ("pydantic", "numpy") if typed == ["frobnicate"] else ()  # a mistake is asked whether it is pydantic's
    assert "richness.cli" in imported
    assert [name for name in HEAVY if name in imported and name not in allowed] == []


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, richness; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {*HEAVY} & {*run.stdout.split()}


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_is_a_function_of_its_module(name):
    module, about = cli.COMMANDS[name]
    assert about and callable(getattr(import_module(f"richness.cli.{module}"), name.replace("-", "_")))


@pytest.mark.parametrize("value", ["-1", "-1e-3", "-.5", "-1:2:3", "-inf", "-nan"])
def test_a_negative_value_is_no_option(parser, value):
    options = parser.read(["--gammas", value, "1", "--batch-size", value, "--pair", "seed", value])
    assert options.gammas == [value, "1"] and options.batch_size == value and options.pair == [["seed", value]]


def test_names_may_stand_anywhere(parser):
    options = parser.read(["one", "--batch-size", "8", "two", "--json"])
    assert options.names == ["one", "two"] and options.batch_size == "8" and options.json
    assert parser.read(["--json", "one"]).names == ["one"]


@pytest.mark.parametrize("typed", [["--batch_size", "a_b"], ["--batch_size=a_b"], ["--batch-size=a_b"]])
def test_an_option_may_have_underscores_and_its_value_keeps_them(parser, typed):
    assert parser.read(typed).batch_size == "a_b"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--batch", "8"], "--batch. Did you mean --batch-size?"),
        (["--gamas", "-1"], "this command: --gamas. Did you mean --gammas?"),
        (["--batch-size"], "Missing value: argument --batch-size: expected one argument."),
        (["--pair", "seed"], "Missing value: argument --pair: expected 2 arguments."),
        (["--json=1"], "argument --json: ignored explicit argument '1'."),
    ],
)
def test_what_is_not_understood_is_said_with_the_way_to_help(parser, typed, said):
    with pytest.raises(Usage) as refused:
        parser.read(typed)
    assert said in str(refused.value)
    assert str(refused.value).endswith("'richness try --help' lists the options.")
