"""The repository, and the command line called in this process."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = "sweep --gammas 0.1 1 --etas 1e-2 1e-1 1 --seeds 0 --width 8 --steps 12 --batch-size 8 --record-points 5"


@dataclass
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def tiny() -> list[str]:
    """A sweep of six small networks, two γ and three η."""
    return TINY.split()


@pytest.fixture
def richness(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `richness ...` in this process."""
    from richness.cli import main

    monkeypatch.delenv("RICHNESS_DEBUG", raising=False)

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return call


@pytest.fixture
def promised(richness: Command) -> Callable[[str, str], list[str]]:
    """``promised(line, where)``: the words after a command that a text names; it exists, with each of its options."""
    from richness.cli import COMMANDS

    def check(line: str, where: str) -> list[str]:
        command, *rest = shlex.split(line)
        if command.startswith("-"):  # of the program itself, as `richness --help`
            command, rest = "", [command]
        assert command in (*COMMANDS, ""), f"{where} promises richness {command}"
        said = richness(*filter(None, [command]), "--help").out
        for option in (word for word in rest if word.startswith("-")):
            assert re.search(rf"(?<![\w-]){re.escape(option)}\b", said), f"{where}: richness {command} has no {option}"
        return rest

    return check
