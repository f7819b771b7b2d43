"""Clocks of places: how far local time is from UTC at any instant, and which instants a local time can be.

Plain numbers; who reads the rules of a place into them is `streamae/time_zones.py`. Must not know calendars.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from streamae.batches import Flags, Ints
from streamae.core.wording import zone_in_words

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Zone:
    """A clock that is set forward or back at known instants. Equal names are equal clocks.

    Attributes:
        name: for people: `Europe/Rome`, `UTC+01:00`.
        transitions_ms: (T,) int64 event times at which the clock is set, ascending and further apart than it is set.
        offsets_ms: (T + 1,) int64 local time minus UTC: before the first of them, then from each on.

    Example:
        >>> hour_ms = 3_600_000
        >>> zone = Zone("there", np.array([100 * hour_ms]), np.array([2 * hour_ms, hour_ms]))  # set back at 102:00
        >>> (zone.local(np.array([99, 100]) * hour_ms) // hour_ms).tolist()
        [101, 101]
        >>> [(times // hour_ms).tolist() for times in zone.instants(np.array([100, 101, 102]) * hour_ms)[:2]]
        [[98, 99, 101], [98, 100, 101]]
    """

    name: str
    transitions_ms: Ints = field(compare=False, repr=False)
    offsets_ms: Ints = field(compare=False, repr=False)

    @classmethod
    def fixed(cls, offset_minutes: int) -> Zone:
        """Return the clock that is always so far from UTC."""
        offsets = np.array([offset_minutes * MINUTE_MS], np.int64)
        return cls(zone_in_words(offset_minutes), np.empty(0, np.int64), offsets)

    def offset_at(self, times_ms: Ints) -> Ints:
        """Return (N,) local time minus UTC at event times (N,)."""
        return self.offsets_ms[np.searchsorted(self.transitions_ms, times_ms, side="right")]

    def local(self, times_ms: Ints) -> Ints:
        """Return (N,) what the clock shows at event times (N,), as ms since its own 1970-01-01T00:00."""
        return times_ms + self.offset_at(times_ms)

    def instants(self, local_ms: Ints) -> tuple[Ints, Ints, Flags]:
        """Return at which event times the clock shows local times (N,), as counted by `local`.

        Returns:
            The earlier and the later one (N,): two where the clock was set back over this time, else the same twice;
            and where (N,) it was set forward over this time, so that neither exists.
        """
        first = np.searchsorted(self.transitions_ms + self.offsets_ms[:-1], local_ms, side="right")
        last = np.searchsorted(self.transitions_ms + self.offsets_ms[1:], local_ms, side="right")
        return local_ms - self.offsets_ms[first], local_ms - self.offsets_ms[last], first > last
