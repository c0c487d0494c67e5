"""What a chapter says of itself to a program: numbers that stay in the executed notebook."""

from __future__ import annotations

from typing import Any

import numpy as np

RECORD = "application/vnd.richness.record+json"


def record(**values: Any) -> None:
    """Keep numbers, words or truths in the executed notebook, for the row that ``richness table`` makes of it.

    Raises:
        TypeError: a value of another kind; of an array, take one number.
    """
    from IPython.display import publish_display_data

    plain = {name: np.asarray(value).item() if np.ndim(value) == 0 else value for name, value in values.items()}
    for name, value in plain.items():
        if not isinstance(value, int | float | str | bool | None):
            raise TypeError(f"{name}: expected one number, word or truth, got {type(value).__name__}")
    publish_display_data({RECORD: plain, "text/plain": ", ".join(f"{name} = {value}" for name, value in plain.items())})
