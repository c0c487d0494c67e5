"""Whatever a result, a record, a row or a table says of itself is text on the page: no tag, no handler, no end of a script."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import altair as alt
import numpy as np
import pandas as pd
import pytest

from richness.lab import html as laboratory
from richness.plots.figure import figure
from richness.plots.ledger import ledger_table, overview, verdicts_of
from richness.plots.provenance import Provenance, drawer
from richness.runs.experiment import Experiment
from richness.runs.sweep import sweep
from richness.site.status import Status

POISON = "\"'><xss onload=alert(1)></script></style><!--<script>&lt;xss&gt; ${1} \\u003cxss\\u003e"


class Reader(HTMLParser):
    """What a browser makes of a page: tags, handlers, and whether every script that begins also ends where it should."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text, self.scripts, self.inside = "", [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_comment(self, data):
        self.tags.append("a comment")

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)
        self.text += data


@pytest.fixture(scope="module")
def runs():
    experiment = Experiment(
        width=4,
        task="staircase",
        batch_size=8,
        steps=20,
        gammas=[0.1, 1.0],
        etas=[0.01, 0.1, 1.0],
        probes=("sharpness",),
    )
    return sweep(experiment, name="small", scale="laptop")


@pytest.fixture(scope="module")
def poisoned(runs):
    """A result whose every text is hostile, as no road that ends in `read` would let it through."""
    texts = {
        name: POISON
        for name in ("recipe_name", "scale", "recipe_hash", "git_commit", "device", "dtype", "date", "engine")
    }
    lists = {"seeds": json.dumps([POISON]), "packages": json.dumps({POISON: POISON})}
    return runs.assign_attrs(texts | lists)


def row(**other):
    whole = {
        "id": POISON, "part": POISON, "claim": POISON, "predicted": POISON, "measured": POISON, "interval": [POISON, POISON],
        "reason": POISON, "window": None, "seeds": POISON, "scale": POISON, "verdict": "partly", "chapter": POISON,
    }  # fmt: skip
    return whole | other


def chart(table: pd.DataFrame) -> alt.Chart:
    picked = alt.selection_point(fields=["kind"], bind=alt.binding_select(options=[POISON, "b"], name=POISON))
    return (
        alt.Chart(table, title=POISON)
        .mark_point()
        .encode(x="x", y="y", color="kind", tooltip="kind")
        .add_params(picked)
    )


def pages(runs, poisoned):
    table = pd.DataFrame({"x": [1.0, 2.0], "y": [1, 2], "kind": [POISON, "b"], POISON: [POISON, np.nan]})
    lines = [{"chapter": POISON, "date": POISON, "seconds": 1.0, "scale": "smoke", "machine": POISON, "device": POISON,
              "commit": POISON, "set": POISON}]  # fmt: skip
    experiment = Experiment(gammas=[1.0], etas=[0.1])
    yield "drawer", drawer([poisoned])
    yield "provenance", Provenance(poisoned)._repr_html_()
    yield "figure", figure(chart(table), POISON, table, POISON).drawn_from(poisoned).html()
    yield "ledger", ledger_table([row(), row(interval=None)])._repr_html_()
    yield "verdicts", verdicts_of([row(), row(interval=None)])._repr_html_()
    yield "overview", overview([row()])._repr_html_()
    yield "status", Status(lines, [POISON])._repr_html_()
    yield "laboratory", laboratory.page(experiment, None, POISON)
    yield "laboratory with runs", laboratory.page(experiment, poisoned, POISON)


def test_hostile_text_stays_text(runs, poisoned):
    for name, html in pages(runs, poisoned):
        read = Reader(html)
        assert "xss" not in read.tags and "a comment" not in read.tags, name
        assert [one for one in read.attributes if one.startswith("on")] == [], name
        assert all("</" not in script and "<!--" not in script for script in read.scripts), name
        for script in read.scripts:
            json.loads(script)
        assert "<xss onload=alert(1)>" in read.text or name in ("laboratory with runs",), name
