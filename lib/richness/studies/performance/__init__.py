"""Accuracy on unseen digits against γ, chapter 3."""
