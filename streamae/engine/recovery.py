"""Taking partitions over: ask group and store where they stand, plan, and start reading there.

A partition that cannot be recovered yet (store or broker silent) waits; nothing of it is delivered meanwhile. One
whose state is lost may be halted by policy: it is looked at again now and then, so that restored state is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from streamae.batches import Partition
from streamae.connectors.protocols import Manifest, Source, Span, StateStore
from streamae.engine.partition_state import PartitionState
from streamae.engine.partitions import Partitions, Plan, RecoveryPolicy, plan
from streamae.engine.silence_watch import SilenceWatch
from streamae.engine.unlisted import Unlisted, UnlistedEpisodes
from streamae.errors import RetryableError
from streamae.observe.listener import Announcer
from streamae.observe.logs import get_logger
from streamae.reasons import LOUD_STARTS, STARTS

HALT_RETRY_MS = 5_000  # between two looks at a halted partition
REMEDY = (
    "restore the store's data, or restart and go on without: state.on_loss = rebuild or warm_up, which is the only "
    "way out of reason expired"
)


class Recovery(Announcer):
    """Recovers partitions. Mutated by the engine's thread only."""

    def __init__(
        self, source: Source, store: StateStore, fingerprint: str, policy: RecoveryPolicy, former: str = ""
    ) -> None:
        """Join what is asked with what to do about the answers.

        Args:
            source, store: are asked.
            fingerprint: of state that is ours.
            policy: what to do where something is missing.
            former: fingerprint that the release before gave to the same state.
        """
        self.source, self.store, self.fingerprint, self._former = source, store, fingerprint, former
        self.policy = policy
        self.silence: SilenceWatch | None = None  # None: nothing follows from silence, and no roster is read
        self.unlisted: UnlistedEpisodes | None = None  # None: what no roster lists is not looked for
        self.waiting: dict[Partition, None] = {}  # an ordered set
        self.halted: dict[Partition, int] = {}  # those of them that policy holds back: when to look again, in ms
        self._relied: dict[
            Partition, int
        ] = {}  # offset whose stored state this process relied on, and which the store turned out not to hold
        self.failing_since_ms: int | None = None
        self._log = get_logger()

    def add(self, partitions: Iterable[Partition]) -> None:
        """Let partitions wait for `start`."""
        for partition in partitions:
            self.waiting[partition] = None
            self.halted.pop(partition, None)

    def distrust(self, partition: Partition, base: int | None) -> None:
        """Note that the store turned out not to hold the state at `base` that this process relied on."""
        if base is not None:
            self._relied[partition] = base

    def start(self, into: Partitions, now_ms: int) -> None:
        """Recover the partitions that wait; each ends in `into` or goes on waiting."""
        for partition in list(self.waiting):
            if self.halted.get(partition, now_ms) > now_ms:
                continue
            try:
                is_started = self._start_one(partition, into)
            except RetryableError as error:
                self._log.warning("recovery_waits", topic=partition.topic, partition=partition.index, error=str(error))
                self.failing_since_ms = now_ms if self.failing_since_ms is None else self.failing_since_ms
                return  # the next would wait as long
            if is_started:
                del self.waiting[partition]
                self.halted.pop(partition, None)
            else:
                self.halted[partition] = now_ms + HALT_RETRY_MS
        self.failing_since_ms = None

    def abandon(self, partition: Partition) -> None:
        """Stop trying: the partition was taken away."""
        self.waiting.pop(partition, None)
        self.halted.pop(partition, None)
        self._relied.pop(partition, None)
        if not self.waiting:
            self.failing_since_ms = None

    def was_committed(self, offsets: dict[Partition, int]) -> bool:
        """Tell whether a transaction of unknown outcome was committed; its offsets are then the group's.

        Raises:
            RetryableError: the group does not answer; ask again.
        """
        return any(self.source.span(partition).committed == offset for partition, offset in offsets.items())

    def _start_one(self, partition: Partition, into: Partitions) -> bool:
        """Start a partition; False when policy holds it back."""
        manifest = self.store.manifest(
            partition
        )  # before the offsets: else one that a later owner saved in between would look like `moved_back`
        self._count_loss(partition, manifest)
        span = self.source.span(partition)
        chosen = plan(span, self._recognised(manifest), self.fingerprint, self.policy)
        if chosen.is_halted:
            self.source.pause([partition])
            if partition not in self.halted:
                self._tell("partition_halted", partition, chosen, span, remedy=REMEDY)
            return False
        if chosen.drop_stored and manifest is not None:
            self._drop(partition, manifest)
        entries, unlisted = self._roster(partition, chosen, manifest), self._unlisted(partition, chosen, manifest)
        self.source.start_at(partition, chosen.start)
        self.source.resume([partition])  # it may have been halted
        into.take(partition, chosen, span, manifest)
        if self.silence is not None:
            state = into[partition].state
            self.silence.take(partition, entries, 0 if state is None else state.clock.active_ms, unlisted)
        if into.keeps_state and manifest is not None and chosen.base is not None:
            self._tell_unreadable(partition, manifest.partition_state)
        self.listener.partition_started(chosen.reason)
        self._tell("partition_started", partition, chosen, span)
        return True

    def _recognised(self, manifest: Manifest | None) -> Manifest | None:
        """Return the manifest; where the release before wrote it of state that is ours, under our fingerprint."""
        if manifest is not None and not manifest.layouts and manifest.fingerprint == self._former != "":
            return replace(manifest, fingerprint=self.fingerprint)
        return manifest

    def _roster(self, partition: Partition, chosen: Plan, manifest: Manifest | None) -> Sequence[tuple[bytes, bytes]]:
        """Return what is stored of who is there.

        Raises:
            RetryableError: it is not what the manifest says any more, or the store is away: look again.
        """
        if self.silence is None or chosen.base is None or manifest is None or not any(manifest.roster_counts):
            return ()
        entries = self.store.roster(partition, chosen.base)
        if entries is None:
            raise RetryableError(f"the roster of {partition.topic}-{partition.index} has changed hands: looking again")
        return entries

    def _unlisted(self, partition: Partition, chosen: Plan, manifest: Manifest | None) -> Sequence[Unlisted]:
        """Return what is open of a partition that was stored by who waited for nobody: no roster, and no time.

        Raises:
            RetryableError: see `_roster`.
        """
        if self.silence is None or self.unlisted is None or chosen.base is None or manifest is None:
            return ()
        if manifest.roster_counts or manifest.partition_state:
            return ()
        found = self.unlisted.find(partition, manifest)
        if found:
            self._log.info("episodes_listed", topic=partition.topic, partition=partition.index, keys=len(found))
        return found

    def _count_loss(self, partition: Partition, manifest: Manifest | None) -> None:
        """Count a store that went back under this process; one that went on has another owner."""
        relied = self._relied.pop(partition, None)
        if relied is not None and (manifest is None or manifest.offset < relied or not manifest.is_whole):
            self.listener.rolled_back()

    def _tell(self, event: str, partition: Partition, chosen: Plan, span: Span, **more: str) -> None:
        """Log where a partition starts or why it does not, as loud as the reason asks for."""
        if chosen.reason in LOUD_STARTS:
            more["meaning"] = STARTS[chosen.reason]
        log = (
            self._log.error
            if chosen.is_halted
            else self._log.warning
            if chosen.reason in LOUD_STARTS
            else self._log.info
        )
        log(
            event,
            topic=partition.topic,
            partition=partition.index,
            reason=chosen.reason,
            offset=chosen.start,
            replay_until=chosen.replay_until,
            committed=span.committed,
            earliest=span.earliest,
            **more,
        )

    def _tell_unreadable(self, partition: Partition, packed: bytes) -> None:
        """Log that the state of the partition itself begins anew although there is one."""
        if packed and PartitionState.unpack(packed) is None:
            self._log.warning(
                "partition_state_unreadable",
                topic=partition.topic,
                partition=partition.index,
                size_bytes=len(packed),
                meaning="damaged, or of a later release: its clock begins anew, its keys go on",
            )

    def _drop(self, partition: Partition, manifest: Manifest) -> None:
        """Delete stored state that was judged unusable, unless another owner has replaced it meanwhile.

        Raises:
            RetryableError: it was replaced: look again.
        """
        if not self.store.drop(partition, manifest.offset):
            raise RetryableError(
                f"stored state of {partition.topic}-{partition.index} has changed hands: looking again"
            )
