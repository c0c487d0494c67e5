"""The built website, under a sub-path as a project page would be and under its policy, in a Chromium that takes notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import looks
import pytest
from visits import READ_ON_A_PHONE, SITE, Visit, built_pages, each_page, watch

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


@contextmanager
def opening(chromium: Any, address: str) -> Iterator[Callable[..., Visit]]:
    """``open_page(path, **context options)`` opens a page of the site; all are closed at the end."""
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


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Callable[..., Visit]]:
    """``visit(path, **context options)`` opens a page of the site and returns a `Visit`."""
    with opening(chromium, address) as open_page:
        yield open_page


# A page is loaded once by day, once by night and once on a phone; what was seen there is what the tests judge.


@pytest.fixture(scope="session", params=each_page("by day", built_pages()))
def by_day(request: pytest.FixtureRequest, chromium: Any, address: str) -> Any:
    """What is seen of a page on a light screen, when each of its figures is brought to life and played with."""
    with opening(chromium, address) as open_page:
        return looks.by_day(open_page(request.param, color_scheme="light"))


@pytest.fixture(scope="session", params=each_page("by night", built_pages()))
def by_night(request: pytest.FixtureRequest, chromium: Any, address: str) -> Any:
    """What is seen of a page that is opened in the dark by a reader who wants no motion, and then turned light."""
    with opening(chromium, address) as open_page:
        return looks.by_night(open_page(request.param, color_scheme="dark", reduced_motion="reduce"))


@pytest.fixture(scope="session", params=each_page("on a phone", built_pages()))
def on_a_phone(request: pytest.FixtureRequest, chromium: Any, address: str) -> Any:
    """What is seen of a page that is 360 pixels wide."""
    with opening(chromium, address) as open_page:
        return looks.on_a_phone(open_page(request.param, viewport=looks.PHONE), axe=request.param in READ_ON_A_PHONE)
