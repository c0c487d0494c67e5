"""The solvable model of the paper's section 4, chapter 7."""
