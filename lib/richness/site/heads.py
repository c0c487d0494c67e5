"""What other machines read of the website: each page's head, the root's page, sitemap, robots, a feed of changes, a 404."""

from __future__ import annotations

import re
import subprocess
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from docutils import nodes
from markdown_it import MarkdownIt

from richness.site.pages import BOOK, FEED
from richness.site.places import site_pages
from richness.site.policy import add_policy

CARD = f"{BOOK}/card.png"
ABOUT = (
    "An interactive companion to the ICLR 2025 paper on SGD across the feature learning strength: every figure can be moved, "
    "every claim is measured, every number can be rerun."
)
LONGEST = 200  # letters of a description; search engines cut it there, or before
_OPENING = re.compile(r"^The (question|answer in a sentence)\.\s*")
_VERSION = re.compile(r"^## (?P<name>\S+?),? (?P<when>.*)$", re.MULTILINE)


# A page's head --------------------------------------------------------------------------------------------------------


def add_head(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Put a page's description and its card into its head, when Sphinx writes it."""
    title = re.sub(r"<[^>]+>", "", str(context.get("title", "")))
    about = describe(doctree) if doctree is not None else ABOUT
    context["metatags"] = context.get("metatags", "") + tags(title, about, app.config.html_baseurl, f"{page}.html")


def tags(title: str, about: str, website: str, page: str) -> str:
    """Description and card of one page. What needs a whole address (its own, its picture's) waits until there is one."""
    named = {"og:type": "article", "og:title": title, "og:description": about, "og:locale": "en"}
    if website:
        named |= {"og:url": urljoin(website, page), "og:image": urljoin(website, CARD)}
    lines = [f'<meta name="description" content="{escape(about)}" />']
    lines += [f'<meta property="{name}" content="{escape(text)}" />' for name, text in named.items()]
    lines.append(f'<meta name="twitter:card" content="{"summary_large_image" if website else "summary"}" />')
    return "\n    ".join(["", *lines])


def describe(doctree: nodes.document) -> str:
    """A page in its own words: the question that it asks, else its first paragraph without formulas; cut at a word."""
    told = [paragraph for paragraph in doctree.findall(nodes.paragraph) if _is_prose(paragraph)]
    asked = [paragraph for paragraph in told if _OPENING.match(paragraph.astext())]
    if not told:
        return ABOUT
    words = " ".join(_OPENING.sub("", (asked or told)[0].astext()).split())
    return words if len(words) <= LONGEST else words[: LONGEST - 1].rsplit(" ", 1)[0] + "…"


def _is_prose(paragraph: nodes.paragraph) -> bool:
    """Whether it is no formula, no citation and no part of a list, a table or an output."""
    other = (nodes.math, nodes.image, nodes.raw)
    return (
        isinstance(paragraph.parent, nodes.section | nodes.document)
        and len(paragraph.astext()) > 60
        and not any(isinstance(node, other) for node in paragraph.findall())
    )


# What stands beside the pages -----------------------------------------------------------------------------------------


def write_files(site: Path, website: str, changelog: Path) -> None:
    """Write the root's page, the page for addresses that there are not, robots, the feed and, once there is an address,
    the sitemap.
    """
    start = _start(site)
    (site / "index.html").write_text(add_policy(root_page(start, website)), encoding="utf-8")
    (site / "404.html").write_text(add_policy(missing_page(start, website)), encoding="utf-8")
    (site / FEED).write_text(feed(changelog, website), encoding="utf-8")
    robots = "User-agent: *\nAllow: /\n"
    if website:
        (site / "sitemap.xml").write_text(sitemap(site_pages(site), website), encoding="utf-8")
        robots += f"Sitemap: {website}sitemap.xml\n"
    (site / "robots.txt").write_text(robots, encoding="utf-8")


def _start(site: Path) -> str:
    """The page that the book begins with: where the root's redirect leads, whether Sphinx wrote it or we did."""
    found = re.search(r'url=([^"]+)"', (site / "index.html").read_text(encoding="utf-8"))
    return found[1] if found else "chapters/00-introduction.html"


def _page(title: str, head: str, body: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8" />\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1" />\n'
        f'<meta name="color-scheme" content="light dark" />\n<link rel="icon" href="data:," />{head}\n</head>\n'
        f"<body>\n<main>\n<article>\n<h1>{title}</h1>\n{body}\n</article>\n</main>\n</body>\n</html>\n"
    )


def root_page(start: str, website: str) -> str:
    """The website's root: it says what this is, to those who read no further, and leads on to the first page."""
    title = "The Optimization Landscape of SGD, to the touch"
    canonical = f'\n<link rel="canonical" href="{website}{start}" />' if website else ""
    head = tags(title, ABOUT, website, "") + canonical + f'\n<meta http-equiv="Refresh" content="0; url={start}" />'
    return _page(title, head, f'<p>{ABOUT}</p>\n<p><a href="{start}">To the book</a></p>')


def missing_page(start: str, website: str) -> str:
    """What a server shows where no page is: at any depth, so that its links start from the root where that is known."""
    root = urlsplit(website).path if website else ""
    links = {start: "To the beginning of the book", "search.html": "Search", "genindex.html": "Every name, from A to Z"}
    items = "\n".join(f'<li><a href="{root}{page}">{words}</a></li>' for page, words in links.items())
    body = f"<p>Nothing stands at this address. The page may have been renamed.</p>\n<ul>\n{items}\n</ul>"
    return _page("No such page", '\n<meta name="robots" content="noindex" />', body)


def sitemap(pages: list[str], website: str) -> str:
    """The pages that a search engine should know: all but the root's redirect and the 404."""
    listed = [page for page in pages if page not in ("index.html", "404.html", "search.html")]
    lines = [f"  <url><loc>{escape(urljoin(website, quote(page)))}</loc></url>" for page in listed]
    opening = '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', opening, *lines, "</urlset>", ""])


def feed(changelog: Path, website: str) -> str:
    """The changelog as an Atom feed: an entry a version, the newest first. Its date is that of the file's last commit, where
    the heading gives none.
    """
    text = changelog.read_text(encoding="utf-8")
    headings = list(_VERSION.finditer(text))
    latest = _last_commit(changelog)
    entries = []
    for heading, end in zip(headings, [*(one.start() for one in headings[1:]), len(text)], strict=True):
        dated = re.search(r"\d{4}-\d{2}-\d{2}", heading["when"])
        when = f"{dated[0]}T00:00:00+00:00" if dated else latest
        html = MarkdownIt("commonmark").enable("table").render(text[heading.end() : end])
        name = escape(f"{heading['name']}, {heading['when']}")
        entries.append(
            f"<entry><id>urn:richness:version:{heading['name']}</id><title>{name}</title><updated>{when}</updated>"
            f'<content type="html">{escape(html)}</content></entry>'
        )
    own = f'<link rel="self" href="{website}{FEED}"/><link href="{website}"/>' if website else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom"><id>urn:richness:changes</id>'
        f"<title>Changes of richness</title><updated>{latest}</updated><author><name>The richness authors</name></author>"
        f"{own}\n" + "\n".join(entries) + "\n</feed>\n"
    )


def _last_commit(path: Path) -> str:
    """When `path` was last committed, as git writes it; the first second of the epoch where git does not know."""
    command = ["git", "log", "-1", "--format=%cI", "--", path.name]
    try:
        said = subprocess.run(
            command, cwd=path.parent, capture_output=True, encoding="utf-8", check=False
        ).stdout.strip()
    except OSError:
        said = ""
    return said or "1970-01-01T00:00:00+00:00"
