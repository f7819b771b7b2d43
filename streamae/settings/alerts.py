"""The settings of what the operator knows better than the scores: which anomalies alert, of which keys, and when.

Must not know: other sections.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from streamae.settings.delivery import DeliverySettings
from streamae.settings.section import Name, Section, ZoneName

Deviation = Annotated[float, Field(ge=0)]
TimeOfDay = Annotated[str, Field(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")]


class DeviationSettings(Section):
    """Which deviations matter."""

    direction: dict[str, Literal["above", "below", "both"]] = Field(
        default_factory=dict, description="By feature: side of the expected value on which it must lie to alert."
    )
    min_deviation: dict[str, Deviation] = Field(
        default_factory=dict, description="By feature: least |actual - expected| that may alert, in its own unit."
    )
    min_relative_deviation: dict[str, Deviation] = Field(
        default_factory=dict, description="By feature: least |actual - expected| / |expected| that may alert."
    )


class OverrideSettings(DeviationSettings):
    """What is different for some keys; by feature, what is not said here is as for all."""

    keys: Name = Field(description="Pattern of the keys: * = any text, ? = a character, [ab] = one of them.")
    level_factor: float = Field(1.0, gt=0, description="Distance of the threshold from the usual score, times this.")
    mute: bool = Field(default=False, description="These keys never alert.")


class MaintenanceSettings(Section):
    """A stretch of event time, once or again and again, for some keys."""

    keys: Name = Field("*", description="Pattern of the keys.")
    start: AwareDatetime | None = Field(None, description="Begin, with zone: 2026-03-01T02:00:00+01:00.")
    end: AwareDatetime | None = Field(None, description="End, with zone; does not belong to it.")
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(
        ("mon", "tue", "wed", "thu", "fri", "sat", "sun"), min_length=1, description="Days on which it begins."
    )
    from_time: TimeOfDay | None = Field(None, description="Time of day at which it begins, HH:MM.")
    to_time: TimeOfDay | None = Field(None, description="Time of day at which it ends; not later = on the next day.")
    utc_offset_minutes: Annotated[int, Field(ge=-1_080, le=1_080)] = Field(
        0, description="Of days and times of day; fixed, there is no summer time."
    )
    time_zone: ZoneName | None = Field(
        None, description="IANA zone of days and times of day, with its summer time: `Europe/Rome`."
    )
    skip: Literal["alerting", "learning", "both"] = Field("both", description="What does not happen meanwhile.")

    @model_validator(mode="after")
    def _is_one_stretch(self) -> Self:
        once, again = (self.start, self.end), (self.from_time, self.to_time)
        if (None in once) == (None in again) or once.count(None) == 1 or again.count(None) == 1:
            raise ValueError("needs either start and end, or from_time and to_time")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("end must be after start")
        if self.from_time == "24:00":
            raise ValueError("from_time: midnight at the begin of a day is 00:00")
        if self.time_zone is not None and self.utc_offset_minutes:
            raise ValueError("time_zone: with utc_offset_minutes there are two clocks: one is needed")
        return self


class AlertSettings(DeviationSettings, DeliverySettings):
    """Which anomalies alert (a score that does not is learnt like any other), and how alerts reach people."""

    overrides: tuple[OverrideSettings, ...] = Field(
        (),
        description="Tables of `keys`, `level_factor`, `mute`, `direction`, `min_deviation`, `min_relative_deviation`; the"
        " first whose pattern matches a key counts.",
    )
    maintenance: tuple[MaintenanceSettings, ...] = Field(
        (),
        description="Tables of `keys`, `start` and `end` or `days`, `from_time`, `to_time`, `time_zone` or"
        " `utc_offset_minutes`, and `skip` (alerting, learning, both). By event time.",
    )
