"""What the first records of a stream looked like, in numbers: told once, so that a wrong reading is seen at once.

Must not know who is told, nor what becomes of the records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from streamae.batches import Flags, RecordBatch
from streamae.reasons import Reason


class FirstSight:
    """Event times and missing cells of records that were decoded.

    Args:
        features: I names of the values of a record as the codec reads it.
    """

    def __init__(self, features: Sequence[str]) -> None:
        self._features = features
        self._missing = np.zeros(len(features), dtype=np.int64)
        self._bad_values = Counter[tuple[str, Reason]]()
        self._records = 0
        self._first_ms, self._last_ms = np.iinfo(np.int64).max, np.iinfo(np.int64).min

    def add(self, records: RecordBatch, chosen: Flags) -> None:
        """Look at the chosen ones (N,) of some records."""
        self._bad_values += records.bad_values
        times = records.event_times_ms[chosen]
        if len(times):
            self._records += len(times)
            self._missing += np.isnan(records.values[chosen]).sum(axis=0)
            self._first_ms = min(self._first_ms, int(times.min()))
            self._last_ms = max(self._last_ms, int(times.max()))

    def words(self) -> dict[str, str]:
        """Return first and last event time in UTC, missing cells by feature, and values that are none, with the reason."""
        if not self._records:
            return {"first": "none", "last": "none", "missing": "none", "bad_values": "none"}
        bad = ", ".join(f"{name} {reason} {count}" for (name, reason), count in self._bad_values.most_common())
        shares = zip(self._features, self._missing / self._records, strict=True)
        missing = ", ".join(f"{name} {share:.1%}" for name, share in shares if share)
        return {
            "first": _utc(self._first_ms),
            "last": _utc(self._last_ms),
            "missing": missing or "none",
            "bad_values": bad or "none",
        }


def _utc(time_ms: int) -> str:
    return f"{np.datetime_as_string(np.datetime64(time_ms, 'ms'))}Z"
