"""The theme's dozen icons as CSS masks, cut out of Font Awesome's script so that no page need fetch its 1.5 MB."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_ENTRY = re.compile(r'"?([\w-]+)"?:\[(\d+),(\d+),\[([^\]]*)\],"([0-9a-f]+)",(?:"([^"]+)"|\["([^"]*)","([^"]+)"\])\]')
_CLASS = re.compile(r"\bfa-([a-z0-9-]+)")
_GLYPH = re.compile(r'(--pst-[\w-]+):\s*"([^"]+)"')
_ALIAS = re.compile(r"(--pst-[\w-]+):\s*var\((--pst-[\w-]+)\)")
_CONTENT = re.compile(r"([^{}]+)\{[^{}]*content:\s*var\((--pst-[\w-]+)\)[^{}]*\}")

HEADER = "/* Icons: Font Awesome Free (https://fontawesome.com), CC BY 4.0; only those that these pages use. */\n"
BASE = """.fa-solid,.fa-regular,.fa-brands,.fas,.far,.fab{display:inline-block;width:1.1em;height:1em;
vertical-align:-.125em;background:currentColor;-webkit-mask:var(--icon) center/contain no-repeat;
mask:var(--icon) center/contain no-repeat}
.fa-solid:before,.fa-regular:before,.fa-brands:before,.fas:before,.far:before,.fab:before{content:none!important}
.fa-lg{font-size:1.25em;line-height:.05em}
@media (forced-colors:active){.fa-solid,.fa-regular,.fa-brands,.fas,.far,.fab{
forced-color-adjust:none;background:ButtonText}}
"""


@dataclass(frozen=True)
class Icon:
    """One drawing: its box in units of its own, and its path."""

    width: int
    height: int
    path: str

    def url(self) -> str:
        """The drawing as a CSS ``url(data:…)``."""
        box = f"0 0 {self.width} {self.height}"
        svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='{box}'><path d='{self.path}'/></svg>"
        data = quote(svg, safe=" ='/:,.-")
        return f'url("data:image/svg+xml,{data}")'


def read_icons(script: Path) -> tuple[dict[str, Icon], dict[str, Icon]]:
    """All drawings in Font Awesome's `script`: by name (aliases too), and by the glyph's hexadecimal code.

    Where a name stands in several styles the solid one is meant, which the script lists last.
    """
    names: dict[str, Icon] = {}
    codes: dict[str, Icon] = {}
    for entry in _ENTRY.finditer(script.read_text(encoding="utf-8")):
        name, width, height, aliases, code, single, _, second = entry.groups()
        icon = Icon(int(width), int(height), single or second)
        for alias in (name, *re.findall(r'"([\w-]+)"', aliases)):
            names[alias] = icon
        codes[code] = icon
    return names, codes


def used_names(texts: Iterable[str]) -> set[str]:
    """The names in ``fa-…`` classes of pages and scripts."""
    return {name for text in texts for name in _CLASS.findall(text)}


def stylesheet(script: Path, theme_css: str, texts: Iterable[str]) -> str:
    """CSS that draws every icon in `texts` (pages), and every glyph that `theme_css` writes as generated content."""
    names, codes = read_icons(script)
    rules = [f".fa-{name}{{--icon:{names[name].url()}}}" for name in sorted(used_names(texts)) if name in names]
    rules += [f"{selector}{_MASK.format(icon=icon.url())}" for selector, icon in _list_generated(theme_css, codes)]
    return HEADER + BASE + "\n".join(rules) + "\n"


_MASK = (
    '{{content:"";display:inline-block;width:1em;height:1em;background:currentColor;'
    "-webkit-mask:{icon} center/contain no-repeat;mask:{icon} center/contain no-repeat}}"
)


def _list_generated(css: str, codes: dict[str, Icon]) -> list[tuple[str, Icon]]:
    """(selector, icon) of every rule of `css` whose content is one of the theme's icon variables."""
    glyphs = {name: _code(text) for name, text in _GLYPH.findall(css)}
    aliases = dict(_ALIAS.findall(css))
    found = []
    for selector, variable in _CONTENT.findall(css):
        code = glyphs.get(aliases.get(variable, variable), "")
        if code in codes:
            found.append((selector.split("}")[-1].strip(), codes[code]))
    return found


def _code(content: str) -> str:
    """The hexadecimal code of a CSS string: a private-use character, or its escape."""
    if content.startswith("\\"):
        return content[1:].strip().lower()
    return f"{ord(content[0]):x}"
