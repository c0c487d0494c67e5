"""A laboratory's setup as a site holds it: the measured runs in files beside it, fetched when a reader needs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

from richness.lab import pack
from richness.lab.html import STORED
from richness.runs.results import ResultError, load
from richness.site.address import BadAddress, address_of, colab_link
from richness.site.places import SiteError


def spread_setup(data: str, chapter: str, store: Callable[[bytes, str], str]) -> str:
    """The setup (JSON text) with its measured runs moved into files, and with what only the site knows.

    An entry of ``runs`` becomes a file's name, relative to the setup's own file; one that names a stored result is filled
    from ``precomputed/``, or dropped where that result is not there. What is no setup stays as it is.

    Args:
        data: the JSON text within the laboratory's container.
        chapter: the page's name without suffix.
        store: writes (bytes, suffix) and returns the file's address; setup and runs share a folder.
    """
    setup = json.loads(data)
    if not isinstance(setup, dict) or "runs" not in setup:
        return data
    packed = {key: _pack_entry(entry) for key, entry in setup["runs"].items()}
    setup["runs"] = {key: store(runs, ".json").rsplit("/", 1)[-1] for key, runs in packed.items() if runs is not None}
    setup["chapter"], setup["colab"] = chapter, colab_address(chapter)
    return json.dumps(setup, separators=(",", ":"))


def _pack_entry(entry: Any) -> bytes | None:
    if isinstance(entry, str):
        return _pack_stored(entry.removeprefix(STORED)) if entry.startswith(STORED) else None
    return json.dumps(entry, separators=(",", ":")).encode()


@cache
def _pack_stored(name: str) -> bytes | None:
    try:
        return json.dumps(pack.pack_runs(load(name)), separators=(",", ":")).encode()
    except ResultError:
        return None


@cache
def colab_address(chapter: str) -> str | None:
    """Where a chapter opens in Colab; None while the repository has no address yet."""
    try:
        return colab_link(address_of(), f"{chapter}.ipynb")
    except (SiteError, BadAddress):
        return None
