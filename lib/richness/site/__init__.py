"""The website: a Sphinx extension that keeps pages light and self-contained, and a command that builds them.

``python -m richness.site build | bundle | serve | weigh``.
"""
