"""Keeps what a receiver was told, and goes on without where that is not possible.

Records wait in memory until the store takes them; nothing else waits for it. What the store lacks when this process
ends is found out from the topic by the next one: the group has then committed more than the records reach.

Must not know: where records are stored, or what is in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from streamae.alerting.told import Told, ToldStore
from streamae.batches import Partition
from streamae.errors import RetryableError
from streamae.observe.logs import Logger

RETRY_MS = 2_000  # so that a store that hangs holds up one turn in a few
CHECK_MS = 30_000  # an idle store is asked this often whether it still has everything


class Knowing(Protocol):
    """Whoever knows what was told."""

    def unsaved(self) -> list[Told]:
        """Return what is newer than what was saved."""
        ...

    def records(self) -> list[Told]:
        """Return everything."""
        ...

    def saved(self, records: Iterable[Told]) -> None:
        """Take these as saved."""
        ...

    def adopt(self, records: Iterable[Told]) -> None:
        """Take what is remembered of episodes that are not known."""
        ...


class Keeper:
    """For one receiver and one thread. `load` comes first, once.

    Attributes:
        reach: by partition, the offset below which everything that was told is among the records; None = nothing is
            known of before.
        is_stateless: the store takes nothing now.
    """

    def __init__(self, store: ToldStore, log: Logger) -> None:
        self._store, self._log = store, log
        self._pending: dict[str, Told] = {}
        self._gone: set[str] = set()
        self._is_loaded = self._is_marked = False
        self._next_ms: int | None = None
        self.reach: dict[Partition, int] | None = None
        self.is_stateless = False

    def load(self) -> tuple[Told, ...]:
        """Return what is remembered; nothing where the store is away, or has lost it."""
        try:
            return self._load()
        except RetryableError as error:
            self._failed(error)
            return ()

    def keep(self, desk: Knowing, now_ms: int, offsets: Mapping[Partition, int] | None = None) -> None:
        """Save what is new, or try again what could not be saved before; never raises for a store that is away.

        Args:
            desk: knows what was told.
            now_ms: monotonic.
            offsets: how far everything that was told is known by now.
        """
        fresh = desk.unsaved()
        self._pending.update((told.alert.episode_id, told) for told in fresh)
        desk.saved(fresh)
        if offsets:
            self.reach = {**(self.reach or {}), **offsets}
            self._is_marked = False
        is_due = self._next_ms is None or now_ms >= self._next_ms
        if self.is_stateless and not is_due:
            return
        if self._pending or self._gone or not self._is_marked or is_due:
            self._save(desk, now_ms)

    def keep_all(self, desk: Knowing, now_ms: int) -> None:
        """Save what is new before the end, also to a store that was emptied a moment ago."""
        self._next_ms = None
        self.keep(desk, now_ms)

    def lacks(self, committed: Mapping[Partition, int]) -> bool:
        """Tell whether the group has committed more than is said to be among the records: it was just found out."""
        return any((self.reach or {}).get(partition, -1) < offset for partition, offset in committed.items())

    def forget(self, episode_ids: Iterable[str]) -> None:
        """Drop records with the next save."""
        for episode_id in episode_ids:
            self._pending.pop(episode_id, None)
            self._gone.add(episode_id)

    def close(self) -> None:
        """Release connections; idempotent."""
        self._store.close()

    def _save(self, desk: Knowing, now_ms: int) -> None:
        self._next_ms = now_ms + CHECK_MS
        try:
            if not self._is_loaded:
                desk.adopt(self._load(is_late=True))
            records, reach = list(self._pending.values()), self.reach or {}
            if not self._store.save(records, reach):
                self._store.save(desk.records(), reach)
            if self._gone:
                self._store.forget(sorted(self._gone))
        except RetryableError as error:
            self._next_ms = now_ms + RETRY_MS
            self._failed(error)
            return
        if self.is_stateless:
            self._log.info("told_is_kept_again", records=len(records))
        self._pending.clear()
        self._gone.clear()
        self._is_marked, self.is_stateless = True, False

    def _load(self, *, is_late: bool = False) -> tuple[Told, ...]:
        kept = self._store.load()
        self._is_loaded = True
        if kept is None:
            return ()
        if not is_late:
            self.reach = dict(kept.reach)
        return kept.records

    def _failed(self, error: RetryableError) -> None:
        if not self.is_stateless:
            self._log.warning("told_is_not_kept", error=str(error))
        self.is_stateless = True
