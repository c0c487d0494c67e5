"""What the results say: predictions, measured boundaries and exponents, and the ledger of claims.

`theory` is the solvable model, in closed form and simulated; `boundaries` takes a portrait to its boundaries and a
boundary to an exponent with an interval; `claims` holds both against each other.
"""
