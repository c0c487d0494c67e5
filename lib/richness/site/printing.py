"""The book as one PDF: every page of the built website, printed by Chromium and bound in the order of the contents."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from richness.site.places import SiteError, built_site, repository
from richness.site.serving import background
from richness.site.weighing import BROWSER_FLAGS, chromium

MARGIN = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}

# On paper answers stand open, and a link to another page of the site would lead to a server that is gone.
PREPARED = """() => {
  for (const folded of document.querySelectorAll("details.sd-dropdown")) folded.open = true;
  for (const link of document.querySelectorAll("a[href]"))
    if (link.origin === location.origin && link.pathname !== location.pathname) link.removeAttribute("href");
}"""


def bind(target: Path | None = None) -> int:
    """Print the built website to one PDF, ``_build/book.pdf`` unless `target` says otherwise.

    Raises:
        SiteError: no website yet, no Chromium, or a Python package that is missing.
    """
    site, browser = built_site(), chromium()
    if browser is None:
        raise SiteError("A PDF is printed by Chromium, and none was found: install it, or name it in CHROMIUM.")
    try:
        import pypdf
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise SiteError(f"The Python package {error.name} is missing: run `make setup`, which installs it.") from error
    target = target or repository() / "_build" / "book.pdf"
    book = pypdf.PdfWriter()
    with sync_playwright() as playwright, background(site) as address:
        running = playwright.chromium.launch(executable_path=browser, headless=True, args=list(BROWSER_FLAGS))
        for page in contents():
            title, pdf = print_page(running, address + page)
            book.append(io.BytesIO(pdf), outline_item=title)
            print(f"  {page}", flush=True)
        running.close()
    book.add_metadata({"/Title": book_title(), "/Creator": "richness"})
    unfinished = target.with_suffix(".part")
    book.write(unfinished)
    unfinished.replace(target)
    print(f"{len(book.pages)} sheets: {target}")
    return 0


def contents() -> list[str]:
    """The book's pages in the order of its contents, as addresses relative to the site's root."""
    import yaml

    toc = yaml.safe_load((repository() / "_toc.yml").read_text(encoding="utf-8"))
    return [
        f"{name}.html" for name in (toc["root"], *(page["file"] for part in toc["parts"] for page in part["chapters"]))
    ]


def book_title() -> str:
    """The title that stands in ``_config.yml``."""
    import yaml

    return str(yaml.safe_load((repository() / "_config.yml").read_text(encoding="utf-8"))["title"])


def print_page(browser: Any, address: str) -> tuple[str, bytes]:
    """(title, PDF) of one page, in the light theme; figures as the pictures that they are before a script wakes them."""
    context = browser.new_context(color_scheme="light", viewport={"width": 1100, "height": 1400})
    tab = context.new_page()
    tab.goto(address, wait_until="networkidle")
    tab.emulate_media(media="print", color_scheme="light")
    tab.evaluate(PREPARED)
    title = tab.title().split(" — ")[0]
    pdf = tab.pdf(format="A4", margin=MARGIN, print_background=True, scale=0.8)
    context.close()
    return title, pdf
