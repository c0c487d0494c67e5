"""What the reader sees and touches: charts, figures, the laboratory, notebooks and the website."""
