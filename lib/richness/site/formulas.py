"""Formulas set at build time by KaTeX: HTML for the eye, MathML for the ear, no script on the page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

from richness.site.places import ASSETS, SiteError, node_binary, node_package

logger = logging.getLogger(__name__)


class Typesetter:
    """A KaTeX process that answers one formula at a time, and remembers its answers."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._known: dict[tuple[str, bool], dict[str, str]] = {}

    def __call__(self, tex: str, display: bool) -> dict[str, str]:
        """Return ``{"html": …}``, or ``{"error": …}`` where KaTeX cannot read `tex`."""
        key = (tex, display)
        if key not in self._known:
            self._known[key] = self._typeset(tex, display)
        return self._known[key]

    def _typeset(self, tex: str, display: bool) -> dict[str, str]:
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise SiteError("KaTeX stopped while it set a formula: run `make setup` to install it afresh.")
        return json.loads(answer)

    def _start(self) -> subprocess.Popen[str]:
        command = [node_binary(), str(ASSETS / "formulas.cjs"), str(node_package("katex") / "dist" / "katex.js")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        return self._process

    def stop(self) -> None:
        """End the process; the next formula starts another."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


@lru_cache(maxsize=1)
def typesetter() -> Typesetter:
    """The build's one typesetter."""
    return Typesetter()


def render(node: Any, tex: str, display: bool) -> str:
    """HTML of one formula; a formula that KaTeX cannot read is a warning, and shows as its source."""
    answer = typesetter()(tex, display)
    if "html" in answer:
        return answer["html"]
    logger.warning("KaTeX cannot read the formula %r: %s", tex, answer["error"], location=node, type="katex")
    return f"<code>{escape(tex)}</code>"


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write an inline formula."""
    html = render(node, node.astext(), display=False)
    translator.body.append(translator.starttag(node, "span", "", CLASS="math") + html + "</span>")
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.math_block) -> None:
    """Write a formula on a line of its own, with its number where it has one."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    if node.get("number"):
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(
        render(node, align_lines(node.astext(), bool(node.get("nowrap"))), display=True) + "</div>\n"
    )
    raise nodes.SkipNode


def align_lines(tex: str, nowrap: bool) -> str:
    r"""`tex`, in an ``aligned`` environment where it has several lines and none of its own (as Sphinx does)."""
    if nowrap or r"\begin{" in tex or r"\\" not in tex:
        return tex
    return r"\begin{aligned}" + tex + r"\end{aligned}"


def copy_katex(target: Path) -> None:
    """Copy KaTeX's style and its woff2 fonts to `target`; the older font formats stay behind."""
    dist = node_package("katex") / "dist"
    (target / "fonts").mkdir(parents=True, exist_ok=True)
    css = (dist / "katex-swap.min.css").read_text(encoding="utf-8")
    css = re.sub(r',url\(fonts/[^)]+\.(?:woff|ttf)\) format\("\w+"\)', "", css)
    (target / "katex.css").write_text(css, encoding="utf-8")
    for font in (dist / "fonts").glob("*.woff2"):
        shutil.copyfile(font, target / "fonts" / font.name)
