"""The streams that commands speak through: any terminal's encoding, and none at all."""

from __future__ import annotations

import codecs
import json
import os
import sys
from typing import Any

#: How our signs are written where a terminal's encoding lacks them; what is not here becomes a question mark.
SPELLED = {
    "γ": "gamma", "η": "eta", "λ": "lambda", "τ": "tau", "β": "beta", "µ": "mu", "μ": "mu", "δ": "delta", "θ": "theta",
    "∇": "grad", "–": "-", "—": "-", "−": "-", "×": "x", "·": "*", "…": "...", "≤": "<=", "≥": ">=", "≈": "~", "→": "->",
    "√": "sqrt ", "∞": "inf", "½": "1/2", "±": "+-", "’": "'", "‘": "'", "“": '"', "”": '"', "é": "e", "ö": "o", "ü": "u",
    "÷": "/", "∂": "d", "‖": "|", "Σ": "Sum", "ℓ": "l", "φ": "phi", "∝": "~", "⟨": "<", "⟩": ">", "ξ": "xi", "←": "<-",
    "¼": "1/4", "π": "pi", "ᵀ": "^T", "σ": "sigma", "ε": "epsilon", "′": "'", "₃": "3", "⁵": "^5", "⁶": "^6", "⁷": "^7",
    "⁸": "^8", "⁹": "^9",
    "⁰": "^0", "¹": "^1", "²": "^2", "³": "^3", "⁴": "^4", "⁻": "^-", "₀": "0", "₁": "1", "₂": "2",
}  # fmt: skip


def prepare_streams() -> None:
    """Makes stdout and stderr able to take every text; a closed one (``2>&-``) takes it and drops it."""
    codecs.register_error("richness", _spell)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # its descriptor is free, and would otherwise go to the next file that is opened
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open to the end)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="richness")


def _spell(error: UnicodeError) -> tuple[str, int]:
    """The handler of what an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(SPELLED.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def print_json(value: Any, indent: int | None = None) -> None:
    """JSON to stdout, whose strings stay what they are in any encoding."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    print(json.dumps(value, ensure_ascii=encoding != "utf8", indent=indent, default=str))
