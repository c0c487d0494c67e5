"""The phase portrait, chapter 2: which γ and η train at all, and with which exponents."""
