"""Past data of any kind as one series a key: files, or the records of a topic.

Must not know: who holds the topic, or what series are used for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamae.batches import Partition, RawRecord, Series
from streamae.connectors.cell_table import CellTable
from streamae.connectors.files.columns import long_names, numeric_fields
from streamae.connectors.files.record_files import escaped, json_cells
from streamae.connectors.files.series import (
    Requires,
    SeriesReader,
    Tell,
    feature_names,
    in_time_order,
    plain_names,
    read_series,
)
from streamae.errors import DataError
from streamae.settings.data import InputSettings

MIB = 1_048_576


@dataclass(frozen=True, slots=True, eq=False)
class PastRecords:
    """Records of a topic.

    Attributes:
        source: what they are called.
        sample: gives some of them, where fields are not named.
        batches: all of them, once, each partition in offset order.
    """

    source: str
    sample: Callable[[], Sequence[RawRecord]]
    batches: Iterable[dict[Partition, Sequence[RawRecord]]]


PastData = Sequence[Path] | PastRecords


def is_keyed(data: PastData, settings: InputSettings) -> bool:
    """Tell whether rows name their key, and it is not the file that they are in."""
    return settings.key_field is not None or isinstance(data, PastRecords)


def read_past(
    data: PastData,
    settings: InputSettings,
    categories: Sequence[str] = (),
    tell: Tell | None = None,
    *,
    features: Sequence[str] = (),
    requires: Requires = lambda inputs: [False] * len(inputs),
    sorts: bool = False,
) -> list[Series]:
    """Read past data as one series a key, keys in order of appearance; arguments and errors as of `read_series`.

    Records of a topic are read as `run` reads them: no `key_field` = the Kafka key, no `time_field` = the Kafka
    timestamp. Fields that are not named are found out from a sample; labels are those of `label_field`.
    """
    if not isinstance(data, PastRecords):
        return read_series(data, settings, categories, tell, features=features, requires=requires, sorts=sorts)
    fields = settings.value_paths or tuple(map(escaped, features))
    if not fields:
        table = json_cells(data.source, [record.value or b"" for record in data.sample()])
        fields = _fields(table, settings, categories, tell)
    names = tuple(features) or feature_names(settings, fields)
    settings = settings.model_copy(update={"value_fields": fields})
    reader = SeriesReader(settings, names, categories, requires((*names, *plain_names(categories))), tell)
    reader.read(data.source, data.batches, _place)
    series = reader.series()
    if not series:
        raise DataError(f"{data.source}: has no rows")
    series = in_time_order(series, tell) if sorts else series
    if tell is not None:
        size = sum(one.values.nbytes + one.event_times_ms.nbytes for one in series)
        rows = sum(map(len, series))
        tell(f"{data.source}: {rows:,} rows of {len(series):,} keys, {size / MIB:,.1f} MiB in memory")
    return series


def _fields(table: CellTable, settings: InputSettings, categories: Sequence[str], tell: Tell | None) -> tuple[str, ...]:
    """Return the fields of features that nobody has named."""
    is_long = settings.layout == "long"
    found = long_names(table, settings) if is_long else numeric_fields(table, settings, categories, tell)
    if not found:
        there = ", ".join(table.cells) or "no fields at all"
        raise DataError(
            f"{table.source}: no field of numbers in the newest {table.count:,} records:"
            f" name them with input.value_fields; there are {there}"
        )
    return found


def _place(record: RawRecord) -> str:
    return f"partition {record.partition}, offset {record.offset}"
