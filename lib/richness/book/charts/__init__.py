"""Results as figures: each function takes a result and gives a `Figure`, a chart with its summary and its table.

One visual language for all of them is in `charts.theme`, with the Altair configuration `theme.theme()`; how a result
becomes rows is in `cells`.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from richness.book.charts.adviser import advice, judged, question
from richness.book.charts.bench import BenchProvenance, bench_costs, bench_ratios, bench_shares, stored_bench
from richness.book.charts.beyond import along_a_step, beyond_elsewhere, beyond_over_eta, beyond_training, soft_ranks
from richness.book.charts.breadth import all_boundaries, closing, exponents_by_depth, ratios
from richness.book.charts.consistency import (
    consistency_architectures,
    consistency_depth,
    consistency_plane,
    consistency_spectra,
    consistency_training,
    consistency_transfer,
)
from richness.book.charts.curvature import (
    large_eigenvalues,
    sharpness_along_training,
    sharpness_exponents,
    spectrum,
    two_spectra,
)
from richness.book.charts.curves import loss_curves
from richness.book.charts.dynamics import catapult_band, collapse_figure, plateaus, scrubber
from richness.book.charts.explorer import explorer
from richness.book.charts.exponents import best_eta, boundary_fits, budgets
from richness.book.charts.failures import loss_panels
from richness.book.charts.gallery import gallery
from richness.book.charts.ledger import Glance, LedgerTable, Reading, glance, ledger_table, reading
from richness.book.charts.model import model_boundaries, model_catapult, model_escape, model_overlay, model_single_index
from richness.book.charts.normalised import gradient_traps, gradients_in_depth, isometry_decay, shaping
from richness.book.charts.performance import accuracy, leaving_eta, tuning_gamma
from richness.book.charts.plane import portrait, triangle
from richness.book.charts.scales import at_scales
from richness.book.charts.similarity import (
    likeness_groups,
    likeness_in_time,
    likeness_map,
    outputs_scatter,
    weight_outliers,
    weight_spectra,
)
from richness.book.figure import Figure

__all__ = [
    "BenchProvenance",
    "Glance",
    "LedgerTable",
    "Reading",
    "accuracy",
    "advice",
    "all_boundaries",
    "along_a_step",
    "at_scales",
    "bench_costs",
    "bench_ratios",
    "bench_shares",
    "best_eta",
    "beyond_elsewhere",
    "beyond_over_eta",
    "beyond_training",
    "boundary_fits",
    "budgets",
    "catapult_band",
    "closing",
    "collapse_figure",
    "consistency_architectures",
    "consistency_depth",
    "consistency_plane",
    "consistency_spectra",
    "consistency_training",
    "consistency_transfer",
    "explorer",
    "exponents_by_depth",
    "gallery",
    "glance",
    "gradient_traps",
    "gradients_in_depth",
    "isometry_decay",
    "judged",
    "large_eigenvalues",
    "leaving_eta",
    "ledger_table",
    "likeness_groups",
    "likeness_in_time",
    "likeness_map",
    "loss_curves",
    "loss_panels",
    "model_boundaries",
    "model_catapult",
    "model_escape",
    "model_overlay",
    "model_single_index",
    "outputs_scatter",
    "plateaus",
    "portrait",
    "question",
    "ratios",
    "reading",
    "scrubber",
    "shaping",
    "sharpness_along_training",
    "sharpness_exponents",
    "soft_ranks",
    "spectrum",
    "stored_bench",
    "triangle",
    "tuning_gamma",
    "two_spectra",
    "weight_outliers",
    "weight_spectra",
]


def _sourced(make: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose figure names the results among its arguments."""

    @wraps(make)
    def made(*given: Any, **named: Any) -> Any:
        figure = make(*given, **named)
        return figure.drawn_from(given, named) if isinstance(figure, Figure) else figure

    return made


# Once for all: no function of a chart has to think of it.
for _name in __all__:
    if callable(globals()[_name]) and not isinstance(globals()[_name], type):
        globals()[_name] = _sourced(globals()[_name])
