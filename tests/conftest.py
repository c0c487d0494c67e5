"""Under CI=true a skipped test is a failed one: what CI cannot run, nobody has checked. And one browser a process.

But for what `.ci/run` installs only where it can: its tests skip with a reason that begins with "optional".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from richness.site import weighing

IN_CI = os.environ.get("CI", "").lower() == "true"


def _fail_if_skipped(report: Any) -> None:
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        if "optional: " in str(reason):
            return
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and CI skips nothing: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[Any]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[Any]:
    report = yield
    _fail_if_skipped(report)
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, those of a file stay together, unless they name another group.

    What a file's fixtures make is dear, and is then made once.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium with a clean profile, which calls nobody. One for all: two cannot run in one process."""
    program = weighing.chromium()
    if program is None:
        pytest.skip("no Chromium: install one, or name it in the environment variable CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: run `make setup`")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, headless=True, args=list(weighing.BROWSER_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def tidy_registries() -> Iterator[None]:
    """What a test registers is gone after it."""
    from richness.runs.experiment import REGISTRIES  # brings torch, which most collections do not need

    before = {kind: (dict(table), dict(table._added)) for kind, table in REGISTRIES.items()}
    yield
    for kind, (things, added) in before.items():
        REGISTRIES[kind].clear()
        REGISTRIES[kind].update(things)
        REGISTRIES[kind]._added = added
