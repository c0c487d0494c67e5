"""What the results say: the solvable model's predictions, measured boundaries and exponents, the ledger of claims."""
