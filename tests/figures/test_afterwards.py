"""Every setting of the last chapter is a run that the laboratory can make, and a link that says so."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from richness import Experiment
from richness.studies.afterwards.works import PAGE, WORKS, Work, WorksTable


@pytest.mark.parametrize("work", WORKS, ids=[work.arxiv for work in WORKS])
def test_a_setting_is_a_run_and_its_link_says_which(work: Work) -> None:
    run = dict(work.run_settings)
    described = Experiment(gammas=run.pop("gamma"), etas=run.pop("eta"), **run)
    assert abs(described.etas[0] / (work.share * described.natural_eta(work.gamma)) - 1) < 0.05
    link = urlsplit(work.link)
    query = {key: value for key, (value,) in parse_qs(link.query).items()}
    assert link.path == f"{PAGE}.html" and query.pop("lab") == "1"
    assert query.pop("axis", "t") in ("t", "tau")
    assert {key: str(value) for key, value in work.run_settings.items()} == query


def test_the_table_has_a_row_a_work() -> None:
    html = WorksTable()._repr_html_()
    assert html.count("arxiv.org/abs/") == len({work.arxiv for work in WORKS}) == len(WORKS)
    assert "γ = 100, η = " in html and "&amp;eta=" in html
