"""The setting, chapter 1: the data themselves, and how a run fails."""
