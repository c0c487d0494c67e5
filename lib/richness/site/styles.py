"""The theme's style, without the rules that no page of the book can match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"[A-Za-z_][\w-]*")
_CLASS = re.compile(r"[.#]([A-Za-z_][\w-]*)")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_FONT = re.compile(r"@font-face\{[^{}]*Font Awesome[^{}]*\}")


def words(texts: Iterable[str]) -> set[str]:
    """Every word in `texts` that could be a class or an id, whether markup or script puts it there."""
    return {word for text in texts for word in _WORD.findall(text)}


def trim(css: str, known: set[str]) -> str:
    """`css` without comments, icon fonts, and the selectors that name a class or id which is not in `known`."""
    css = _FONT.sub("", _COMMENT.sub("", css))
    return "".join(_trim_blocks(css, known))


def _trim_blocks(css: str, known: set[str]) -> Iterator[str]:
    for prelude, body in _blocks(css):
        if body is None:
            yield prelude
        elif prelude.startswith(("@media", "@supports", "@layer")):
            inner = "".join(_trim_blocks(body, known))
            if inner:
                yield f"{prelude}{{{inner}}}"
        elif prelude.startswith("@"):
            yield f"{prelude}{{{body}}}"
        else:
            kept = [selector for selector in _selectors(prelude) if _possible(selector, known)]
            if kept and body.strip():
                yield f"{','.join(kept)}{{{body}}}"


def _possible(selector: str, known: set[str]) -> bool:
    """Whether every class and id outside of ``:not(…)``, ``:is(…)`` and attributes is known."""
    bare = re.sub(r"\([^()]*\)|\[[^\]]*\]", "", re.sub(r"\([^()]*\)", "", selector))
    return all(name in known for name in _CLASS.findall(bare))


def _selectors(prelude: str) -> list[str]:
    """The selectors of a rule, split at the commas outside of brackets."""
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(prelude):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append(prelude[start:i])
            start = i + 1
    return [part.strip() for part in (*parts, prelude[start:])]


def _blocks(css: str) -> Iterator[tuple[str, str | None]]:
    """(prelude, body) of each top-level block; (statement, None) for what ends in a semicolon."""
    start, i = 0, 0
    while i < len(css):
        letter = css[i]
        if letter in "\"'":
            i = _end_of_string(css, i)
        elif letter == ";":
            yield css[start : i + 1].strip(), None
            start = i + 1
        elif letter == "{":
            end = _end_of_block(css, i)
            yield css[start:i].strip(), css[i + 1 : end]
            start, i = end + 1, end
        i += 1


def _end_of_block(css: str, i: int) -> int:
    depth = 0
    while i < len(css):
        if css[i] in "\"'":
            i = _end_of_string(css, i)
        elif css[i] == "{":
            depth += 1
        elif css[i] == "}":
            depth -= 1
            if depth == 0:
                return i
        i += 1
    return len(css)


def _end_of_string(css: str, i: int) -> int:
    quote = css[i]
    i += 1
    while i < len(css) and css[i] != quote:
        i += 2 if css[i] == "\\" else 1
    return i
