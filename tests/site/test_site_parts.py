"""The website's parts by themselves: figures, moved data, trimmed styles, icons, formulas, and errors that help."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import altair as alt
import pandas as pd
import pytest

from richness.plots.figure import ROWS_SHOWN, figure, picture
from richness.site import access, address, card, docstrings, formulas, heads, icons, pages, styles
from richness.site.__main__ import main
from richness.site.extension import digest, drop_unused_data
from richness.site.serving import background
from richness.site.weighing import follow_tags, weight


@pytest.fixture(autouse=True)
def on_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RICHNESS_BOOK", "1")


@pytest.fixture
def chart() -> alt.Chart:
    height = alt.param(name="lift", value=1, bind=alt.binding_range(min=0, max=3, step=0.5, name="log10 γ "))
    table = pd.DataFrame({"x": [0, 1, 2], "y": [1.0, 2.0, 4.0]})
    return (
        alt.Chart(table)
        .mark_line(clip=True)
        .transform_calculate(z="datum.y + lift")
        .encode(x="x:Q", y="z:Q")
        .add_params(height)
    )


TABLE = pd.DataFrame({"gamma": [0.1, 1.0], "eta": [1e-3, float("nan")]})


def test_a_figure_carries_picture_caption_summary_table_and_specification(chart: alt.Chart) -> None:
    html = figure(chart, "It rises.", TABLE, "y against x; no units.", label="rise")._repr_mimebundle_()["text/html"]
    assert 'id="fig-rise"' in html and 'data-state="static"' in html
    assert "<figcaption>y against x; no units.</figcaption>" in html
    assert '<th scope="col">gamma</th>' in html and '<th scope="row">0.1</th>' in html and "<td>–</td>" in html
    drawing = html[html.index("<svg") : html.index("</svg>")]
    assert 'role="img" aria-label="It rises."' in drawing and "currentColor" in drawing
    assert drawing.count("role=") == 1, "the marks themselves stay silent"
    specification = json.loads(re.search(r'class="richness-spec">(.*?)</script>', html, re.DOTALL)[1])
    assert "vega/v" in specification["$schema"] and "vega-lite" not in specification["$schema"]


def test_a_slider_is_on_the_page_with_its_label_and_not_in_the_specification(chart: alt.Chart) -> None:
    html = figure(chart, "It rises.", TABLE, "y against x.", label="rise").html()
    assert '<label for="rise-lift-0">γ</label><input type="range" id="rise-lift-0"' in html
    assert 'data-signal="lift" disabled data-log="10"' in html
    assert '"bind"' not in html


def test_a_slider_starts_where_its_selection_does() -> None:
    ranges = {"x": alt.binding_range(min=0, max=2, step=1, name="x")}
    chosen = alt.selection_point(name="chosen", fields=["x"], bind=ranges, value=[{"x": 1}])
    table = pd.DataFrame({"x": [0, 1, 2], "y": [1, 2, 3]})
    chart = alt.Chart(table).mark_point().encode(x="x:Q", y="y:Q").add_params(chosen)
    assert 'value="1" data-signal="chosen_x"' in figure(chart, "s", table, "c").html()


def test_two_figures_share_no_id(chart: alt.Chart) -> None:
    html = figure(chart, "a", TABLE, "a", label="one").html() + figure(chart, "a", TABLE, "a", label="two").html()
    identities = re.findall(r'\bid="([^"]+)"', html)
    assert len(identities) == len(set(identities)) > 2


def test_long_tables_are_cut_with_a_note_and_whole_as_a_file(chart: alt.Chart) -> None:
    table = pd.DataFrame({"i": range(500)})
    html = figure(chart, "s", table, "c").html()
    assert html.count('<th scope="row">') == ROWS_SHOWN and "of 500 rows" in html
    whole = base64.b64decode(re.search(r'base64,([^"]+)"', html)[1]).decode()
    assert whole.count("\n") == 501


def test_away_from_the_book_a_figure_is_altairs(chart: alt.Chart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RICHNESS_BOOK")
    bundle = figure(chart, "It rises.", TABLE, "c")._repr_mimebundle_()
    assert bundle["text/plain"] == "It rises." and len(bundle) > 1
    assert "richness-figure" not in bundle.get("text/html", "")


@pytest.mark.parametrize(
    ("summary", "caption", "label", "word"),
    [("", "c", None, "summary"), ("s", " ", None, "caption"), ("s", "c", "Not OK", "'not-ok'")],
)
def test_a_figure_without_words_is_refused(
    chart: alt.Chart, summary: str, caption: str, label: str | None, word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        figure(chart, summary, TABLE, caption, label)


def test_digits_are_cut_in_the_drawing_and_not_in_its_words() -> None:
    drawn = picture('<svg width="10"><path d="M1.23456,7e-9"/><text>3.14159</text></svg>', "a", "s")
    assert "M1.23," in drawn and "3.14159" in drawn


def test_big_data_moves_beside_the_page_once(tmp_path: Path, chart: alt.Chart) -> None:
    page = tmp_path / "chapters" / "one.html"
    page.parent.mkdir()
    lab = '<div data-richness-lab data-gamma="1"><p>words</p><script type="application/json">{"a":1}</script></div>'
    page.write_text(f"<html><head></head><body>{figure(chart, 's', TABLE, 'c').html()}{lab}</body></html>")
    (tmp_path / "_book" / "lab").mkdir(parents=True)
    for name in ("page.js", "figures.js", "lab/boot.js"):
        (tmp_path / "_book" / name).write_text("//")
    pages.finish_page(page, tmp_path)
    html = page.read_text()
    assert re.search(r'class="richness-spec" data-src="\.\./_figures/\w+\.json"></script>', html)
    container = re.search(r'<div data-richness-lab data-gamma="1" data-src="\.\./(_figures/\w+\.json)">', html)
    assert container and json.loads((tmp_path / container[1]).read_text()) == {"a": 1}
    assert re.search(r'href="\.\./_figures/\w+\.csv"', html) and "base64" not in html
    assert html.count("_book/figures.js") == 1 and html.count("_book/lab/boot.js") == 1
    pages.finish_page(page, tmp_path)
    assert page.read_text() == html


def test_data_that_nothing_names_is_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "_figures"
    folder.mkdir()
    (folder / "setup.json").write_text('{"runs":{"mlp3_mse_digits8":"runs.json"}}')
    for name in ("runs.json", "old.json", "table.csv"):
        (folder / name).write_text("{}")
    page = tmp_path / "page.html"
    page.write_text('<div data-src="_figures/setup.json"></div><a href="_figures/table.csv">table</a>')
    drop_unused_data(tmp_path, [page])
    assert sorted(path.name for path in folder.iterdir()) == ["runs.json", "setup.json", "table.csv"]


def test_a_page_does_without_handlers_and_without_the_search_index(tmp_path: Path) -> None:
    (tmp_path / "_book").mkdir()
    (tmp_path / "_book" / "page.js").write_text("//")
    head = '<head><meta charset="utf-8" /><script src="_static/searchtools.js"></script><script src="searchindex.js"></script>'
    for name in ("one.html", "search.html"):
        (tmp_path / name).write_text(f'{head}</head><button onclick="window.print()">Print</button>')
        pages.finish_page(tmp_path / name, tmp_path)
    one, search = ((tmp_path / name).read_text() for name in ("one.html", "search.html"))
    assert 'data-click="print"' in one and "onclick" not in one and "_book/page.js?v=" in one
    assert "searchindex" not in one and "searchtools" not in one and "searchindex" in search


# What other machines read -----------------------------------------------------------------------------------------------

WEBSITE = "https://someone.github.io/richness/"


@pytest.mark.parametrize(
    ("repository", "website"),
    [
        ("https://github.com/Someone/richness", WEBSITE),
        ("https://github.com/someone/Someone.github.io", "https://someone.github.io/"),
        ("https://codeberg.org/someone/richness", ""),
        ("", ""),
    ],
)
def test_pages_stand_where_github_puts_them(repository: str, website: str) -> None:
    assert address.website_address(repository) == website


def described(text: str) -> str:
    from docutils.core import publish_doctree

    return heads.describe(publish_doctree(text, settings_overrides={"report_level": 5}))


def test_a_page_is_described_by_its_question_or_by_its_first_words() -> None:
    other = "Some other words that stand first on the page, and that are long enough to be taken for prose."
    asked = "**The question.** For which pairs of richness γ and learning rate η does a network train at all?"
    assert described(f"Title\n=====\n\n{other}\n\n{asked}\n") == asked.replace("**The question.** ", "")
    assert described(f"Title\n=====\n\nShort.\n\n{other}\n") == other
    assert described("Title\n=====\n\nShort.\n") == heads.ABOUT
    long = described(f"Title\n=====\n\n{other * 5}\n")
    assert len(long) <= heads.LONGEST and long.endswith("…") and other.startswith(long[:60])


def test_what_needs_a_whole_address_waits_until_there_is_one() -> None:
    alone, placed = (heads.tags("A <b>", 'says "x"', website, "chapters/a.html") for website in ("", WEBSITE))
    for head in (alone, placed):
        assert 'name="description" content="says &quot;x&quot;"' in head and "A &lt;b&gt;" in head
    assert "http" not in alone
    assert f'property="og:url" content="{WEBSITE}chapters/a.html"' in placed and f"{WEBSITE}_book/card.png" in placed


@pytest.mark.parametrize("website", ["", WEBSITE])
def test_beside_the_pages_stands_what_crawlers_look_for(tmp_path: Path, website: str) -> None:
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "00-start.html").write_text("<p>")
    (tmp_path / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=chapters/00-start.html" />\n')
    log = tmp_path / "CHANGELOG.md"
    log.write_text("# Changelog\n\n## 0.2.0, 2026-03-01\n\n- *New* <things>\n\n## 0.1.0, not yet released\n\nFirst.\n")
    for _ in range(2):  # a second build finds its own files
        heads.write_files(tmp_path, website, log)
    root, missing = ((tmp_path / name).read_text() for name in ("index.html", "404.html"))
    assert (
        'lang="en"' in root
        and "<title>" in root
        and 'url=chapters/00-start.html"' in root
        and "base-uri 'none'" in root
    )
    assert ('rel="canonical"' in root) == bool(website)
    assert f'href="{"/richness/" if website else ""}search.html"' in missing and "noindex" in missing
    assert (f"Sitemap: {website}sitemap.xml" in (tmp_path / "robots.txt").read_text()) == bool(website)
    if website:
        places = [node.text for node in ET.parse(tmp_path / "sitemap.xml").iter() if node.tag.endswith("}loc")]
        assert places == [f"{WEBSITE}chapters/00-start.html"]
    atom = {"a": "http://www.w3.org/2005/Atom"}
    entries = ET.parse(tmp_path / heads.FEED).findall("a:entry", atom)
    assert [entry.findtext("a:title", "", atom) for entry in entries] == [
        "0.2.0, 2026-03-01",
        "0.1.0, not yet released",
    ]
    assert entries[0].findtext("a:updated", "", atom).startswith("2026-03-01T")
    assert "<em>New</em>" in entries[0].findtext("a:content", "", atom)


def test_the_books_own_changelog_is_a_feed() -> None:
    tree = ET.fromstring(heads.feed(Path(__file__).parents[2] / "CHANGELOG.md", ""))
    assert len(tree.findall("{http://www.w3.org/2005/Atom}entry")) >= 1


def test_the_card_is_a_picture_of_the_size_that_readers_of_cards_ask_for(tmp_path: Path) -> None:
    card.draw_card(tmp_path / "card.png")
    data = (tmp_path / "card.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) < 300_000
    assert [int.from_bytes(data[i : i + 4], "big") for i in (16, 20)] == [card.WIDTH, card.HEIGHT]


def test_a_report_names_page_and_version_once_there_is_where_to_send_it(monkeypatch: pytest.MonkeyPatch) -> None:
    page = '<div class="extra_footer">words</div>'
    monkeypatch.setattr(pages, "known_address", lambda: "")
    assert pages.add_report_link(page, "chapters/a.html") == page
    monkeypatch.setattr(pages, "known_address", lambda: "https://github.com/someone/richness")
    linked = pages.add_report_link(page, "chapters/a.html")
    link = urlsplit(unescape(re.search(r'href="([^"]+)"', linked)[1]))
    body = parse_qs(link.query)["body"][0]
    assert link.path == "/someone/richness/issues/new"
    assert "Page: chapters/a.html\n" in body and f"Version: {pages.__version__}\n" in body
    assert pages.add_report_link(linked, "chapters/a.html") == linked


def test_what_the_themes_markup_lacks_is_mended_once() -> None:
    html = (
        '<div class="sidebar-primary-item">\n<a class="navbar-brand logo">Book</a></div>'
        '<div class="sidebar-primary-item"><button class="btn search-button-field" aria-label="Search">Search K</button></div>'
        '<summary aria-label="Toggle hidden content">Show</summary><div role="doc-biblioentry">A paper</div>'
        '<style type="text/css">\n</style>\n<table><tr><th class="blank level0" >&nbsp;</th><th>a</th></tr></table>'
    )
    mended = access.mend_markup(html)
    assert mended.count("aria-label") == 0 and "doc-biblioentry" not in mended and mended.count("<th") == 1
    assert "<style" not in mended
    assert 'role="banner"' in mended and 'role="search"' in mended and 'role="listitem"' in mended
    assert access.mend_markup(mended) == mended


def test_styles_keep_what_can_match_and_nothing_else() -> None:
    css = (
        '.a,.gone .a{x:1}@media print{.gone{y:2}}.b:not(.gone){z:3}@font-face{font-family:Font Awesome 6;src:u}p{c:"}"}'
    )
    assert styles.trim(css, {"a", "b"}) == '.a{x:1}.b:not(.gone){z:3}p{c:"}"}'


def test_icons_are_cut_out_by_name_alias_and_glyph(tmp_path: Path) -> None:
    script = tmp_path / "fontawesome.js"
    script.write_text('x={sun:[512,512,[9728],"f185","M1 2"],"house":[5,6,[127968,"home"],"f015","M3 4"]}')
    css = icons.stylesheet(
        script, 'html{--pst-icon-x:"\\f185"}.t:after{content:var(--pst-icon-x)}', ['class="fa-home"']
    )
    assert ".fa-home{--icon:url(" in css and ".t:after{" in css and "fa-sun" not in css


ARITY = {"msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "mover": 2, "munderover": 3, "mfrac": 2, "mroot": 2}


def misshapen(html: str) -> list[str]:
    """The elements of a page's MathML that have more children than MathML gives them, or fewer."""
    trees = [ET.fromstring(math) for math in re.findall(r"<math.*?</math>", html, re.DOTALL)]
    named = [(node.tag.rpartition("}")[2], node) for tree in trees for node in tree.iter()]
    return [ET.tostring(node, "unicode") for tag, node in named if len(node) != ARITY.get(tag, len(node))]


@pytest.mark.parametrize(
    "tex",
    [
        r"\lambda_{\max}",
        r"\eta_{\max}^2",
        r"\max_x f(x)",
        r"\frac{\max}{\min}",
        r"\sqrt[\min]{2}",
        r"\overset{\max}{=}",
    ],
)
def test_operators_in_small_print_are_one_node_of_mathml(tex: str) -> None:
    for display in (True, False):
        html = formulas.typesetter()(tex, display)["html"]
        assert "<math" in html and misshapen(html) == []


@pytest.mark.site
def test_the_books_mathml_is_valid(site: Path) -> None:
    assert [bad for page in site.rglob("*.html") for bad in misshapen(page.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("written", "safe"),
    [
        ("η* and |x|", "η\\* and \\|x\\|"),
        ("use `code` here", "use ``code`` here"),
        (":func:`richness.load` and ``a*b``", ":func:`richness.load` and ``a*b``"),
        ("* a bullet", "* a bullet"),
        ("theta_ is no link", "theta\\_ is no link"),
    ],
)
def test_docstrings_are_no_markup(written: str, safe: str) -> None:
    assert docstrings.escape_line(written) == safe


def test_the_hash_sees_names_and_contents_and_no_caches(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = digest([tmp_path])
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("2")
    assert digest([tmp_path]) == first
    (tmp_path / "a.py").write_text("3")
    assert digest([tmp_path]) != first


@pytest.mark.parametrize("command", ["build", "serve", "weigh"])
def test_what_is_missing_is_said_in_a_sentence(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RICHNESS_ROOT", str(tmp_path))
    assert main([command]) == 1
    assert "_config.yml" in capsys.readouterr().err
    for name in ("_config.yml", "_toc.yml"):
        (tmp_path / name).touch()
    assert main([command]) == 1
    said = capsys.readouterr().err
    assert "make setup" in said if command == "build" else "make book" in said
    assert "Traceback" not in said


def test_followed_tags_are_weighed_where_no_browser_is(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("x" * 1000)
    (tmp_path / "index.html").write_text('<script src="a.js?v=1"></script>')
    view = follow_tags(tmp_path, "index.html")
    assert view.drawn == {"index.html": weight(tmp_path / "index.html"), "a.js": weight(tmp_path / "a.js")}


def test_the_server_knows_nothing_outside_of_its_prefix(tmp_path: Path) -> None:
    from urllib.error import HTTPError
    from urllib.request import urlopen

    (tmp_path / "index.html").write_text("here")
    with background(tmp_path, "/sub/path") as address:
        assert urlopen(address + "index.html").read() == b"here"
        with pytest.raises(HTTPError):
            urlopen(address.replace("/sub/path/", "/index.html"))
