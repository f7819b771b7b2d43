"""The settings of data: how records are read, how they become rows and windows, and which features are derived.

Must not know: other sections.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from streamae.settings.section import Millis, Name, NameMap, Positive, Section, ZoneName

MissingPolicy = Literal["previous", "hold", "constant", "reject"]


class InputSettings(Section):
    """Where records come from and how to read them."""

    source: Literal["kafka", "files"] = Field("kafka", description="Kafka topics, or CSV/Parquet files replayed once.")
    topics: tuple[Name, ...] = Field(("sensors",), description="Input topics.", min_length=1)
    files: tuple[Path, ...] = Field((), description="Files to replay when source is `files`.")
    start: Literal["earliest", "latest"] = Field("earliest", description="Where a group without offsets begins.")
    bootstrap_records: Annotated[int, Field(ge=0)] = Field(
        0,
        description="A group without offsets that starts at the latest first reads so many records a partition before it,"
        " silently: its keys have learnt when it goes live.",
    )
    on_lost_offsets: Literal["resume", "start"] = Field(
        "resume", description="The group's offset is gone but state is stored: resume there, or start as a new group."
    )
    layout: Literal["wide", "long"] = Field(
        "wide", description="wide: all features a record; long: one metric a record."
    )
    key_field: str | None = Field(None, description="Field (dotted path) holding the key; unset = the Kafka key.")
    time_field: str | None = Field(None, description="Field (dotted path) holding event time; unset = Kafka timestamp.")
    time_unit: Literal["auto", "s", "ms", "us", "ns"] = Field(
        "auto", description="Unit of numeric times; auto goes by size. Text is read as ISO 8601, UTC if no zone."
    )
    value_fields: NameMap = Field(
        (),
        description='Feature fields (dotted paths), by name of the feature: `{load = "cpu.load1"}`; or a list, whose'
        " paths, or their last parts, are the names; or the one array field; unset = the bundle's features.",
    )
    date_field: str | None = Field(
        None, description="Field holding the date where `time_field` has only the time of day."
    )
    time_format: Name | None = Field(
        None,
        description="How times are written, in the letters of strptime: `%d/%m/%Y %H.%M`; or what their numbers count:"
        " `filetime` (of Windows), `ticks` (of .NET), `excel` (days). Unset = ISO 8601, or numbers of `time_unit`.",
    )
    time_zone: ZoneName = Field(
        "UTC",
        description="IANA zone of text (and ticks and Excel days) that names none: `Europe/Rome`. A time that its clock shows"
        " twice is the one nearer to the Kafka timestamp, in files the one that fits the order; one that it skips is bad.",
    )
    time_origin: AwareDatetime | None = Field(
        None,
        description="Instant from which numbers and times of day are counted: `2025-03-03T00:00:00Z`.",
    )
    row_ms: Millis | None = Field(
        None, description="Files without any time: rows are this far apart; unset = such files are refused."
    )
    label_field: str | None = Field(
        None,
        description="Field that tells known anomalies (not 0, not false); never a feature. For learning and judging.",
    )
    id_field: str | None = Field(
        None,
        description="Field holding a record's own id, such as a transaction's; carried in events and dead letters, up to"
        " 256 characters.",
    )
    only: dict[str, str | tuple[str, ...]] = Field(
        default_factory=dict,
        description='By field, the text it must have: other records are counted and ignored: `{name = "cpu"}`.',
    )
    numbers: Literal["json", "text"] = Field(
        "json", description="text: numbers may be written as text; in CSV they always are."
    )
    decimal_mark: Literal[".", ","] | None = Field(
        None, description="Of numbers in text; unset = `.`, and in CSV what the file shows."
    )
    thousands_mark: Literal[",", ".", " ", "'"] | None = Field(
        None, description="Between the thousands of numbers in text; unset = none, and in CSV what the file shows."
    )
    missing_values: tuple[str, ...] = Field(
        (), description="Values that mean missing, beside empty text, NaN, NA, null: `-200` is also the number."
    )
    bad_value: Literal["dead_letter", "missing"] = Field(
        "dead_letter",
        description="A feature that holds no number: dead_letter refuses the record, missing only the value, which is"
        " counted.",
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        None, description="Between the columns of CSV, a blank for any number of blanks; unset = what the file shows."
    )
    text_encoding: Name | None = Field(
        None, description="Of CSV and JSON lines: `utf-8`, `cp1252`; unset = what the file shows."
    )
    skip_lines: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Lines of CSV before the names of the columns; unset = what the file shows."
    )
    max_rows: Positive = Field(20_000_000, description="Most rows of past data that are read into memory.")
    name_field: str = Field("name", description="long layout: field holding the metric name.")
    value_field: str = Field("value", description="long layout: field holding the metric value.")
    unknown_features: Literal["dead_letter", "ignore"] = Field(
        "dead_letter",
        description="Records without any feature, or (long layout) with a name that is none: dead letters, or counted and ignored.",
    )
    max_record_bytes: Positive = Field(262_144, description="Larger values become dead letters undecoded.")
    max_key_bytes: Positive = Field(256, description="Longer keys become dead letters.")
    max_future_ms: Millis = Field(86_400_000, description="Event times further ahead of the Kafka timestamp are bad.")
    min_time_ms: int = Field(0, description="Event times before this (ms since the epoch) are bad.")
    max_poll_records: Positive = Field(5_000, description="Most records of one poll.")
    poll_timeout_ms: Millis = Field(50, description="Longest wait of one poll for records.")

    @property
    def value_paths(self) -> tuple[str, ...]:
        """The paths of `value_fields`, in the order given."""
        return tuple(self.value_fields.values()) if isinstance(self.value_fields, dict) else self.value_fields


class WindowSettings(Section):
    """How records become rows and rows become windows. Size and features come from the bundle."""

    stride: Positive = Field(1, description="Rows between two windows of a key.")
    grid_ms: Millis | None = Field(
        None, description="Merge a key's records of one time bucket into one row; unset = off."
    )
    grid_merge: Literal["last", "mean"] = Field("last", description="How a bucket merges several values of a feature.")
    max_gap_ms: Millis = Field(3_600_000, description="A longer gap in event time restarts the key's window.")
    missing: MissingPolicy = Field(
        "previous",
        description="Policy for missing features. previous: filled in with the last value, and counted as such; hold: the"
        " last value stands, for tags that speak on change.",
    )
    missing_overrides: dict[str, MissingPolicy] = Field(default_factory=dict, description="Policy by feature name.")
    missing_constant: float | None = Field(
        None, description="Constant to fill in; unset = the feature's training mean."
    )
    hold_ms: Millis | None = Field(
        None,
        description="With hold: how long the last value stands, also over a gap, before it is missing; unset = until"
        " the next gap.",
    )
    max_imputed_share: float = Field(0.5, ge=0, le=1, description="Windows with more imputed cells are not scored.")
    lateness_ms: Annotated[int, Field(ge=0, le=86_400_000)] = Field(
        0,
        description="How much older than the key's newest a record may be and still be sorted in: rows wait until the"
        " newest is that far past them, and scores with them; 0 = records count in the order they come.",
    )
    lateness_rows: Annotated[int, Field(ge=1, le=4_096)] = Field(
        32, description="With lateness: rows of a key that wait at most; of more, the oldest goes. Memory for each key."
    )
    max_jump_ms: Millis | None = Field(
        None,
        description="A time further ahead than this of its key and its partition counts only when a second record"
        " confirms it; unset = off.",
    )
    late: Literal["drop", "dead_letter"] = Field("dead_letter", description="Records older than the key's newest.")
    duplicate: Literal["drop", "dead_letter"] = Field(
        "drop",
        description="Records that say the same as one of the newest 8 rows of their key at its newest event time.",
    )
    equal_time: Literal["keep", "drop", "dead_letter"] = Field(
        "keep",
        description="Records that say something else at the key's newest event time: rows of their own (keep), or as"
        " late ones are; not with a grid, which merges what is of one time.",
    )

    @property
    def holds(self) -> bool:
        """Whether the last value of some field stands."""
        return "hold" in {self.missing, *self.missing_overrides.values()}


class FeatureSettings(Section):
    """What is derived from the fields of a record. Learnt by `streamae train` and frozen in the bundle."""

    log_fields: tuple[Name, ...] = Field((), description="Numeric fields to take the signed logarithm of: amounts.")
    category_fields: tuple[Name, ...] = Field((), description="Fields of text, integers or truth values.")
    category_cap: Annotated[int, Field(ge=1, le=1_024)] = Field(32, description="Most values a category field knows.")
    hash_buckets: Annotated[int, Field(ge=1, le=256)] = Field(1, description="Columns shared by all other values.")
    time_features: tuple[Literal["hour", "weekday"], ...] = Field((), description="As sine and cosine of event time.")
    utc_offset_minutes: Annotated[int, Field(ge=-1_080, le=1_080)] = Field(0, description="Of hour and weekday.")
    time_zone: ZoneName | None = Field(
        None, description="IANA zone of hour and weekday, with its summer time: `Europe/Rome`."
    )
    rate_fields: tuple[Name, ...] = Field(
        (), description="Numeric fields that only grow, as counters do: their growth a second is the feature."
    )
    since_previous: bool = Field(default=False, description="Add the log of seconds since the key's previous record.")
    scaling: Literal["global", "key"] = Field(
        "global",
        description="Standardise by all training rows, or each key by its own running level: for keys that differ widely"
        " in size; a key is then not scored before its 129th row.",
    )
