"""The output topic as one receiver reads it: what it was told before, what piled up meanwhile, and what is new.

    start of a partition   [reach, committed) = told before, unless all of it is among the records that were kept
                           [committed, end)   = the backlog: folded to its end before anything is sent
                           [end, ...)         = news

Must not know: what records mean, or what is done with them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from streamae.batches import Partition, RawRecord
from streamae.connectors.protocols import Message, Sink, Source
from streamae.errors import RetryableError


class Feed(Source, Protocol):
    """A source that also says how far it is."""

    def position(self, partition: Partition) -> int | None:
        """Return the offset that is delivered next, past offsets that hold no record; None = not started."""
        ...


class Read(NamedTuple):
    """One record as it was found.

    Attributes:
        raw: the record.
        was_told: the group had committed it: what it says was told, or is not to be told.
        is_old: it lay there at the assignment, and was never to be told or is older than is told one by one.
    """

    raw: RawRecord
    was_told: bool
    is_old: bool


@dataclass(slots=True)
class _Track:
    """One partition since its assignment.

    Attributes:
        told_end: records below were committed before.
        end: of the partition, when it was assigned.
        fold_end: nothing is sent before this is reached; moved on after a pause.
        has_commit: the group had committed an offset.
    """

    told_end: int
    end: int
    fold_end: int
    has_commit: bool


class Reader:
    """Reads, pauses and commits for one receiver. For one thread.

    Args:
        source: of the receiver's own group.
        sink: takes dead letters, and offsets after them.
        max_age_ms: older records of a backlog are not told one by one.
    """

    def __init__(self, source: Feed, sink: Sink, max_age_ms: int) -> None:
        self._source, self._sink, self._max_age_ms = source, sink, max_age_ms
        self._tracks: dict[Partition, _Track] = {}
        self._unplanned: set[Partition] = set()  # assigned, and not started yet
        self._committed: dict[Partition, int] = {}
        self._is_paused = False
        self._newest_ms = 0

    @property
    def partitions(self) -> Collection[Partition]:
        """Those that are read."""
        return self._tracks.keys()

    @property
    def is_rebuilding(self) -> bool:
        """Whether records are still read that were told before."""
        return any(self._at(partition) < track.told_end for partition, track in self._tracks.items())

    @property
    def is_caught_up(self) -> bool:
        """Whether the backlog of every partition is read; False before there is one."""
        if not self._tracks or self._unplanned:
            return False
        return all(self._at(partition) >= track.fold_end for partition, track in self._tracks.items())

    def poll(self, timeout_ms: int, wall_ms: int, reach: Mapping[Partition, int] | None) -> list[Read]:
        """Return what there is; follow the group before.

        Args:
            timeout_ms: wait at most so long.
            wall_ms: milliseconds since the epoch.
            reach: by partition, the offset below which records of what was told are complete; None = there are none.

        Raises:
            RetryableError: the cluster cannot be reached; asked again, everything comes.
            FatalError: another process reads as this receiver.
        """
        poll = self._source.poll(timeout_ms)
        for partition in poll.revoked:
            self._tracks.pop(partition, None)
            self._committed.pop(partition, None)
        self._unplanned = (self._unplanned - set(poll.revoked)) | set(poll.assigned)
        found = [self._read(raw, self._tracks[at], wall_ms) for at, records in poll.records.items() for raw in records]
        try:
            for partition in sorted(self._unplanned):
                self._start(partition, reach, wall_ms)
                self._unplanned.discard(partition)
        except RetryableError:
            if not found:  # what was read must not be lost; the next poll tries again
                raise
        return found

    def pause(self) -> None:
        """Read no more, and stay the owner."""
        self._is_paused = True
        self._source.pause(list(self._tracks))

    def resume(self) -> None:
        """Read on; what piled up is folded first."""
        if not self._is_paused:
            return
        for partition, track in self._tracks.items():
            track.fold_end = max(track.fold_end, self._source.span(partition).end)
        self._is_paused = False
        self._source.resume(list(self._tracks))

    def settled(self, first_open: Mapping[Partition, int | None]) -> dict[Partition, int]:
        """Return the offset to commit of each partition.

        Args:
            first_open: the first offset that is not settled; None = all that was read is.
        """
        found = {}
        for partition, track in self._tracks.items():
            offset = first_open.get(partition)
            at = self._at(partition) if offset is None else offset
            if at >= track.told_end:
                found[partition] = at
        return found

    def has_moved(self, offsets: Mapping[Partition, int]) -> bool:
        """Tell whether these are other offsets than those committed last."""
        return any(self._committed.get(partition) != offset for partition, offset in offsets.items())

    def commit(self, letters: Sequence[Message], offsets: Mapping[Partition, int]) -> None:
        """Send dead letters, then commit offsets.

        Raises:
            RetryableError: the same may be committed again.
        """
        moved = {at: offset for at, offset in offsets.items() if self._committed.get(at) != offset}
        with self._sink.transaction() as transaction:
            transaction.send(letters)
            if moved:
                transaction.send_offsets(moved, self._source.membership())
        self._committed.update(moved)

    def lag_ms(self, wall_ms: int) -> int:
        """Return the age of the newest record read, 0 where none waits."""
        if not any(self._source.lag().values()):
            return 0
        return max(0, wall_ms - self._newest_ms)

    def close(self) -> None:
        """Leave the group; idempotent."""
        self._source.close()
        self._sink.close()

    def _read(self, raw: RawRecord, track: _Track, wall_ms: int) -> Read:
        self._newest_ms = max(self._newest_ms, raw.timestamp)
        is_aged = not track.has_commit or raw.timestamp < wall_ms - self._max_age_ms
        return Read(raw, raw.offset < track.told_end, raw.offset < track.end and is_aged)

    def _at(self, partition: Partition) -> int:
        return self._source.position(partition) or 0

    def _start(self, partition: Partition, reach: Mapping[Partition, int] | None, wall_ms: int) -> None:
        span = self._source.span(partition)
        committed = span.committed if span.committed is not None and span.committed <= span.end else None
        told_end = max(committed or 0, span.earliest)
        start = told_end
        if committed is not None:
            self._committed[partition] = committed
            start = min(told_end, max(span.earliest, (reach or {}).get(partition, 0)))
        self._tracks[partition] = _Track(told_end, span.end, span.end, committed is not None)
        self._newest_ms = self._newest_ms or wall_ms
        self._source.start_at(partition, start)
        if self._is_paused:
            self._source.pause([partition])
