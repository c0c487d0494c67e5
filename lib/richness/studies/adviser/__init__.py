"""Which η to use, chapter 9."""
