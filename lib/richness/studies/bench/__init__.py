"""How fast all this is, beside other ways to do the same."""
