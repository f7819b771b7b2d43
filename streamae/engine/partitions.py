"""Where each partition stands: recovery plan at assignment, position, silent replay, what is committed.

`plan` is the whole recovery protocol as one pure function. Commit comes first, checkpoint second, so stored
state is at or behind the committed offset, and the records in between are replayed with outputs suppressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamae.batches import Cause, Partition
from streamae.connectors.protocols import Form, Manifest, Span, Stamp
from streamae.engine.partition_state import PartitionState


@dataclass(frozen=True, slots=True)
class RecoveryPolicy:
    """What to do where offsets or state are missing.

    Attributes:
        first: where a group without offsets begins.
        on_lost_offsets: where a group begins whose offset is gone while stored state is there: at the stored state
            (`resume`: the records since are published again, with the same event ids), or as a new group (`start`).
        on_loss: how a partition goes on whose state is gone although records were committed: replay silently what
            lies before the committed offset (`rebuild`), begin empty (`warm_up`), or not at all (`halt`).
        rebuild_max_records: how far before the committed offset `rebuild` goes; as far as a bootstrap at least.
        bootstrap_records: how far before the end a group without offsets that begins there reads, silently.
    """

    first: Literal["earliest", "latest"] = "earliest"
    on_lost_offsets: Literal["resume", "start"] = "resume"
    on_loss: Literal["rebuild", "warm_up", "halt"] = "rebuild"
    rebuild_max_records: int = 100_000
    bootstrap_records: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """How to take a partition over.

    Attributes:
        start: first offset to read.
        replay_until: records below were committed by a former owner, or lie before where a new group begins: they
            change state, but publish nothing.
        base: offset of the stored state we go on from; None = begin with empty state.
        drop_stored: delete what is stored first: it does not count.
        reason: one of `reasons.STARTS`.
        is_halted: do not start: state is lost, and the policy is to wait for somebody.
    """

    start: int
    replay_until: int
    base: int | None
    drop_stored: bool
    reason: str
    is_halted: bool = False


def plan(span: Span, manifest: Manifest | None, fingerprint: str, policy: RecoveryPolicy) -> Plan:
    """Decide where to start reading and which stored state to trust.

    Args:
        span: committed and kept offsets.
        manifest: what the store says it holds.
        fingerprint: what our state depends on; stored state of another one is not ours.
        policy: what to do where something is missing.

    Example:
        >>> plan(Span(90, 0, 100), Manifest(70, "f", ()), "f", RecoveryPolicy())
        Plan(start=70, replay_until=90, base=70, drop_stored=False, reason='replay', is_halted=False)
    """
    committed = span.committed
    if manifest is not None and _differ(manifest.identity, span.identity):
        return _of_another_topic(span, policy)
    if committed is None:
        return _without_offset(span, manifest, fingerprint, policy)
    if committed > span.end and (manifest is None or not _same(manifest.identity, span.identity)):
        return Plan(span.earliest, span.earliest, None, manifest is not None, "recreated")  # offsets begin at 0 again
    if committed < span.earliest:
        return _without_state(span.earliest, span.earliest, manifest, "expired", policy)
    target = min(committed, span.end)
    reason = _what_is_wrong(span, target, manifest, fingerprint)
    if manifest is None or reason:
        earliest = max(span.earliest, target - max(policy.rebuild_max_records, policy.bootstrap_records))
        return _without_state(earliest, target, manifest, reason, policy)
    if committed > span.end:
        reason = "truncated"
    elif manifest.offset == committed:
        reason = "clean"
    else:
        is_long = 0 < policy.rebuild_max_records < committed - manifest.offset
        reason = "long_replay" if is_long else "replay"
    return Plan(manifest.offset, target, manifest.offset, drop_stored=False, reason=reason)


def _of_another_topic(span: Span, policy: RecoveryPolicy) -> Plan:
    """Plan without the state of a former topic; an offset that fits the new one was meant for it."""
    committed = span.committed
    if committed is None or not span.earliest <= committed <= span.end:
        return Plan(span.earliest, span.earliest, None, drop_stored=True, reason="recreated")
    before = policy.rebuild_max_records if policy.on_loss == "rebuild" else 0
    return Plan(max(span.earliest, committed - before), committed, None, drop_stored=True, reason="recreated")


def _without_offset(span: Span, manifest: Manifest | None, fingerprint: str, policy: RecoveryPolicy) -> Plan:
    """Plan for a group that has no offset: it is new, unless there is state, which always follows a commit."""
    until = span.earliest if policy.first == "earliest" else span.end
    start = max(span.earliest, until - policy.bootstrap_records)
    if manifest is None:
        return Plan(start, until, None, drop_stored=False, reason="bootstrap" if start < until else "first")
    is_usable = (
        _same(manifest.identity, span.identity)  # else an offset of a former topic might skip records of this one
        and manifest.fingerprint == fingerprint
        and manifest.is_whole
        and span.earliest <= manifest.offset <= span.end
    )
    if is_usable and policy.on_lost_offsets == "resume":
        return Plan(manifest.offset, manifest.offset, manifest.offset, drop_stored=False, reason="offsets_lost")
    return Plan(start, until, None, drop_stored=True, reason="offsets_lost")


def _what_is_wrong(span: Span, target: int, manifest: Manifest | None, fingerprint: str) -> str:
    """Return why stored state cannot be gone on from, "" when it can."""
    if manifest is None:
        return "no_state"
    if manifest.fingerprint != fingerprint:
        return "other_settings"
    if not manifest.is_whole:
        return "incomplete"
    if manifest.offset > target:
        return "moved_back" if span.committed == target else "truncated"
    return "state_expired" if manifest.offset < span.earliest else ""


def _without_state(
    rebuild_from: int, target: int, manifest: Manifest | None, reason: str, policy: RecoveryPolicy
) -> Plan:
    """Plan for state that is gone although records below `target` were committed."""
    if policy.on_loss == "halt":
        return Plan(target, target, None, drop_stored=False, reason=reason, is_halted=True)
    start = rebuild_from if policy.on_loss == "rebuild" else target
    return Plan(start, target, None, manifest is not None, reason)


def _same(one: str, other: str) -> bool:
    return one == other != ""


def _differ(one: str, other: str) -> bool:
    return "" not in {one, other} and one != other


@dataclass(slots=True)
class Progress:
    """Where one owned partition stands. Mutated by the engine's thread.

    Attributes:
        base: offset that the stored state reflects; None = nothing stored that counts.
        position: next offset to process: every record below has changed the state in memory.
        replay_until: outputs caused by records below are suppressed.
        committed: next offset to read according to the group; None = never committed.
        epoch, identity: go with every checkpoint; see `Stamp`.
        unread: stored keys that were not loaded so far. At 0 memory knows everything: a key it does not know is new,
            and if the store loses its data, it can be written anew.
        is_gone: the store has lost what was saved, and is not known to have it again: write it anew.
        form: of what is stored at `base`; None = nothing is.
        state: of the partition itself, after every record below `position`; None = nothing needs any.
    """

    base: int | None
    position: int
    replay_until: int
    committed: int | None
    epoch: int = 0
    identity: str = ""
    unread: int = 0
    is_gone: bool = False
    form: Form | None = None
    state: PartitionState | None = None

    @property
    def is_replaying(self) -> bool:
        """Whether state is still behind the committed offset."""
        return self.position < self.replay_until

    def stamp(self, fingerprint: str, layouts: tuple[str, ...] = ()) -> Stamp:
        """Return what goes with a checkpoint after which state of these layouts is stored."""
        own = b"" if self.state is None else self.state.pack()
        return Stamp(fingerprint, self.epoch, self.identity, own, layouts=layouts, relied_on=self.form)


class Partitions:
    """Progress of all owned partitions."""

    def __init__(self, *, keeps_state: bool = False) -> None:
        """Own nothing yet.

        Args:
            keeps_state: something is on that needs state of the partition itself.
        """
        self.keeps_state = keeps_state
        self._progress: dict[Partition, Progress] = {}

    def __contains__(self, partition: object) -> bool:
        """Whether the partition is owned and recovered."""
        return partition in self._progress

    def __getitem__(self, partition: Partition) -> Progress:
        """Return the progress of an owned partition."""
        return self._progress[partition]

    def __len__(self) -> int:
        """Partitions owned and recovered."""
        return len(self._progress)

    def items(self) -> list[tuple[Partition, Progress]]:
        """Return all, as a list so that the set may change meanwhile."""
        return list(self._progress.items())

    def take(self, partition: Partition, chosen: Plan, span: Span, manifest: Manifest | None) -> None:
        """Begin with a partition as planned from what was found; its own state begins anew where none can be read."""
        packed = b"" if manifest is None or chosen.base is None else manifest.partition_state
        self._progress[partition] = Progress(
            chosen.base,
            chosen.start,
            chosen.replay_until,
            span.committed,
            epoch=0 if manifest is None else manifest.epoch + 1,
            identity=span.identity,
            unread=0 if manifest is None or chosen.base is None else sum(manifest.counts),
            form=None if manifest is None or chosen.base is None else manifest.form,
            state=(PartitionState.unpack(packed) or PartitionState()) if self.keeps_state else None,
        )

    def drop(self, partition: Partition) -> None:
        """Forget a partition."""
        self._progress.pop(partition, None)

    def replaying(self) -> int:
        """Partitions still behind their committed offset."""
        return sum(progress.is_replaying for progress in self._progress.values())

    def is_suppressed(self, cause: Cause) -> bool:
        """Whether outputs of this record were published before, or the partition is not ours."""
        progress = self._progress.get(cause.partition)
        return progress is None or cause.offset < progress.replay_until

    def finished(self) -> dict[Partition, int]:
        """Return the offsets to commit: all records below are in the state in memory, and new since last time.

        A group that is new begins where its bootstrap ends, and says so before it has learnt anything: from then on a
        crash is that of any owner whose state lies behind the committed offset.
        """
        is_new = {at for at, progress in self._progress.items() if progress.committed is None and progress.is_replaying}
        return {at: self._progress[at].replay_until for at in is_new} | {
            partition: progress.position
            for partition, progress in self._progress.items()
            if not progress.is_replaying and progress.position != progress.committed
        }

    def commit(self, offsets: dict[Partition, int]) -> None:
        """Note that these offsets are committed."""
        for partition, offset in offsets.items():
            self._progress[partition].committed = offset
