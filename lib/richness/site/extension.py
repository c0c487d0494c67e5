"""Sphinx extension of the book: fresh pages, formulas by KaTeX, no third party, figures that wake when seen."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

from richness.registry import study_modules
from richness.site import card, docstrings, executing, formulas, heads, icons, pages, styles
from richness.site.address import PLACEHOLDER, known_address, website_address
from richness.site.places import ASSETS, LABORATORY, SiteError, node_package

logger = logging.getLogger(__name__)

_SKIPPED = {"__pycache__", ".ipynb_checkpoints", "site"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect everything to Sphinx's events."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_config_value("richness_sources", "", "env")  # what a chapter's outputs depend on
    app.add_config_value("richness_assets", "", "html")  # what every written page depends on
    renderers = ((formulas.visit_inline, None), (formulas.visit_block, None))
    app.add_html_math_renderer("richness_katex", inline_renderers=renderers[0], block_renderers=renderers[1])
    app.connect("config-inited", _configure)
    app.connect("builder-inited", _add_assets)
    app.connect("builder-inited", _import_studies)
    app.connect("env-before-read-docs", executing.execute_chapters)
    app.connect("autodoc-process-docstring", docstrings.escape_docstring, priority=100)
    app.connect("missing-reference", docstrings.resolve_public_name)
    app.connect("html-page-context", _drop_third_parties, priority=900)
    app.connect("html-page-context", heads.add_head)
    app.connect("build-finished", _finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


# Fresh pages -------------------------------------------------------------------------------------------------------


def digest(paths: Iterable[Path]) -> str:
    """A hash of the names and contents of all files under `paths` (folders or files)."""
    total = hashlib.sha256()
    for path in paths:
        for file in sorted(_files(path)):
            total.update(f"{path.name}/{file.relative_to(path)}".encode() + b"\0")
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:16]


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        for child in path.iterdir():
            if child.name not in _SKIPPED and not child.name.startswith("."):
                yield from _files(child)


def sources_digest(root: Path) -> str:
    """What the chapters' outputs depend on besides themselves: ``lib/`` (the website's own code aside) and results."""
    return digest([root / "lib", root / "precomputed"])


def assets_digest(root: Path) -> str:
    """What the written pages depend on besides the chapters: this package, the laboratory, the npm lock."""
    return digest([*sorted(Path(__file__).parent.glob("*.py")), ASSETS, LABORATORY, root / "package-lock.json"])


def _configure(app: Sphinx, config: Config) -> None:
    root = Path(app.srcdir)
    os.environ["RICHNESS_BOOK"] = "1"
    os.environ["RICHNESS_ROOT"] = str(root)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config.richness_sources = sources_digest(root)
    config.richness_assets = assets_digest(root)
    config.html_math_renderer = "richness_katex"
    config.nb_ipywidgets_js = {}
    config.html_baseurl = config.html_baseurl or website_address(known_address())
    caches = Path(app.outdir).parent / ".jupyter_cache"
    config.nb_execution_cache_path = str(caches / config.richness_sources)
    _forget_old_caches(caches, config.richness_sources)
    _hide_placeholder(config)


def _forget_old_caches(caches: Path, current: str) -> None:
    """Say why chapters run again, and drop the outputs of a library or of results that are no more."""
    old = [folder for folder in caches.glob("*") if folder.name != current]
    if old:
        logger.info("lib/ or precomputed/ changed since the last build: every chapter is executed again.")
    for folder in old:
        shutil.rmtree(folder) if folder.is_dir() else folder.unlink()


def _hide_placeholder(config: Config) -> None:
    """Show no button that would lead to a repository that has no address yet."""
    options = config.html_theme_options
    options.setdefault("navbar_persistent", [])  # the search field stands in the sidebar already
    if not str(options.get("repository_url", "")).startswith(PLACEHOLDER):
        return
    options["repository_url"] = ""
    options["launch_buttons"] = {}
    for button in ("use_repository_button", "use_issues_button", "use_edit_page_button", "use_source_button"):
        options[button] = False


# Light pages -------------------------------------------------------------------------------------------------------


def _import_studies(app: Sphinx) -> None:
    """Import all studies before autodoc does with ``TYPE_CHECKING`` true, where pydantic leaves classes unfinished."""
    for module in ("recipes", "analysis", "figures"):
        study_modules(module)


def _add_assets(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    book = Path(app.outdir) / pages.BOOK
    try:
        copy_assets(book)
    except SiteError as error:
        raise _one_line(error) from error
    # Cut down by the last build; without them Sphinx lays down the whole ones and stays silent about it.
    shutil.rmtree(Path(app.outdir) / "_static", ignore_errors=True)
    for sheet in ("katex/katex.css", "richness.css", "icons.css"):
        app.add_css_file(f"../{pages.BOOK}/{sheet}", priority=900)


def _one_line(error: SiteError) -> Exception:
    """Sphinx prints an ExtensionError as one line; a plain exception would print a traceback."""
    from sphinx.errors import ExtensionError

    return ExtensionError(str(error))


def copy_assets(book: Path) -> None:
    """Fill the site's ``_book`` folder: styles, ``page.js``, ``figures.js``, KaTeX, Vega and the laboratory.

    It is not Sphinx's ``_static``: what lies there is put on every page.
    """
    book.mkdir(parents=True, exist_ok=True)
    for name in ("page.js", "figures.js", "richness.css", "favicon.svg"):
        shutil.copyfile(ASSETS / name, book / name)
    (book / "icons.css").touch()  # written at the end, when the pages tell which icons they use
    formulas.copy_katex(book / "katex")
    copy_vega(book / "vega")
    copy_laboratory(book / "lab")


def copy_laboratory(target: Path) -> None:
    """Lay down what a page loads of the laboratory: its opener, the bundles, the style, and what trains."""
    from richness.kernel.compiler import Missing  # with torch, which only a build needs
    from richness.lab import manifest

    try:
        manifest.write(target / "engine")
    except Missing as error:
        raise SiteError(str(error)) from error
    for name in ("boot.js", "lab.bundle.js", "lab.css", "engine/client.js", "engine/worker.bundle.js"):
        shutil.copyfile(LABORATORY / name, target / name)


def copy_vega(target: Path) -> None:
    """Copy Vega and its interpreter (which evaluates expressions without ``eval``) from ``node_modules``."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(node_package("vega") / "build" / "vega.min.js", target / "vega.min.js")
    source = (node_package("vega-interpreter") / "build" / "vega-interpreter.js").read_text(encoding="utf-8")
    # The module imports three helpers from "vega-util", a name that only a bundler knows; Vega carries them.
    source = re.sub(r"import \{([^}]*)\} from .vega-util.;", r"const {\1} = globalThis.vega;", source)
    source = re.sub(r"//# sourceMappingURL=.*", "", source)
    (target / "vega-interpreter.js").write_text(source, encoding="utf-8")


def _drop_third_parties(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Drop Thebe's script and its settings, which name a third party, from a page's list of scripts.

    And the page's name, which only a switch between versions reads: every page then has the same inline scripts.
    """

    def wanted(script: Any) -> bool:
        body = str(getattr(script, "attributes", {}).get("body", ""))
        named = f"{getattr(script, 'filename', script)} {body}".lower()
        return "thebe" not in named and not body.startswith("DOCUMENTATION_OPTIONS.pagename")

    context["script_files"] = list(filter(wanted, context.get("script_files", [])))
    context["css_files"] = [style for style in context.get("css_files", []) if "thebe" not in str(style.filename)]


def _finish(app: Sphinx, exception: Exception | None) -> None:
    if app.builder.format == "html":
        formulas.typesetter().stop()
    if exception is not None or app.builder.name != "html":
        return
    site = Path(app.outdir)
    finish_site(site)
    heads.write_files(site, app.config.html_baseurl, Path(app.srcdir) / "CHANGELOG.md")
    card.draw_card(site / heads.CARD)


def finish_site(site: Path) -> None:
    """Rewrite every page under `site`, then cut the theme's style down to what the pages use."""
    written = sorted(path for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts)
    for page in written:
        pages.finish_page(page, site)
    drop_unused_data(site, written)
    static = site / "_static"
    theme = static / "styles" / "pydata-sphinx-theme.css"
    fontawesome = static / "scripts" / "fontawesome.js"
    markup = [page.read_text(encoding="utf-8") for page in written]
    scripts = [
        path.read_text(encoding="utf-8")
        for folder in (static, site / pages.BOOK)
        for path in folder.rglob("*.js")
        if path not in (fontawesome, site / pages.BOOK / "vega" / "vega.min.js")
    ]
    if theme.is_file() and fontawesome.is_file():
        css = theme.read_text(encoding="utf-8")
        sheet = icons.stylesheet(fontawesome, css, [*markup, *scripts])
        (site / pages.BOOK / "icons.css").write_text(sheet, encoding="utf-8")
        fontawesome.unlink()
    known = styles.words([*markup, *scripts])
    for path in static.rglob("*.css"):
        if path.name not in {"pygments.css"}:
            path.write_text(styles.trim(path.read_text(encoding="utf-8"), known), encoding="utf-8")
    for path in [*static.rglob("*.map"), *static.rglob("fa-*.ttf"), *static.rglob("fa-*.woff2")]:
        path.unlink()


def drop_unused_data(site: Path, written: list[Path]) -> None:
    """Delete data that no page mentions any more, nor a laboratory's setup, which names its measured runs."""
    folder = site / pages.FIGURES
    named = {
        name for page in written for name in re.findall(rf"{pages.FIGURES}/([\w.]+)", page.read_text(encoding="utf-8"))
    }
    setups = [path for name in named if (path := folder / name).suffix == ".json"]
    runs = {name for path in setups for name in re.findall(r'"(\w+\.json)"', path.read_text(encoding="utf-8"))}
    for path in folder.glob("*"):
        if path.name not in named | runs:
            path.unlink()
