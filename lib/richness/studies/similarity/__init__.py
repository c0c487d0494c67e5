"""Are networks of different γ the same function, chapter 6."""
