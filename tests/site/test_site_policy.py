"""The Content-Security-Policy: what it says, that it holds, and that the site works under it.

Every other test of the site runs under it too, and fails on the browser's complaint about a violation.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from visits import built_pages

from richness.site.policy import add_policy, policy, script_hashes, site_policy
from richness.site.serving import background

EXAMPLE = "alert('Hello, world.');"  # and its hash, of the Content Security Policy's own specification
EXAMPLE_HASH = "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="
PAGES = built_pages()


def test_a_script_is_known_by_the_hash_of_its_text() -> None:
    html = f'<script>{EXAMPLE}</script><script src="a.js"></script><script type="application/json">[1]</script>'
    assert script_hashes(html) == [EXAMPLE_HASH]
    assert f"script-src 'self' blob: 'wasm-unsafe-eval' '{EXAMPLE_HASH}';" in policy([html, html])


def test_a_sheet_of_styles_is_known_by_its_hash_too() -> None:
    page = f"<noscript><style>{EXAMPLE}</style></noscript><p style='color: red'>"
    assert f"style-src-elem 'self' '{EXAMPLE_HASH}';" in policy([page]) and "style-src-elem 'self';" in policy(["<p>"])


def test_a_page_carries_its_policy_ahead_of_its_scripts_and_once() -> None:
    page = f'<html><head>\n<meta charset="utf-8" /><script>{EXAMPLE}</script></head></html>'
    html = add_policy(add_policy(page))
    assert html.count("Content-Security-Policy") == 1 and EXAMPLE_HASH in html
    assert html.index("Content-Security-Policy") < html.index("<script>")
    assert add_policy("<meta http-equiv='Refresh'>") == "<meta http-equiv='Refresh'>"
    assert "; base-uri 'none'; form-action 'self'" in html


@pytest.mark.site
def test_the_sites_policy_is_strict_and_short(site: Path) -> None:
    directives = dict(part.split(" ", 1) for part in site_policy(site).split("; "))
    assert directives["default-src"] == directives["connect-src"] == directives["font-src"] == "'self'"
    sources = directives["script-src"].split()
    assert "'unsafe-eval'" not in sources and "'unsafe-inline'" not in sources
    assert len([source for source in sources if source.startswith("'sha256-")]) <= 10


@pytest.mark.site
@pytest.mark.parametrize("name", PAGES)
def test_every_page_carries_its_own_and_has_no_handler_that_it_forbids(site: Path, name: str) -> None:
    html = (site / name).read_text(encoding="utf-8")
    meta = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert meta and meta[1] == policy([html])
    assert re.findall(r"<[^>]*\son[a-z]+=|href=\"javascript:", html) == []


@pytest.mark.site
@pytest.mark.browser
@pytest.mark.parametrize("header", [True, False])
def test_a_script_that_the_policy_does_not_know_does_not_run(chromium: Any, site: Path, header: bool) -> None:
    with background(site, policy=site_policy(site) if header else "") as address:
        page = chromium.new_page()
        foreign = "<script>window.foreign = true</script></head>"
        page.route("**/*.html", lambda route: _with_script(route, foreign))
        page.goto(address + "chapters/00-introduction.html", wait_until="load")
        assert page.evaluate("document.documentElement.dataset.theme") == "light", "the page's own scripts run"
        assert page.evaluate("window.foreign") is None
        page.close()


@pytest.mark.site
@pytest.mark.browser
def test_a_sheet_of_styles_that_the_policy_does_not_know_is_not_heeded(chromium: Any, site: Path) -> None:
    with background(site) as address:
        page = chromium.new_page()
        page.route("**/*.html", lambda route: _with_script(route, "<style>h1 { opacity: 0.5 }</style></head>"))
        page.goto(address + "chapters/00-introduction.html", wait_until="load")
        assert page.evaluate("getComputedStyle(document.querySelector('h1')).opacity") == "1"
        page.close()


def _with_script(route: Any, script: str) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, body=answer.text().replace("</head>", script, 1))


@pytest.mark.site
@pytest.mark.browser
def test_the_pages_own_policy_is_enough_on_a_plain_server(chromium: Any, site: Path) -> None:
    with background(site) as address:
        page = chromium.new_page()
        errors: list[str] = []
        page.on("console", lambda event: errors.append(event.text) if event.type == "error" else None)
        page.goto(address + "chapters/02-phase-portrait.html", wait_until="load")
        page.locator("figure.richness-figure").first.scroll_into_view_if_needed()
        page.mouse.move(5, 5)
        page.locator("figure.richness-figure[data-state=live]").first.wait_for(timeout=60_000)
        page.close()
    assert errors == []


@pytest.mark.site
@pytest.mark.browser
def test_search_finds_a_page_and_the_link_leads_there(visit: Any) -> None:
    visited = visit("chapters/00-introduction.html")
    visited.page.keyboard.press("Control+k")
    visited.page.locator("dialog input[name=q]").fill("coordinate check")
    visited.page.keyboard.press("Enter")
    found = visited.page.locator("#search-results li a").filter(has_text="The setting").first
    found.wait_for(timeout=30_000)
    found.click()
    visited.page.wait_for_url("**/chapters/01-setting.html*")
    assert visited.complaints == []


@pytest.mark.site
@pytest.mark.browser
def test_the_themes_buttons_do_what_they_say(visit: Any) -> None:
    visited = visit("chapters/01-setting.html")
    visited.page.evaluate("window.print = () => { window.done = 'printed'; }")
    visited.page.evaluate("document.querySelector('.btn-download-pdf-button').click()")
    assert visited.page.evaluate("window.done") == "printed"
    visited.page.locator(".btn-fullscreen-button").click()
    visited.page.wait_for_function("() => document.fullscreenElement !== null")
    assert visited.complaints == []
