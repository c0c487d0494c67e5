"""Ratios against other ways to do the same work, measured now: ``richness bench``, or ``python -m benchmarks``.

A peer is a small program in a file of its own (``peer_*.py``), as someone who knows its library well would write it. It is
given plain arrays (``problem.py``), works in a process of its own (``contenders.py``), and is timed only after its results
have been found equal to ours. Every number goes into one JSON file with where and when it was measured.
"""
