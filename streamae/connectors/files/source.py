"""Files as a source: each record or row is a JSON record.

One file is one partition. Offsets are row numbers, from the end of a file that has its newest rows first, so a replay
is the same every time. The record key is the key field, or the file's name; its timestamp is the event time. There is
no group: one reader owns all files from its first poll on. Does not know what becomes of the records.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamae.batches import Partition, RawRecord
from streamae.connectors.files.file_records import FileRecords
from streamae.connectors.files.paths import find_files, kind_of
from streamae.connectors.files.record_files import RecordFile, open_file
from streamae.connectors.protocols import Poll, Span
from streamae.errors import DataError, MembershipError
from streamae.settings.data import InputSettings

TOPIC = "files"


def reading_of(settings: InputSettings) -> InputSettings:
    """Return how the records of `settings.files` are to be read: what is unset there as the first file of a kind says.

    Raises:
        DataError: there is no file, or one cannot be read.
    """
    kinds = {kind_of(path): path for _, path in reversed(find_files(settings.files))}
    for path in kinds.values():
        settings = open_file(path, settings).settings
    return settings


@dataclass(frozen=True, slots=True, eq=False)
class FileMembership:
    """Where a sink notes the offsets it has committed: the committed offsets of a `FileSource` itself."""

    committed: dict[Partition, int]


class FileSource:
    """Replays files once, from the committed rows on. Loads a file when its partition is first asked about.

    Args:
        settings: `files` are files and folders, as for `read_series`; partition i is the i-th file found. Key and time
            are read as there; `max_poll_records` bounds one poll.
        committed: offsets where a former run ended; None = from the beginning.

    Raises:
        DataError: there is no file, or (from any method) a file cannot be read; the message names it.
    """

    def __init__(
        self,
        settings: InputSettings,
        committed: Mapping[Partition, int] | None = None,
    ) -> None:
        self._found = find_files(settings.files)
        if not self._found:
            raise DataError(f"no data file in {', '.join(map(str, settings.files)) or 'no path at all'}")
        self._settings = settings
        self._committed = dict(committed or {})
        self._files: dict[Partition, FileRecords] = {}
        self._positions: dict[Partition, int] = {}  # of started partitions
        self._paused: set[Partition] = set()
        self._is_new = True

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """All partitions, one a file."""
        return tuple(Partition(TOPIC, index) for index in range(len(self._found)))

    @property
    def is_finished(self) -> bool:
        """Whether every file was delivered to its end."""
        return self._positions.keys() == set(self.partitions) and not any(self.lag().values())

    def poll(self, timeout_ms: int) -> Poll:
        """Return the next rows, shared evenly between the files that have some; waits only when there are none."""
        if self._is_new:
            self._is_new = False
            return Poll(assigned=self.partitions)
        waiting = [p for p in self._positions if p not in self._paused and self._left(p)]
        records: dict[Partition, Sequence[RawRecord]] = {}
        room = self._settings.max_poll_records
        for number, partition in enumerate(waiting):
            count = min(self._left(partition), -(-room // (len(waiting) - number)))
            if count:
                records[partition] = self._file(partition).records(self._positions[partition], count)
                self._positions[partition] += count
                room -= count
        if not records:
            time.sleep(timeout_ms / 1_000)
        return Poll(records)

    def span(self, partition: Partition) -> Span:
        """Return committed and kept offsets."""
        return Span(self._committed.get(partition), 0, len(self._file(partition)))

    def start_at(self, partition: Partition, offset: int) -> None:
        """Deliver from row `offset` on; see `Source.start_at`."""
        if self._is_new or partition not in self.partitions:
            raise MembershipError(f"{partition} is not owned")
        self._positions[partition] = offset

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop delivering."""
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Deliver again."""
        self._paused.difference_update(partitions)

    def lag(self) -> dict[Partition, int]:
        """Return rows left of each started file."""
        return {partition: self._left(partition) for partition in self._positions}

    def membership(self) -> FileMembership:
        """Return the place for committed offsets."""
        if self._is_new:
            raise MembershipError("not a member: poll first")
        return FileMembership(self._committed)

    def close(self) -> None:
        """Forget positions and loaded files; idempotent."""
        self._positions.clear()
        self._files.clear()

    def _left(self, partition: Partition) -> int:
        return max(0, len(self._file(partition)) - self._positions[partition])

    def _file(self, partition: Partition) -> FileRecords:
        if partition not in self._files:
            name, path = self._found[partition.index]
            self._files[partition] = FileRecords(partition, name, path, self._settings, oldest_first=True)
            self._check_marks(self._files[partition].file)
        return self._files[partition]

    def _check_marks(self, file: RecordFile) -> None:
        """Raise DataError for numbers that are spelt otherwise than in the file that says how all are read."""
        first = next(index for index, (_, path) in enumerate(self._found) if kind_of(path) == kind_of(file.path))
        how = self._file(Partition(TOPIC, first)).file
        marks, others = ((of.settings.decimal_mark, of.settings.thousands_mark) for of in (file, how))
        if marks != others and file.dialect is not None and file.dialect.has_marks:
            raise DataError(
                f"{file.path}: its numbers are spelt otherwise than those of {how.path}: set input.decimal_mark and"
                " input.thousands_mark, or read the files one by one"
            )
