"""The studies, side by side: a folder each, none of which imports another.

A study has what it needs of ``recipes.py`` (its named sweeps and measurements: ``RECIPES``), ``analysis.py`` (its
measurements of results, its claims and their rows in the ledger: ``CLAIMS``, ``rows``) and ``figures.py`` (result →
figure). They are listed in `richness.registry.STUDIES`; recipes and claims are found through that list.
"""
