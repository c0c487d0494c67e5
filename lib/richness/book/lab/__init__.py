"""The laboratory: one instrument for the notebook and for the page.

``widget`` holds :class:`Lab`; ``trainer`` its thread; ``pack`` makes measured runs small; ``html`` is what a page
shows before any script runs. ``lab.js`` draws, here and there: in Jupyter as an anywidget module, on a page through its
``boot`` (with ``page.js`` beside it, loaded when a reader comes near, and ``lab.css``). ``rng.js`` is the twin of
``richness.rng``.
"""

from richness.book.lab.widget import Lab

__all__ = ["Lab"]
