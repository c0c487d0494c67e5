"""What the markup of the theme, of docutils and of pandas lacks for readers who listen or have no mouse, or has too much."""

from __future__ import annotations

import re

_REMEDIES = (
    # A name that differs from the words on the button cannot be said to it: the words are the name.
    (r'(<button class="btn search-button-field[^>]*?) aria-label="[^"]*"', r"\1"),
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    # Everything on a page belongs to a landmark.
    (
        r'<div class="sidebar-primary-item">(?=\s*<a class="navbar-brand)',
        '<div class="sidebar-primary-item" role="banner">',
    ),
    (
        r'<div class="sidebar-primary-item">(?=\s*<button class="btn search)',
        '<div class="sidebar-primary-item" role="search">',
    ),
    # The corner of a table of pandas is no heading.
    (r'<th class="blank[^"]*"\s*>&nbsp;</th>', "<td></td>"),
    # A table of pandas comes with an empty sheet of styles, which the policy of the page that searches does not know.
    (r"<style[^>]*>\s*</style>\n?", ""),
    # An entry of the bibliography has a role that ARIA has given up, within a list whose members it should be.
    (r'role="doc-biblioentry"', 'role="listitem"'),
)
_PATTERNS = [(re.compile(pattern), replacement) for pattern, replacement in _REMEDIES]


def mend_markup(html: str) -> str:
    """The page with what is lacking put in; a page that was mended before stays as it is."""
    for pattern, replacement in _PATTERNS:
        html = pattern.sub(replacement, html)
    return html
