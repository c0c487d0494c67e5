"""Studies of three neighbouring papers."""
