"""What a page's first view weighs: gzip bytes of everything that is fetched on load, without scrolling."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from richness.site.places import built_site, site_pages
from richness.site.serving import background

BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_COMPRESSED = {".woff2", ".png", ".jpg", ".webp", ".gz"}
_TAGS = re.compile(r'<(?:script[^>]*\bsrc|link[^>]*\brel="stylesheet"[^>]*\bhref|img[^>]*\bsrc)="([^"]+)"')

_DATA = re.compile(r'<script[^>]*richness-spec[^>]*\bdata-src="([^"]+)"')


def chromium() -> str | None:
    """The path of a Chromium: the environment variable CHROMIUM, else the first found on the PATH; None if none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def weight(path: Path) -> int:
    """Bytes of one file as a server that compresses would send it (level 9)."""
    data = path.read_bytes()
    return len(data) if path.suffix in _COMPRESSED else len(gzip.compress(data, 9))


DRAWN, ALIVE = 300.0, 500.0  # kB of gzip that a first view may weigh, and with the figures in it alive


def weigh() -> int:
    """Print each page's weight in kB; 1 if one is above its limit, drawn or once the figures in its first view are alive."""
    site = built_site()
    weights, how = page_weights(site)
    print(f"First view of each page, kB of gzip ({how}); limits {DRAWN:.0f} drawn, {ALIVE:.0f} alive:")
    print(f"  {'drawn':>7}  {'alive':>7}  page (heaviest files)")
    heavy = []
    for page, view in weights.items():
        drawn, alive = sum(view.drawn.values()) / 1000, sum(view.alive.values()) / 1000
        heaviest = ", ".join(f"{name} {size / 1000:.0f}" for name, size in top(view.alive))
        too_heavy = drawn > DRAWN or alive > ALIVE
        print(f"  {drawn:7.1f}  {alive:7.1f}  {'TOO HEAVY ' if too_heavy else ''}{page} ({heaviest})")
        if too_heavy:
            heavy.append(page)
    if heavy:
        print(f"{len(heavy)} page(s) above the limit: {', '.join(heavy)}. Thin the heaviest files named above.")
    return 1 if heavy else 0


def top(files: dict[str, int], count: int = 4) -> list[tuple[str, int]]:
    """The heaviest files, by their last name."""
    ranked = sorted(files.items(), key=lambda item: -item[1])[:count]
    return [(name.rsplit("/", 1)[-1], size) for name, size in ranked]


@dataclass(frozen=True)
class FirstView:
    """{file: gzip bytes} of a page's first view: once it is drawn, and once the figures in it are alive."""

    drawn: dict[str, int]
    alive: dict[str, int]


def page_weights(site: Path) -> tuple[dict[str, FirstView], str]:
    """({page: view}, how they were measured): by a browser where there is one, else by following tags."""
    browser = chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        browser = None
    if browser is None:
        return {page: follow_tags(site, page) for page in site_pages(site)}, "by following tags: no Chromium here"
    with sync_playwright() as playwright, background(site) as address:
        running = playwright.chromium.launch(executable_path=browser, headless=True, args=list(BROWSER_FLAGS))
        weights = {page: watch_page(running, site, address, page) for page in site_pages(site)}
        running.close()
    return weights, "measured by Chromium, 1280 × 800"


def watch_page(browser: Any, site: Path, address: str, page: str) -> FirstView:
    """All that a browser fetches from the site for the first view of `page`, without scrolling."""
    fetched: dict[str, int] = {}

    def note(request: Any) -> None:
        parts = urlsplit(request.url)
        path = site / unquote(parts.path).lstrip("/")
        if request.url.startswith(address) and path.is_file():
            fetched[parts.path.lstrip("/")] = weight(path)

    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    tab.on("request", note)
    tab.goto(address + page, wait_until="networkidle")
    drawn = dict(fetched)
    tab.mouse.move(5, 5)  # the reader's first sign of life wakes the figures in view
    tab.wait_for_timeout(500)
    tab.wait_for_load_state("networkidle")
    tab.wait_for_function("() => !document.querySelector('figure[data-state=loading]')", timeout=60_000)
    context.close()
    return FirstView(drawn, fetched)


def follow_tags(site: Path, page: str) -> FirstView:
    """A page and the files that its tags name, with KaTeX's main fonts; alive: as if every figure were in view."""
    html = (site / page).read_text(encoding="utf-8")
    addresses = [page, *(urljoin(page, unquote(found.split("?")[0])) for found in _TAGS.findall(html))]
    if 'class="katex"' in html:
        addresses += [f"_book/katex/fonts/KaTeX_{name}.woff2" for name in ("Main-Regular", "Math-Italic")]
    late = [urljoin(page, found) for found in _DATA.findall(html)]
    late += ["_book/vega/vega.min.js", "_book/vega/vega-interpreter.js"] if late else []
    drawn = {address: weight(site / address) for address in addresses if (site / address).is_file()}
    return FirstView(drawn, drawn | {address: weight(site / address) for address in late if (site / address).is_file()})
