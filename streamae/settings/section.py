"""What all sections of the settings are made of.

Must not know: which sections there are.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from streamae.time_zones import read_zone

Positive = Annotated[int, Field(ge=1)]
Millis = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1)]
ZoneName = Annotated[str, AfterValidator(lambda name: read_zone(name).name)]
Names = Annotated[tuple[Name, ...], Tag("list")]
NamesByName = Annotated[dict[Name, Name], Tag("table")]
NameMap = Annotated[  # told apart first, so that what is wrong with one is not told as wrong with both
    Names | NamesByName, Discriminator(lambda given: "table" if isinstance(given, dict) else "list")
]


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
