"""What a result says of its making, as the attributes of its file: names and types, held to when it is read.

The book prints them, and analyses lean on them. So a file that says something else is refused when it is read, by whatever
road it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Json

# NetCDF hands numbers back as NumPy's.
_plain = BeforeValidator(lambda value: value.item() if isinstance(value, np.generic) else value)
Number = Annotated[float, _plain, Field(ge=0, allow_inf_nan=False)]
Whole = Annotated[int, _plain, Field(ge=0)]


class Attributes(BaseModel):
    """The attributes of a result; others may stand beside them."""

    model_config = ConfigDict(strict=True, extra="allow")

    recipe: Json[dict[str, Any]]
    recipe_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    registered: Json[dict[str, str]] = {}
    recipe_name: str
    scale: str
    schema_: Whole = Field(alias="schema")
    git_commit: str
    git_dirty: Annotated[int, _plain, Field(ge=0, le=1)]
    seeds: Json[list[int]]
    device: str
    dtype: str
    packages: Json[dict[str, str]]
    date: str
    wall_seconds: Number
    cpu_seconds: Number
    kind: str | None = None
    engine: str | None = None
    probe_seconds: Json[dict[str, Number]] = {}
    probe_share: Json[dict[str, Number]] = {}


def check_attributes(attributes: Mapping[str, Any]) -> None:
    """Whether a result says all that it must, as what it must be.

    Raises:
        pydantic.ValidationError: an attribute is missing or of another type; the error names it.
    """
    Attributes.model_validate(dict(attributes))
