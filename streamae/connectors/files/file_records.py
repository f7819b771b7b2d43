"""The records of one file as a source delivers them: with key, time and offset.

Must not know: values, or what becomes of the records.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streamae.batches import Ints, Partition, RawRecord, Record
from streamae.connectors.event_times import EARLIEST_MS, LATEST_MS
from streamae.connectors.files.record_files import RecordFile, escaped, is_there, open_file
from streamae.connectors.record_times import RecordTimes
from streamae.connectors.repeated_hours import resolve_order
from streamae.errors import DataError
from streamae.settings.data import InputSettings

TIME_FIELDS = ("timestamp", "event_time", "time")  # taken for the event time when no field is named
MOSTLY_BACK = 9  # steps back for each one ahead, from which on a file has its newest rows first
NO_TIME = -1  # timestamp of a record whose time cannot be read: the codec says why


class FileRecords:
    """One file, in memory.

    Attributes:
        settings: how its records are read, with everything the file decides by itself.
        names: paths of its fields.
        file: what holds the bytes.
    """

    def __init__(
        self, partition: Partition, name: str, path: Path, settings: InputSettings, *, oldest_first: bool = False
    ) -> None:
        """Read the file.

        Args:
            partition: of its records.
            name: key of its records where no field is the key.
            path: of the file.
            settings: how it is read; where no time field is named, a usual name is taken, else `row_ms`.
            oldest_first: a file that has its newest rows first is read from its last row on, which then is row 0.

        Raises:
            DataError: it cannot be read, a field is not there, or there is no time.
        """
        self._partition, self._name = partition, name
        self.file: RecordFile = open_file(path, settings)
        self.names = self.file.names
        self.settings = _with_time(self.file)
        self._require("key_field", "time_field", "date_field", "label_field", "id_field")
        fields = (self.settings.key_field, self.settings.time_field)
        cells = self.file.cells().cells if any(fields) else {}
        self._keys = self._key_cells(cells)
        times_ms = self._event_times_ms(cells)
        self._times = times_ms.tolist()
        self._is_reversed = oldest_first and _has_newest_first(times_ms)

    def __len__(self) -> int:
        return len(self.file)

    def records(self, start: int, count: int) -> list[RawRecord]:
        """Return `count` records from row `start` on, fewer at the end."""
        topic, index = self._partition
        if self._is_reversed:
            stop = max(0, len(self) - start)
            rows = range(max(0, stop - count), stop)
        else:
            rows = range(start, min(start + count, len(self)))
        found = zip(rows, self.file.records(rows.start, rows.stop), strict=True)
        return [
            Record(topic, index, offset, self._times[row], self._keys[row], value, [])
            for offset, (row, value) in enumerate(reversed(list(found)) if self._is_reversed else found, start)
        ]

    def path_of(self, name: str) -> str:
        """Return the path of what is called `name`: of a field of that name, dots and all, if there is one."""
        literal = escaped(name.replace("\\.", "."))
        return literal if literal in self.names else name

    def require(self, field: str) -> None:
        """Raise DataError unless the file has this field, if it has any record."""
        if len(self) and not is_there(field, self.names):
            raise DataError(f"{self.file.path}: there is no column {field!r}; there are {', '.join(self.names)}")

    def _require(self, *settings: str) -> None:
        for setting in settings:
            field = getattr(self.settings, setting)
            if field is not None and not field.startswith("$key."):
                self.require(field)

    def _key_cells(self, cells: dict[str, list[Any]]) -> list[bytes]:
        field = self.settings.key_field
        column = None if field is None else cells.get(field)
        name = self._name.encode()
        if column is None:
            return [name] * len(self)
        keys = [name if cell is None else str(cell).encode() for cell in column]
        return keys + [name] * (len(self) - len(keys))

    def _event_times_ms(self, cells: dict[str, list[Any]]) -> Ints:
        """Return (N,) int64; `NO_TIME` where there is none."""
        settings = self.settings
        if settings.time_field is None:
            return np.arange(len(self), dtype=np.int64) * (settings.row_ms or 0)
        dates = None if settings.date_field is None else cells.get(settings.date_field, [None] * len(self))
        column = cells.get(settings.time_field, [])
        times = RecordTimes(settings)
        earlier, later, absent = times.read(times.cells(column, dates))
        names = cells.get(settings.name_field, []) if settings.layout == "long" else []
        metrics = list(zip(self._keys, map(str, names), strict=False))
        found = resolve_order(earlier, later, metrics or self._keys).copy()
        found[absent] = NO_TIME
        found = np.where((found >= EARLIEST_MS) & (found <= LATEST_MS), found, NO_TIME)
        return np.concatenate([found, np.full(len(self) - len(found), NO_TIME)])


def _has_newest_first(times_ms: Ints) -> bool:
    """Tell whether nearly all steps between rows go back in time; several keys may share a time."""
    steps = np.diff(times_ms[times_ms != NO_TIME])
    return bool(np.count_nonzero(steps < 0) > MOSTLY_BACK * np.count_nonzero(steps > 0))


def _with_time(file: RecordFile) -> InputSettings:
    """Return the settings of a file with the field of its time.

    Raises:
        DataError: none is named, none has a usual name, and rows are not said to be some time apart.
    """
    settings = file.settings
    if settings.time_field is not None:
        return settings
    by_lower = {name.lower(): name for name in reversed(file.names)}
    usual = next((by_lower[name] for name in map(escaped, TIME_FIELDS) if name in by_lower), None)
    if usual is None and settings.row_ms is None and len(file):
        there = ", ".join(file.names)
        raise DataError(
            f"{file.path}: no time was found: name its field with input.time_field (there are {there}); "
            "or, where rows have none, say how far they are apart with input.row_ms"
        )
    return settings.model_copy(update={"time_field": usual})
