"""The event time of records: from one field or two, and why one is none or not acceptable.

Must not know: how times are spelt, keys, or values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from streamae.batches import Ints
from streamae.connectors.cell_values import Fault
from streamae.connectors.event_times import (
    EARLIEST_MS,
    LATEST_MS,
    SKIPPED,
    TimeRules,
    read_local,
    strange_number,
    why_no_time,
)
from streamae.reasons import Reason
from streamae.settings.data import InputSettings


class RecordTimes:
    """Reads the times that the settings name.

    Args:
        settings: of the input.

    Raises:
        ConfigError: the format of times is none.
    """

    def __init__(self, settings: InputSettings) -> None:
        self._settings, self.rules = settings, TimeRules.of(settings, from_text=settings.numbers == "text")
        self._min_time_ms = max(settings.min_time_ms, EARLIEST_MS)

    def cells(self, times: Sequence[Any], dates: Sequence[Any] | None) -> list[Any]:
        """Return what is read as the time of N records; None where one has none.

        Args:
            times: N cells of the time field.
            dates: N cells of the date field; None = there is no such field.
        """
        cells = list(times) if dates is None else [_joined(*pair) for pair in zip(dates, times, strict=True)]
        return [None if cell == "" else cell for cell in cells] if self.rules.from_text else cells

    def read(self, cells: Sequence[Any]) -> tuple[Ints, Ints, list[int]]:
        """Return both instants (N,) that each of `cells` may mean, as `read_local`, and the indices of None."""
        absent = [i for i, cell in enumerate(cells) if cell is None] if type(None) in set(map(type, cells)) else []
        present = [0 if cell is None else cell for cell in cells] if absent else cells
        return *read_local(present, self.rules), absent

    def faults(self, times: Ints, stamps: Ints, cells: Sequence[Any] | None = None) -> Iterator[tuple[int, Fault]]:
        """Yield index and fault of each time that is none, or before or after what is taken.

        Args:
            times: (N,) as read.
            stamps: (N,) Kafka timestamps in ms; negative = there is none.
            cells: what the times were read from; None = they are the stamps.
        """
        bad = (times < self._min_time_ms) | (times > LATEST_MS)
        bad |= (stamps >= 0) & (times - np.clip(stamps, 0, LATEST_MS) > self._settings.max_future_ms)
        for i in np.flatnonzero(bad).tolist():
            yield (
                i,
                Fault(
                    Reason.BAD_TIME, self._detail(int(times[i]), int(stamps[i]), None if cells is None else cells[i])
                ),
            )

    @property
    def missing(self) -> str:
        """Why a record has no time."""
        if self._settings.time_field is None:
            return "the record has no Kafka timestamp and input.time_field is not set"
        return f"the time field `{self._settings.time_field}` is absent or null"

    def _detail(self, time_ms: int, stamp_ms: int, cell: Any) -> str:
        settings = self._settings
        if time_ms <= SKIPPED:
            return f"`{settings.time_field}` {why_no_time(cell, time_ms, self.rules)}"
        looks = strange_number(cell, time_ms, stamp_ms)
        hint = "" if looks is None else f"; the number {looks}"
        if time_ms < self._min_time_ms:
            early = self._min_time_ms - time_ms
            return f"the event time is {early} ms before input.min_time_ms {self._min_time_ms}{hint}"
        if time_ms > LATEST_MS:
            return f"the event time is after the year 9999{hint}"
        ahead = f"{time_ms - stamp_ms} ms past the Kafka timestamp, input.max_future_ms is {settings.max_future_ms}"
        return f"the event time is {ahead}{hint}"


def _joined(date: Any, time: Any) -> str | None:
    return None if any(part is None or part == "" for part in (date, time)) else f"{date} {time}"
