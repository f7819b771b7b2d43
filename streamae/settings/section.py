"""What all sections of the settings are made of.

Must not know: which sections there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from streamae.errors import ConfigError
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

    def taking(self, found: Mapping[str, Any]) -> Self:
        """Return this section with other values of some fields, checked.

        Raises:
            ConfigError: one of them is none that its field takes.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        try:
            return type(self).model_validate({**given, **found})
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            raise ConfigError([f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong]) from error
