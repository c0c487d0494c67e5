"""The Content-Security-Policy that the website keeps: nothing from elsewhere, no eval, no script or style unknown to it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from richness.site.places import site_pages

# KaTeX writes attributes `style` by the thousand, so these are let be; a sheet of styles has to be ours, or known by its hash.
# Browsers that know no `style-src-elem` keep to `style-src`. The laboratory's runtime is WebAssembly in a worker of our own.
_DIRECTIVES = (
    "default-src 'self'",
    "script-src 'self' blob: 'wasm-unsafe-eval'{hashes}",
    "style-src 'self' 'unsafe-inline'",
    "style-src-elem 'self'{sheets}",
    "style-src-attr 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self'",
    "worker-src blob: 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
)
_SCRIPT = re.compile(r"<script\b(?P<attributes>[^>]*)>(?P<body>.*?)</script>", re.DOTALL | re.IGNORECASE)
_STYLE = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL | re.IGNORECASE)
_EXECUTED = re.compile(r'\btype="(?:text/javascript|module)?"', re.IGNORECASE)
_META = re.compile(r'\s*<meta http-equiv="Content-Security-Policy"[^>]*>')


def policy(pages: Iterable[str]) -> str:
    """The policy under which the inline scripts and styles of these HTML pages, and no others, are heeded."""
    scripts, sheets = set(), set()
    for html in pages:
        scripts.update(script_hashes(html))
        sheets.update(style_hashes(html))
    return "; ".join(_DIRECTIVES).format(hashes=_sources(scripts), sheets=_sources(sheets))


def _sources(names: Iterable[str]) -> str:
    return "".join(f" '{name}'" for name in sorted(names))


def script_hashes(html: str) -> list[str]:
    """``sha256-…`` of each script whose text stands in the page and is executed."""
    bodies = [
        match["body"]
        for match in _SCRIPT.finditer(html)
        if not re.search(r"\bsrc=", match["attributes"])
        and ("type=" not in match["attributes"] or _EXECUTED.search(match["attributes"]))
    ]
    return [_hash(body) for body in bodies]


def style_hashes(html: str) -> list[str]:
    """``sha256-…`` of each sheet of styles whose text stands in the page."""
    return [_hash(body) for body in _STYLE.findall(html)]


def _hash(body: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()


def site_policy(site: Path) -> str:
    """One policy for every page of the built website, to be sent as a header by whoever serves it."""
    return policy((site / page).read_text(encoding="utf-8") for page in site_pages(site))


def add_policy(html: str) -> str:
    """The page with its own policy in its head, ahead of every script, so that a plain file server is enough."""
    html = _META.sub("", html)
    head = re.search(r"<meta charset=[^>]*>", html)
    if head is None:  # Sphinx's bare redirect, until the root's page takes its place
        return html
    meta = f'\n    <meta http-equiv="Content-Security-Policy" content="{policy([html])}">'
    return html[: head.end()] + meta + html[head.end() :]
