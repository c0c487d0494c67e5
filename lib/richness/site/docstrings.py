"""Docstrings as they are written here, made fit for reStructuredText: code in backticks, η* and |x| as letters."""

from __future__ import annotations

import re
from typing import Any

# What stays as it is: roles, literals, and code in single backticks (which becomes a literal).
_SPAN = re.compile(r"(:[\w:]+:`[^`]*`|``[^`]*``|`[^`\n]+`_{0,2})")
_STAR = re.compile(r"(?<!\*)\*(?!\*)")
_REFERENCE = re.compile(r"(?<=\w)_(?!\w)")


def escape_docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of one docstring in place, before Napoleon reads its sections."""
    lines[:] = [escape_line(line) for line in lines]


def escape_line(line: str) -> str:
    """One line with every letter that reStructuredText would take for markup escaped; bullets stay bullets."""
    bullet = re.match(r"\s*\* ", line)
    start = bullet.end() if bullet else 0
    parts = _SPAN.split(line[start:])
    return line[:start] + "".join(_code(part) if i % 2 else _escape_text(part) for i, part in enumerate(parts))


def _code(span: str) -> str:
    if span.startswith((":", "``")) or span.endswith("_"):
        return span
    return f"`{span}`"


def _escape_text(text: str) -> str:
    text = text.replace("|", "\\|")
    text = (
        _STAR.sub(r"\\*", text) if text.count("*") % 2 or not re.search(r"(?<!\w)\*\w[^*]*\w\*(?!\w)", text) else text
    )
    return _REFERENCE.sub(r"\\_", text)


def resolve_public_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Resolve a reference to a name of the package's map, as in ``richness.load``, to where it is documented."""
    import richness

    target = str(node.get("reftarget", ""))
    name = target.removeprefix("richness.")
    if node.get("refdomain") != "py" or name == target or name not in richness._HOME:
        return None
    domain, page = env.get_domain("py"), node.get("refdoc", "")
    for home in (f"{richness._HOME[name]}.{name}", name):
        matches = domain.find_obj(env, None, None, home, None, 1)
        if matches:
            return domain.resolve_xref(env, page, app.builder, node["reftype"], matches[0][0], node, contnode)
    return None
