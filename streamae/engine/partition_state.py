"""What is remembered of a partition itself, beside its keys: saved with each checkpoint, read at take-over.

Must not know: what the parts decide.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from streamae.core.active_clock import UNKNOWN, ActiveClock
from streamae.core.grid import NEVER

VERSION = 1
_FORM = struct.Struct("<BqQqqqq")  # the version, then the fields in the order of `pack`


@dataclass(frozen=True, slots=True)
class PartitionState:
    """State of a partition after every record below its position.

    Attributes:
        clock: its time.
        raster: number of the newest point of the raster of active time at which its keys were looked at.
        candidate_ms: event time of a record that was too far ahead, which the next one may confirm; `NEVER` = none.
    """

    clock: ActiveClock = UNKNOWN
    raster: int = 0
    candidate_ms: int = NEVER

    def pack(self) -> bytes:
        """Return it in binary form."""
        return _FORM.pack(VERSION, *self.clock, self.raster, self.candidate_ms)

    @classmethod
    def unpack(cls, packed: bytes) -> PartitionState | None:
        """Return what `pack` has written; None = in a form that is not known here."""
        if len(packed) != _FORM.size or packed[0] != VERSION:
            return None
        _, reached_ms, leader, leader_ms, active_ms, raster, candidate_ms = _FORM.unpack(packed)
        return cls(ActiveClock(reached_ms, leader, leader_ms, active_ms), raster, candidate_ms)
