"""The laboratory: one instrument for the notebook and for the page.

``widget`` holds :class:`Lab`; ``trainer`` its thread, and ``kernel.js`` the other end of the wire between them; ``presets``
are settings that show each phenomenon; ``pack`` makes measured runs small; ``html`` is what a page
shows before any script runs, and what the instrument is born with. ``instrument.js`` is that instrument: controls and
state over a backend, drawn by ``panels.js`` and ``plane.js``, its runs in ``runs.js``, its links in ``address.js``, its
words in ``numbers.js``. ``lab.js`` opens it in Jupyter over the kernel, and on a page, where ``boot.js`` waits until a
reader comes near, over what trains in the browser.
"""

from richness.lab.widget import Lab

__all__ = ["Lab"]
