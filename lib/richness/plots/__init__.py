"""What any study draws with: one visual language, a figure with its summary and table, and the parts of charts."""
