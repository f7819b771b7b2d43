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


class Start(NamedTuple):
    """Where the reading of a partition began, or went on after its position was lost.

    Attributes:
        partition: which.
        offset: the first that is read.
        end: of the partition then.
        has_lost: records were deleted that would have been read.
    """

    partition: Partition
    offset: int
    end: int
    has_lost: bool


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
        self._ahead: set[Partition] = set()  # held at their news, while others are rebuilt
        self._early: list[Read] = []  # news that came with what was told before
        self._starts: list[Start] = []  # not asked for yet
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
            self._ahead.discard(partition)
            self._early = [read for read in self._early if Partition(read.raw.topic, read.raw.partition) != partition]
        self._unplanned = (self._unplanned - set(poll.revoked)) | set(poll.assigned)
        found = [self._read(raw, wall_ms) for records in poll.records.values() for raw in records]
        try:
            for partition in sorted(self._unplanned):
                self._start(partition, reach, wall_ms)
                self._unplanned.discard(partition)
        except RetryableError:
            if not found:  # what was read must not be lost; the next poll tries again
                raise
        return self._in_order(found)

    def take_starts(self) -> list[Start]:
        """Return which partitions were begun since the last call."""
        starts, self._starts = self._starts, []
        return starts

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

    @property
    def has_begun(self) -> bool:
        """Whether the group has committed an offset of every partition: what it sends after that is no old news later."""
        return bool(self._tracks) and self._tracks.keys() <= self._committed.keys()

    @property
    def committed(self) -> dict[Partition, int]:
        """The offsets that the group has committed."""
        return dict(self._committed)

    def positions(self) -> dict[Partition, int]:
        """Return the offset that is read next of each partition, past what holds no record."""
        return {partition: self._at(partition) for partition in self._tracks}

    def to_commit(self, settled: Mapping[Partition, int | None]) -> dict[Partition, int]:
        """Return the offsets that are worth a commit: they are higher than those committed last."""
        if self.is_rebuilding:
            return {}
        return {
            partition: offset
            for partition, offset in settled.items()
            if offset is not None and partition in self._tracks and offset > self._committed.get(partition, -1)
        }

    def commit(self, letters: Sequence[Message], offsets: Mapping[Partition, int]) -> None:
        """Send dead letters, then commit offsets.

        Raises:
            RetryableError: the same may be committed again.
        """
        with self._sink.transaction() as transaction:
            transaction.send(letters)
            if offsets:
                transaction.send_offsets(dict(offsets), self._source.membership())
        self._committed.update(offsets)

    def lag_ms(self, wall_ms: int) -> int:
        """Return the age of the newest record read, 0 where none waits."""
        if not any(self._source.lag().values()):
            return 0
        return max(0, wall_ms - self._newest_ms)

    def close(self) -> None:
        """Leave the group; idempotent."""
        self._source.close()
        self._sink.close()

    def _in_order(self, found: list[Read]) -> list[Read]:
        """Return what was told before, and keep news until all of that is read."""
        found, self._early = [*self._early, *found], []
        if not self.is_rebuilding:
            if self._ahead:
                self._source.resume([] if self._is_paused else sorted(self._ahead))
                self._ahead.clear()
            return sorted(found, key=lambda read: not read.was_told)  # stable: offsets stay in order
        ahead = {at for at, track in self._tracks.items() if self._at(at) >= track.told_end} - self._ahead
        if ahead:
            self._ahead |= ahead
            self._source.pause(sorted(ahead))
        self._early = [read for read in found if not read.was_told]
        return [read for read in found if read.was_told]

    def _read(self, raw: RawRecord, wall_ms: int) -> Read:
        track = self._tracks[Partition(raw.topic, raw.partition)]
        self._newest_ms = max(self._newest_ms, raw.timestamp)
        is_aged = not track.has_commit or raw.timestamp < wall_ms - self._max_age_ms
        return Read(raw, raw.offset < track.told_end, raw.offset < track.end and is_aged)

    def _at(self, partition: Partition) -> int:
        return self._source.position(partition) or 0

    def _start(self, partition: Partition, reach: Mapping[Partition, int] | None, wall_ms: int) -> None:
        span = self._source.span(partition)
        known = [offset for offset in (span.committed, (reach or {}).get(partition)) if offset is not None]
        committed = span.committed if span.committed is not None and span.committed <= span.end else None
        told_end = max(committed or 0, span.earliest)
        start = told_end
        if committed is not None:
            self._committed[partition] = committed
            start = min(told_end, max(span.earliest, (reach or {}).get(partition, 0)))
        self._tracks[partition] = _Track(told_end, span.end, span.end, committed is not None)
        self._newest_ms = self._newest_ms or wall_ms
        self._source.start_at(partition, start)
        has_lost = any(not span.earliest <= offset <= span.end for offset in known)
        self._starts.append(Start(partition, start, span.end, has_lost))
        if self._is_paused:
            self._source.pause([partition])
