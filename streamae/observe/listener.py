"""What an engine announces. A `Listener` hears nothing; override what is of interest.

Announcements come after what they announce, in the engine's thread, but for `transaction`: it comes in the thread that
the transaction ran in. None is called once a record. What a listener raises ends the step it is called in.
Must not know: who listens, or what is made of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from streamae.batches import Partition
from streamae.episode_changes import ChangeKind
from streamae.reasons import Fruitless, Problem, Reason


class Listener:
    """Hears what happens; does nothing about it."""

    def consumed(self, partition: Partition, records: int, newest_ms: int) -> None:
        """Records were read from a partition; `newest_ms` is the Kafka timestamp of the last, ms since the epoch."""

    def replayed(self, records: int) -> None:
        """So many records were replayed with outputs suppressed."""

    def dead_lettered(self, reason: Reason, records: int) -> None:
        """So many records are on their way to the dead-letter topic."""

    def dropped(self, reason: Reason, records: int) -> None:
        """So many records were dropped by policy: late, repeated, or of one time with another."""

    def clock_steps(self, kind: str, records: int = 1) -> None:
        """So many records moved the clock of their key far: `telemetry.CLOCK_STEPS` has the kinds."""

    def lag(self, lags: Mapping[Partition, int]) -> None:
        """What is left to read, by partition: all that are owned now."""

    def committed(self, offsets: Mapping[Partition, int | None]) -> None:
        """Committed offset by partition, all that are owned now; None = never committed."""

    def partitions(self, by_state: Mapping[str, int]) -> None:
        """Partitions of this process by state, one of `telemetry.PARTITION_STATES`."""

    def scored(self, windows: int, seconds: float) -> None:
        """A micro-batch was scored; seconds of the model."""

    def stepped(self, seconds: float) -> None:
        """A step of the engine is over."""

    def episode(self, kind: ChangeKind, events: int = 1) -> None:
        """So many episode events of a kind are on their way."""

    def episode_rate(self, per_key_week: float) -> None:
        """Episodes opened a key and week."""

    def alert_budget(self, per_key_week: float | None) -> None:
        """False episodes a key and week to aim at; None = no budget is set."""

    def transaction(self, outcome: str, seconds: float) -> None:
        """A transaction ended: committed, aborted, fenced or unknown. Called in the thread that it ran in."""

    def producer_recycled(self, reason: str) -> None:
        """A producer was replaced, and why: one of `telemetry.RECYCLE_REASONS`."""

    def checkpoint(self, outcome: str, seconds: float) -> None:
        """The store answered a checkpoint (a value of `protocols.Outcome`), or did not (`error`)."""

    def nothing_to_save(self) -> None:
        """What is stored is up to date."""

    def keys(self, by_state: Mapping[str, int]) -> None:
        """Keys in memory by state: `KeyState` in lower case."""

    def silences(self, open_now: int, blind_partitions: int) -> None:
        """Silences that are open; and partitions in which silence cannot be told, since they have no second key."""

    def evicted(self, keys: int) -> None:
        """So many idle keys were given up at the cap."""

    def bootstrapped(self, keys: int) -> None:
        """So many new keys began with what a bootstrap had learnt."""

    def corrupt_states(self, keys: int) -> None:
        """So many keys began anew, because what was stored of them could not be read."""

    def split_key(self, keys: int = 1) -> None:
        """So many keys were seen in a second partition."""

    def unusable(self, shares: Mapping[Reason | Fruitless, float], trouble: Reason | Fruitless | None) -> None:
        """Share of recent live records that came to nothing, by why; and the commonest why while it is half of them."""

    def unusable_keys(self, by_reason: Mapping[Reason | Fruitless, int]) -> None:
        """Keys of which at least half of the recent records came to nothing, by the commonest reason."""

    def step_ratio(self, ratio: float) -> None:
        """Usual time between two rows of a live key, by that of the training."""

    def store_error(self) -> None:
        """A call to the state store failed."""

    def store_problems(self, found: Collection[Problem]) -> None:
        """What is wrong with the state store now."""

    def rolled_back(self) -> None:
        """Stored state was lost, and that was noticed."""

    def partition_started(self, reason: str) -> None:
        """A partition was taken over; `reason` is one of `reasons.STARTS`."""

    def rebalance(self, kind: str, partitions: int) -> None:
        """So many partitions were `assigned` or `revoked`."""

    def retried(self) -> None:
        """A step failed in a way that may pass."""

    def progressed(self) -> None:
        """The loop completed a turn."""

    def bundle(self, version: str, device: str) -> None:
        """Which bundle is served, and on what device."""

    def device_fallback(self) -> None:
        """The device failed and the CPU took over."""

    def reloaded(self, outcome: str) -> None:
        """The settings were read again: `applied` or `refused`."""


SILENT = Listener()


class Announcer:
    """Something that tells a listener what it did; before `attach` there is none.

    Attributes:
        listener: is told.
    """

    listener: Listener = SILENT

    def attach(self, listener: Listener) -> None:
        """Tell `listener` from now on, and nobody else."""
        self.listener = listener
