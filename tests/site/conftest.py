"""The built website, under a sub-path as a project page would be and under its policy, in a Chromium that takes notes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from visits import SITE, Visit, watch

from richness.site.policy import site_policy
from richness.site.serving import background

PREFIX = "/somewhere/richness"


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built website."""
    if not (SITE / "index.html").is_file():
        pytest.skip("there is no website in _build/html: run `make book` first")
    return SITE


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The address of the site's root, under a sub-path; every answer carries the site's Content-Security-Policy."""
    with background(site, PREFIX, site_policy(site)) as address:
        yield address


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Any]:
    """``visit(path, **context options)`` opens a page of the site and returns a `Visit`."""
    contexts = []

    def open_page(path: str, **options: Any) -> Visit:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        # A polled expression must be a function (`() => …`): the site's policy knows no eval.
        seen = Visit(context.new_page())
        watch(seen, address)
        seen.page.goto(address + path, wait_until="load")
        return seen

    yield open_page
    for context in contexts:
        context.close()
