"""Super consistency, S1, chapter 11."""
