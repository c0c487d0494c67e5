"""What happens to each written page: third parties out, big data moved beside it, the book's scripts and policy in."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape, unescape
from pathlib import Path
from urllib.parse import quote

from richness import __version__
from richness.site.access import mend_markup
from richness.site.address import known_address
from richness.site.policy import add_policy

FIGURES = "_figures"
BOOK = "_book"
FEED = "changes.xml"

_THIRD_PARTIES = [
    re.compile(r"\s*<script[^>]*fontawesome\.js[^>]*></script>\n?", re.IGNORECASE),
    re.compile(r"\s*<script[^>]*>[^<]*THEBE_JS_URL[^<]*</script>", re.IGNORECASE),
    re.compile(r"\s*<script[^>]*sphinx-thebe\.js[^>]*></script>", re.IGNORECASE),
    re.compile(r"\s*<link[^>]*thebe\.css[^>]*/?>", re.IGNORECASE),
    re.compile(r'<script type="text/x-thebe-config">.*?</script>', re.DOTALL),
    re.compile(r"\s*<script>kernelName = [^<]*</script>"),
    re.compile(r"\s*<script[^>]*(?:require(?:\.min)?\.js|embed-amd\.js)[^>]*></script>", re.IGNORECASE),
]
_PRELOAD = re.compile(r'\s*<link rel="preload" as="script"[^>]*>')
# Only for searching while one types, which is off; search.html has its own.
_SEARCH = re.compile(r'\s*<script src="(?:[^"]*/)?(?:searchtools|language_data|searchindex)\.js[^"]*"></script>')
_MODE = re.compile(r'document\.documentElement\.dataset\.theme = localStorage\.getItem\("theme"\) \|\| "auto";')
# The theme decides between light and dark in a script at the page's end; deciding here spares a flash of neither.
_EARLY_MODE = """{
      const mode = document.documentElement.dataset.mode;
      const dark = mode === "dark" || (mode !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
      document.documentElement.dataset.theme = dark ? "dark" : "light";
    }"""
_ACTIONS = {"window.print()": "print", "toggleFullScreen()": "fullscreen"}  # what page.js does instead
_JSON = re.compile(r'<script type="application/json"(?P<attributes>[^>]*)>(?P<data>.*?)</script>', re.DOTALL)
_CSV = re.compile(r'href="data:text/csv;[^",]*base64,([^"]+)"')
_LABORATORY = re.compile(r"<[a-z]+\b[^>]*\bdata-richness-lab\b[^>]*>")


def finish_page(page: Path, site: Path) -> None:
    """Rewrite one HTML file under `site` in place; a page that was finished before stays as it is."""
    before = page.read_text(encoding="utf-8")
    root = "../" * (len(page.relative_to(site).parts) - 1)
    html = before
    for pattern in _THIRD_PARTIES:
        html = pattern.sub("", html)
    html = _PRELOAD.sub("", html)
    if page.name != "search.html":
        html = _SEARCH.sub("", html)
    html = _MODE.sub(_EARLY_MODE, html).replace('data-theme="auto"', 'data-theme="light"')
    html = move_laboratory_data(html, site, root, page.stem)
    html = move_figure_data(html, site, root)
    for call, action in _ACTIONS.items():
        html = html.replace(f'onclick="{call}"', f'data-click="{action}"')
    html = add_report_link(html, page.relative_to(site).as_posix())
    html = add_policy(add_scripts(mend_markup(html), site, root))
    if html != before:
        page.write_text(html, encoding="utf-8")


def store(data: bytes, suffix: str, site: Path) -> str:
    """Write `data` to ``_figures/<hash><suffix>`` and return that address, relative to the site's root."""
    name = f"{FIGURES}/{hashlib.sha256(data).hexdigest()[:20]}{suffix}"
    path = site / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(data)
    return name


def move_figure_data(html: str, site: Path, root: str) -> str:
    """Move the specifications of figures (scripts of class ``richness-spec``) and their CSV tables into files."""

    def move(match: re.Match[str]) -> str:
        if "richness-spec" not in match["attributes"] or "data-src" in match["attributes"]:
            return match[0]
        name = store(match["data"].strip().encode(), ".json", site)
        return f'<script type="application/json"{match["attributes"]} data-src="{root}{name}"></script>'

    def download(match: re.Match[str]) -> str:
        name = store(base64.b64decode(unescape(match[1])), ".csv", site)
        return f'href="{root}{name}"'

    return _CSV.sub(download, _JSON.sub(move, html))


def move_laboratory_data(html: str, site: Path, root: str, chapter: str) -> str:
    """Move the setup of each laboratory (the first JSON script within its container) into a file, its runs into others.

    The file's address stands in the container's attribute ``data-src``, where ``lab.js`` looks for it.
    """
    parts, position = [], 0
    for container in _LABORATORY.finditer(html):
        if "data-src" in container[0] or container.start() < position:
            continue
        script = _JSON.search(html, container.end())
        following = _LABORATORY.search(html, container.end())
        if script is None or (following is not None and following.start() < script.start()):
            continue
        from richness.site.setups import spread_setup  # and torch with it: only where there is a laboratory

        data = spread_setup(script["data"].strip(), chapter, lambda data, suffix: store(data, suffix, site))
        name = store(data.encode(), ".json", site)
        tag = f'{container[0][:-1].rstrip("/")} data-src="{root}{name}">'
        parts += [html[position : container.start()], tag, html[container.end() : script.start()]]
        position = script.end()
    return "".join(parts) + html[position:]


def add_scripts(html: str, site: Path, root: str) -> str:
    """Load ``page.js`` everywhere, ``figures.js`` and the laboratory's module on the pages that have one of them."""
    tags = []
    if f"{BOOK}/favicon.svg" not in html:
        tags.append(f'<link rel="icon" type="image/svg+xml" href="{root}{BOOK}/favicon.svg">')
    if "application/atom+xml" not in html:
        tags.append(f'<link rel="alternate" type="application/atom+xml" title="Changes" href="{root}{FEED}">')
    if f"{BOOK}/page.js" not in html and "</head>" in html:
        tags.append(f'<script defer src="{root}{BOOK}/{add_version(site, "page.js")}"></script>')
    if '"richness-figure"' in html and f"{BOOK}/figures.js" not in html:
        tags.append(f'<script defer src="{root}{BOOK}/{add_version(site, "figures.js")}"></script>')
    if _LABORATORY.search(html) and "data-richness-boot" not in html and (site / BOOK / "lab" / "boot.js").is_file():
        styles = sorted((site / BOOK / "lab").glob("*.css"))
        tags += [f'<link rel="stylesheet" href="{root}{BOOK}/lab/{style.name}">' for style in styles]
        tags.append(f'<script type="module" data-richness-boot src="{root}{BOOK}/lab/boot.js"></script>')
    return html.replace("</head>", "\n".join([*tags, "</head>"]), 1) if tags else html


def add_report_link(html: str, page: str) -> str:
    """Put a link into the footer to a new issue that names page and version; ``page.js`` adds what the address bar then says.

    Nothing while the repository has no address, or is not on GitHub.
    """
    address = known_address()
    if not address.startswith("https://github.com/") or "richness-report" in html:
        return html
    body = f"Page: {page}\nVersion: {__version__}\n\nWhat is wrong:\n"
    link = escape(f"{address}/issues/new?title={quote(f'On {page}')}&body={quote(body)}")
    footer = '<div class="extra_footer">'
    return html.replace(
        footer, f'{footer}\n<p><a class="richness-report" href="{link}">Report a problem on this page</a></p>', 1
    )


def add_version(site: Path, name: str) -> str:
    """`name` with a digest of its content, so that a browser's cache never shows yesterday's script."""
    return f"{name}?v={hashlib.sha256((site / BOOK / name).read_bytes()).hexdigest()[:8]}"
