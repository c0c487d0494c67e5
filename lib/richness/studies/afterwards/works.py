"""What came after the paper: a line each, and the one setting of the laboratory at which its question can be seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import urlencode

from richness.networks.parameterization import natural_eta
from richness.plots.figure import scrolling_table
from richness.runs.description import canonical

PAGE = "02-phase-portrait"  # where the laboratory is that the links open


@dataclass(frozen=True)
class Work:
    """A later work, and the setting of the laboratory that shows its question.

    Attributes:
        arxiv: its number. line: what it is about, as we understand it from a summary: none of them was rerun here.
        look: what to look for in the laboratory. gamma: the setting's. share: η over the natural η of that γ and depth.
        others: further fields of the laboratory's run, and its view.
    """

    arxiv: str
    line: str
    look: str
    gamma: float
    share: float
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def run_settings(self) -> dict[str, Any]:
        """The laboratory's run."""
        network: dict[str, Any] = {"depth": 3, "loss": "mse", "steps": 1000} | {
            k: v for k, v in self.others.items() if k != "axis"
        }
        (eta,) = canonical([float(f"{self.share * float(natural_eta(self.gamma, network['depth'])):.2g}")])
        return {"gamma": self.gamma, "eta": eta, **network}

    @property
    def link(self) -> str:
        """The page of the laboratory, opened at the setting."""
        view = {"axis": self.others["axis"]} if "axis" in self.others else {}
        return f"{PAGE}.html?{urlencode({'lab': 1, **self.run_settings, **view})}"


WORKS = (
    Work(
        "2310.06110",
        "Grokking read as a lazy beginning that turns rich.",
        "A lazy network, long enough: does the kernel's alignment still move when the loss has settled?",
        0.1,
        20.0,
        {"steps": 10_000},
    ),
    Work(
        "2602.00827",
        "Offline, where samples repeat, an optimal strength exists: over-alignment against over-fitting.",
        "Here the stream never repeats, so there is nothing to over-fit: more γ costs time, and that is all it costs.",
        100.0,
        10.0,
        {"steps": 4000},
    ),
    Work(
        "2602.06702",
        "The scale of the readout is confounded with learning rate and weight decay.",
        "Divide γ by ten and η by a hundred: on the lazy side the curve is the same. Divide γ alone, and it is not.",
        0.01,
        4.0,
    ),
    Work(
        "2605.01288",
        "How long training takes to escape from its saddle.",
        "A plateau and its end; add a layer and look at τ = ηt/γ, not at t.",
        100.0,
        4.0,
        {"depth": 4, "steps": 4000, "axis": "tau"},
    ),
    Work(
        "2605.07870",
        "A dynamical mean-field theory of spectra under µP.",
        "Change the width: in µP the sharpness along training should hardly notice.",
        1.0,
        12.0,
        {"width": 128},
    ),
    Work(
        "2505.01618",
        "CompleteP: a parameterisation whose learning rate transfers over depth as well.",
        "The same η at depth 2, 3, 4: here, without such a rule, it is not the same share of the largest.",
        1.0,
        12.0,
        {"depth": 2},
    ),
    Work(
        "2505.22491",
        "Controlled divergence under cross-entropy, and none under MSE.",
        "Far beyond the stability line a lazy network is thrown about and stays finite; turn the loss to MSE, and it diverges.",
        0.1,
        400.0,
        {"loss": "cross_entropy"},
    ),
    Work(
        "2410.24206",
        "Central flows: a smooth motion that stands for training at the edge of stability.",
        "The sharpness rises to the red line and hovers; the flow is what is left when the zigzag is averaged out.",
        1.0,
        20.0,
        {"batch_size": 256, "steps": 4000},
    ),
    Work(
        "2507.19680",
        "The strength of feature learning is not its quality.",
        "At γ = 10 and at 1,000 much moves, and the outputs end alike: how far weights move says little of what they find.",
        1000.0,
        8.0,
        {"steps": 4000, "axis": "tau"},
    ),
)  # fmt: skip


class WorksTable:
    """The works as a table, each with a link to the laboratory."""

    def __init__(self, works: tuple[Work, ...] = WORKS):
        self.works = works

    def __repr__(self) -> str:
        return "\n".join(f"arXiv {one.arxiv}: {one.line} {one.look} {one.run_settings}" for one in self.works)

    def _repr_html_(self) -> str:
        rows = "\n".join(
            f'<tr><th scope="row">{escape(one.line)}<br><small><a href="https://arxiv.org/abs/{one.arxiv}">arXiv '
            f'{one.arxiv}</a></small></th><td>{escape(one.look)}</td><td><a href="{escape(one.link)}">'
            f"{escape(_setting(one.run_settings))}</a></td></tr>"
            for one in self.works
        )
        headings = ("work", "in the laboratory", "setting")
        return scrolling_table(headings, rows, "What came after", "richness-glance")


def _setting(run: dict[str, Any]) -> str:
    """A run in a few words: what is not the laboratory's default."""
    usual = {"depth": 3, "loss": "mse", "steps": 1000}
    names = {"gamma": "γ", "eta": "η", "depth": "L", "width": "N", "steps": "T", "batch_size": "B", "loss": "loss"}
    return ", ".join(
        f"{names[key]} = {value if isinstance(value, str) else f'{value:,g}'}".replace("_", "-")
        for key, value in run.items()
        if usual.get(key) != value
    )
