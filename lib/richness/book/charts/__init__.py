"""Results as figures: each function takes a result and gives a `Figure`, a chart with its summary and its table.

One visual language for all of them is in `theme`; how a result becomes rows is in `cells`.
"""

from richness.book.charts.explorer import explorer
from richness.book.charts.plane import portrait, triangle
from richness.book.charts.theme import theme

__all__ = ["explorer", "portrait", "theme", "triangle"]
