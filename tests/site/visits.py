"""What the tests of the website share: where it is, its pages, and a page in a browser with all that went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from richness.site.places import site_pages

SITE = Path(__file__).parents[2] / "_build" / "html"


def built_pages() -> list[str]:
    """The pages to test, the two that stand outside of the book aside: the root's redirect and the 404.

    One that does not exist where nothing was built, so that the tests are seen to be skipped.
    """
    if not (SITE / "index.html").is_file():
        return ["not-built"]
    return [page for page in site_pages(SITE) if page not in ("index.html", "404.html")]


# The pages that axe reads on a phone too, one of each kind: a reading takes it up to a minute. All are read when wide.
READ_ON_A_PHONE = ["chapters/00-introduction.html", "chapters/02-phase-portrait.html", "chapters/10-ledger.html",
                   "chapters/api.html", "search.html"]  # fmt: skip


def each_page(kind: str, names: Sequence[str]) -> list[Any]:
    """Parameters of a kind of visit; each a group, so that several processes share them out."""
    return [pytest.param(name, id=name, marks=pytest.mark.xdist_group(f"{kind} {name}")) for name in names]


@dataclass
class Visit:
    """A page in a browser, and everything that went wrong on it."""

    page: Any
    complaints: list[str] = field(default_factory=list)


def watch(seen: Visit, address: str) -> None:
    """Note requests to elsewhere, failed answers, page errors and console errors."""

    def request(event: Any) -> None:
        if not event.url.startswith((address, "data:", "blob:")):
            seen.complaints.append(f"request outside of the site: {event.url}")

    def response(event: Any) -> None:
        if event.status >= 400:
            seen.complaints.append(f"{event.status}: {event.url}")

    def console(event: Any) -> None:
        if event.type in ("error", "warning"):
            seen.complaints.append(f"console {event.type}: {event.text}")

    seen.page.on("request", request)
    seen.page.on("response", response)
    seen.page.on("console", console)
    seen.page.on("pageerror", lambda error: seen.complaints.append(f"page error: {error}"))
