"""Other optimisers, schedules and batches, chapter 8."""
