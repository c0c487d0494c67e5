"""Steps beyond the edge of stability, S2, chapter 12."""
