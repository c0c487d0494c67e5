"""The laboratory: one instrument for the notebook and for the page.

``widget`` holds :class:`Lab`, ``settings`` what a run is asked for by, ``presets`` those that show each phenomenon. ``thread``
trains in the background, one ``training`` after another, and tells ``reports`` of them; ``kernel.js`` is the other end of the
wire. ``measured`` chooses the measured runs that come along, and ``pack`` makes them small; ``html`` is what a page shows
before any script runs, and what the instrument is born with.

``instrument.js`` is that instrument: controls and state over a backend, drawn by ``panels.js`` and ``plane.js``, its runs in
``runs.js``, its links in ``address.js``, its words in ``numbers.js``. ``lab.js`` opens it in Jupyter over the kernel, and on a
page, where ``boot.js`` waits until a reader comes near, over what trains in the browser. Both load the modules as one,
``lab.bundle.js``, which ``python -m richness.site bundle`` writes.
"""

from richness.lab.widget import Lab

__all__ = ["Lab"]
