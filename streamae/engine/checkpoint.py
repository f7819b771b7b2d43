"""Saving key state behind the commits: one atomic call a partition, moved forward by compare-and-set.

A checkpoint that cannot be made now is made later: outputs do not depend on it, only the length of a replay.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from streamae.batches import Partition, Slots
from streamae.connectors.protocols import Outcome
from streamae.engine.key_states import KeyStates
from streamae.engine.partitions import Partitions, Progress
from streamae.engine.silence_watch import NO_CHANGES, SilenceWatch
from streamae.errors import RetryableError
from streamae.fail_points import fail_point
from streamae.observe.listener import Announcer
from streamae.observe.logs import get_logger


class Checkpointer(Announcer):
    """Decides when to save and does it. Mutated by the engine's thread only."""

    def __init__(
        self,
        states: KeyStates,
        partitions: Partitions,
        fingerprint: str,
        *,
        interval_ms: int,
        max_dirty_keys: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Set the policy.

        Args:
            states: what to save.
            partitions: offsets that go with it.
            fingerprint: stored with the state; see `Manifest`.
            interval_ms: longest time between two checkpoints.
            max_dirty_keys: changed keys that trigger one earlier.
            clock: seconds, for durations only.
        """
        self.states, self.partitions, self.fingerprint = states, partitions, fingerprint
        self.interval_ms, self.max_dirty_keys, self.clock = interval_ms, max_dirty_keys, clock
        self.silence: SilenceWatch | None = None  # None: nothing follows from silence, and no roster is saved
        self.failing_since_ms: int | None = None
        self._last_ms: int | None = None
        self._log = get_logger()

    def is_due(self, now_ms: int) -> bool:
        """Tell whether it is time, by interval, by number of changed keys, or because nothing is stored yet.

        A failing store is left in peace for an interval.
        """
        if self._last_ms is None:
            self._last_ms = now_ms
        if now_ms - self._last_ms >= self.interval_ms:
            return True
        if self.failing_since_ms is not None:
            return False
        is_new = any(progress.base is None for _, progress in self.partitions.items())
        return is_new or self.states.table.dirty_count() >= self.max_dirty_keys

    def save(self, now_ms: int) -> list[Partition]:
        """Save all changed keys of all partitions at their committed position.

        Must follow a commit: state in memory then reflects exactly the committed offset, or, while a partition
        replays, an earlier position whose outputs are committed too.

        Returns:
            Partitions whose stored state is not what we rely on: drop and recover them.
        """
        self._last_ms = now_ms
        lost: list[Partition] = []
        for partition, progress in self.partitions.items():
            if progress.position == progress.base:
                continue
            outcome = self._save_one(partition, progress, now_ms)
            if outcome is None:
                return lost  # the store does not answer: the others would only wait as long
            if outcome is not Outcome.OK:
                self._log.warning(
                    "state_store_rollback" if outcome is Outcome.ROLLED_BACK else "checkpoint_stale",
                    topic=partition.topic,
                    partition=partition.index,
                    base=progress.base,
                    offset=progress.position,
                )
                lost.append(partition)
        self.listener.nothing_to_save()
        return lost

    def _save_one(self, partition: Partition, progress: Progress, now_ms: int) -> Outcome | None:
        """Save one partition; None when the store did not answer."""
        if not progress.is_gone:
            outcome = self._call(partition, progress, self.states.table.dirty(partition), now_ms)
            if outcome is not Outcome.ROLLED_BACK or progress.unread:
                return outcome
            self.listener.rolled_back()
        slots = self.states.table.owned(partition)  # every key there is: what was lost is here
        outcome = self._call(partition, progress, slots, now_ms, whole=True)
        progress.is_gone = outcome is None
        self._log.warning(
            "state_written_anew",
            topic=partition.topic,
            partition=partition.index,
            keys=len(slots),
            offset=progress.position,
            outcome=outcome or "no answer",
        )
        return outcome

    def _call(
        self, partition: Partition, progress: Progress, slots: Slots, now_ms: int, *, whole: bool = False
    ) -> Outcome | None:
        """Send these keys to the store, as all there are if `whole`; None when it did not answer."""
        table = self.states.table
        stamp = progress.stamp(self.fingerprint, self.states.layouts(progress, whole=whole))
        deleted, started = table.deleted(partition), self.clock()
        roster = NO_CHANGES if self.silence is None else self.silence.changes(partition, whole=whole)
        try:
            outcome = self.states.store.checkpoint(
                partition,
                progress.base,
                progress.position,
                stamp,
                self.states.pack(slots),
                () if whole else deleted,
                roster=roster.entries,
                off_roster=() if whole else roster.gone,
                whole=whole,
            )
        except RetryableError as error:
            self.failing_since_ms = now_ms if self.failing_since_ms is None else self.failing_since_ms
            self.listener.checkpoint("error", self.clock() - started)
            self.listener.store_error()
            self._log.warning("checkpoint_failed", error=str(error), dirty_keys=table.dirty_count())
            return None
        self.failing_since_ms = None
        self.listener.checkpoint(outcome, self.clock() - started)
        if outcome is Outcome.OK:
            table.clean(partition, slots, deleted)
            if self.silence is not None:
                self.silence.saved(partition, roster)
            progress.base, progress.form = progress.position, stamp.form
            fail_point("after_checkpoint")
        return outcome
