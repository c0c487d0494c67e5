"""The dynamics of a run, chapter 4: catapults, silent alignment, plateaus, steps, the edge of stability, the collapse."""
