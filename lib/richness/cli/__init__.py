"""The commands: each is a function that takes the words typed after its name and returns an exit status.

Every failure is one sentence on stderr (what was expected, what came, what to do). Exit status: 0 done; 1 it could not
be done; 2 the command was not understood; 130 stopped by Ctrl-C. `RICHNESS_DEBUG=1` shows the traceback as well.

A command's module is imported when the command is called, and torch when it is needed, so that help is instant.
"""

import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from richness.cli.errors import Usage, explain_error, suggest
from richness.cli.terminal import prepare_streams

__all__ = ["COMMANDS", "main"]

# torch reads these when it is first imported; two OpenMP threads beside a busy process cost far more than they give.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# name -> (its module in this package, one line for the list of commands)
COMMANDS = {
    "sweep": ("train", "one sweep over the γ–η plane, resumable"),
    "search": ("train", "the boundaries of the plane without the plane, resumable"),
    "show": ("results", "a result: what it is, what became of its runs, its boundaries"),
    "precompute": ("precompute", "fills precomputed/ with what is stale"),
    "rerun": ("notebooks", "executes chapters at a scale, parameters checked"),
    "table": ("notebooks", "the parameters and results of executed chapters, a row each"),
    "status": ("notebooks", "when each chapter last ran, from the logs of reruns"),
    "adopt": ("results", "takes a result from another machine into precomputed/"),
    "ledger": ("ledger", "the paper's claims and their verdicts"),
    "advise": ("ledger", "which η to use, from the measured portraits"),
    "fetch": ("data", "brings the data of tasks that are read from files"),
    "check-coordinates": ("check", "whether a network follows width and γ as µP asks"),
    "bench": ("bench", "ratios against the peers, measured now"),
    "cite": ("results", "the BibTeX of what you used"),
    "address": ("address", "writes the repository's public address everywhere"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; errors become one sentence on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    prepare_streams()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"richness: note: {message}", file=sys.stderr)
            code = _dispatch(arguments)
            sys.stdout.flush()  # what cannot be written is said here, not by Python's shutdown
            return code
    except KeyboardInterrupt as stop:
        _tell_how_to_go_on(stop, arguments)
        return 130
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("RICHNESS_DEBUG") == "1":
            raise
        command = f" {arguments[0]}" if arguments and arguments[0] in COMMANDS else ""
        print(f"richness{command}: {explain_error(error)}", file=sys.stderr)
        return 2 if isinstance(error, Usage) else 1


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else 2
    name, *words = arguments
    if name in ("-V", "--version"):
        from importlib.metadata import version  # which takes longer than all of the help

        print(f"richness {version('richness')}")
        return 0
    if name not in COMMANDS:
        known = list(COMMANDS)
        raise Usage(f"{name!r} is not a command; the commands are {', '.join(known)}.{suggest(name, known)}")
    module = import_module(f"richness.cli.{COMMANDS[name][0]}")
    try:
        return getattr(module, name.replace("-", "_"))(words)
    except SystemExit:  # argparse has shown the command's help
        return 0


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {about}" for name, (_, about) in COMMANDS.items()]
    last = "richness COMMAND --help lists a command's options."
    return "\n".join(["usage: richness COMMAND [OPTIONS]", "", *lines, "", last])


def _tell_how_to_go_on(stop: KeyboardInterrupt, arguments: Sequence[str]) -> None:
    print("\nrichness: stopped by Ctrl-C.", file=sys.stderr)
    for what_is_kept in getattr(stop, "__notes__", ()):
        print(f"{what_is_kept} {shlex.join(['richness', *arguments])}", file=sys.stderr)
