"""What came after the paper, chapter 14."""
