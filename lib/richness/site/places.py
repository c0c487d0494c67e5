"""Where things lie, and the one error that says what to do when they do not."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from richness.runs.places import checkout

ASSETS = Path(__file__).parent / "assets"
LABORATORY = Path(__file__).parent.parent / "lab"


class SiteError(Exception):
    """The site cannot be built, served or weighed; the message names the remedy."""


def repository() -> Path:
    """The book's root, the folder with ``_config.yml``: where ``RICHNESS_ROOT`` says; else here or above, or the clone that
    this package is used from.

    Raises:
        SiteError: if there is none.
    """
    named = os.environ.get("RICHNESS_ROOT")
    here = Path(named or Path.cwd()).resolve()
    places = [here, *here.parents]
    if not named and not any(map(_has_book, places)):
        places += filter(None, [checkout()])
    found = next(filter(_has_book, places), None)
    if found is None:
        raise SiteError(
            f"Expected a book (_config.yml and _toc.yml) in {here} or above, found none: run this in the repository."
        )
    return found


def _has_book(folder: Path) -> bool:
    return (folder / "_config.yml").is_file() and (folder / "_toc.yml").is_file()


def node_binary() -> str:
    """The path of ``node``: the one that pip installed beside this Python, else the system's.

    Raises:
        SiteError: if there is none.
    """
    beside = shutil.which("node", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("node")
    if found is None:
        raise SiteError("Node was not found beside Python nor on the PATH: run `make setup`, which installs both.")
    return found


def node_package(name: str) -> Path:
    """The folder of an npm package that the site needs.

    Raises:
        SiteError: if it is not installed.
    """
    folder = repository() / "node_modules" / name
    if not (folder / "package.json").is_file():
        raise SiteError(f"node_modules/{name} is missing: run `make setup`, which installs it (`npm ci`).")
    return folder


def built_site() -> Path:
    """The folder of the built website.

    Raises:
        SiteError: if it was not built yet.
    """
    site = repository() / "_build" / "html"
    if not (site / "index.html").is_file():
        raise SiteError("There is no website yet: run `make book`, which writes it to _build/html.")
    return site


def site_pages(site: Path) -> list[str]:
    """Addresses of all pages, relative to the site's root; redirects and Sphinx's own indices too."""
    return sorted(
        path.relative_to(site).as_posix()
        for path in site.rglob("*.html")
        if not {"_static", "_book"} & set(path.relative_to(site).parts)
    )
