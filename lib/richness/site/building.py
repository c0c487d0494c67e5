"""Build the website: nothing where nothing changed, everything where a check must see every warning."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from richness.site.places import SiteError, node_binary, node_package, repository


def build(strict: bool = False, clean: bool = False) -> int:
    """Execute the chapters and write the website to ``_build/html``; 0 if it stands.

    Raises:
        SiteError: if something that it needs is missing, or the build failed; the message names the remedy.
    """
    root = repository()
    check_tools()
    if clean:
        print("Forgetting what was built before (_build).")
        shutil.rmtree(root / "_build", ignore_errors=True)
    stamp = root / "_build" / ".stamp.json"
    wanted = inputs(root)
    built = read_stamp(stamp)
    index = root / "_build" / "html" / "index.html"
    if index.is_file() and built.get("inputs") == wanted and built.get("strict", False) >= strict:
        print(f"Nothing changed since the last build: {index.relative_to(root)} is up to date.")
        return 0
    # A page that is not read again does not repeat its warnings, so a check starts from pages unread.
    fresh = strict and not built.get("strict", False)
    stamp.unlink(missing_ok=True)
    started = time.monotonic()
    run_jupyter_book(root, strict, fresh)
    if inputs(root) == wanted:  # else something changed while it was built, and the next build must look again
        stamp.write_text(json.dumps({"inputs": wanted, "strict": strict}), encoding="utf-8")
    print(f"Built in {time.monotonic() - started:.0f} s: {index.relative_to(root)} (`make serve` shows it).")
    return 0


def run_jupyter_book(root: Path, strict: bool, fresh: bool) -> None:
    """Run Jupyter Book in a process of its own, its output passed through.

    Raises:
        SiteError: if it failed.
    """
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(root)]
    command += ["--path-output", str(root)]
    command += ["-W", "-n", "--keep-going"] if strict else []
    command += ["--all"] if fresh else []
    environment = {**os.environ, "RICHNESS_BOOK": "1", "RICHNESS_ROOT": str(root)}
    print(f"Executing the chapters and writing the website{' (strictly)' if strict else ''} ...", flush=True)
    status = subprocess.run(command, cwd=root, env=environment, check=False).returncode
    if status or not (root / "_build" / "html" / "index.html").is_file():
        hint = "every warning counts in a strict build; " if strict else ""
        raise SiteError(
            f"The website was not built (jupyter-book ended with {status}): {hint}the first ERROR or WARNING above "
            "names the page. A chapter that failed is named with its traceback."
        )


def check_tools() -> None:
    """Look for what a build needs before it takes any time.

    Raises:
        SiteError: if a Python or npm package is missing.
    """
    for module in ("jupyter_book", "myst_nb", "vl_convert", "ipykernel"):
        if importlib.util.find_spec(module) is None:
            raise SiteError(f"The Python package {module} is missing: run `make setup`, which installs it.")
    node_binary()
    for package in ("katex", "vega", "vega-interpreter"):
        node_package(package)


def inputs(root: Path) -> str:
    """A hash of all that the website is made from."""
    from richness.site.extension import assets_digest, digest, sources_digest

    book = [root / name for name in ("_config.yml", "_toc.yml", "references.bib", "chapters")]
    return "-".join([sources_digest(root), assets_digest(root), digest(book)])


def read_stamp(path: Path) -> dict[str, Any]:
    """What the last good build wrote down; empty if there was none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
