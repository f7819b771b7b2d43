"""The edges of streamae: where records come from and how they are read, where messages go, where key state survives.

Every source, sink and store passes the same contract tests (tests/connectors/test_*_contract.py), so the engine
never knows which one it has. Nothing here imports a client library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from streamae.batches import Cause, Partition, RawRecord, RecordBatch, Rejected


@dataclass(frozen=True, slots=True)
class Poll:
    """What one `Source.poll` brought. Ownership changes come before the records.

    Attributes:
        records: by partition, in offset order; only partitions owned now.
        assigned: partitions newly owned; no record of them is delivered before `Source.start_at`.
        revoked: partitions no longer owned, handed over or lost; anything uncommitted of them must go.
    """

    records: dict[Partition, Sequence[RawRecord]] = field(default_factory=dict)
    assigned: tuple[Partition, ...] = ()
    revoked: tuple[Partition, ...] = ()


class Span(NamedTuple):
    """Offsets of a partition: committed by the group (None = never), and kept by the broker [earliest, end).

    `identity` names the very topic they are offsets of, "<cluster id>/<topic id>": a topic deleted and created again
    under its name has another one. "" = the connector cannot know.
    """

    committed: int | None
    earliest: int
    end: int
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One output message.

    Attributes:
        topic: destination topic.
        key, value: bytes, None allowed as in Kafka.
        headers: in order, repeated names allowed; values are bytes or None.
        cause: input record that caused it.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    cause: Cause


class Source(Protocol):
    """Delivers records of the partitions it is given. Not thread-safe: one thread polls and commits."""

    def poll(self, timeout_ms: int) -> Poll:
        """Wait at most `timeout_ms` for records or ownership changes; keeps the group membership alive.

        A partition both revoked and assigned was lost and won back, or stood at an offset the broker no longer
        keeps: forget it, then plan it anew with `span` and `start_at`.

        Raises:
            RetryableError: the broker cannot be reached; positions are unchanged.
            FatalError: another process has taken over this member's identity.
        """
        ...

    def span(self, partition: Partition) -> Span:
        """Return committed and kept offsets; waits out another owner's open transaction.

        Raises:
            RetryableError: no answer in time.
        """
        ...

    def start_at(self, partition: Partition, offset: int) -> None:
        """Deliver `partition` from `offset` on; also used to read again after a failed step.

        Does not lift a `pause`.

        Raises:
            MembershipError: the partition is not owned (any more).
        """
        ...

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop delivering these partitions while staying their owner."""
        ...

    def resume(self, partitions: Sequence[Partition]) -> None: ...

    def lag(self) -> dict[Partition, int]:
        """Return records between position and end for each owned partition, from what is known locally."""
        ...

    def membership(self) -> Any:
        """Return proof of group membership for `Transaction.send_offsets`.

        Raises:
            MembershipError: not a stable member now (hazard H1: such a proof would pass the broker unchecked).
        """
        ...

    def close(self) -> None:
        """Leave the group and release connections; idempotent; never commits."""
        ...


class Reading(Protocol):
    """Turns what a source delivers into rows of features: the only place that knows a foreign format."""

    def decode(self, records: dict[Partition, Sequence[RawRecord]]) -> tuple[RecordBatch, list[Rejected]]:
        """Return all records that can be used, in the order given, and those that cannot, each with a reason."""
        ...


@runtime_checkable
class Finite(Protocol):
    """A source whose input has an end, beside being a `Source`."""

    @property
    def is_finished(self) -> bool:
        """Whether everything was delivered."""
        ...


class Transaction(Protocol):
    """Messages and input offsets that become visible together or not at all."""

    def send(self, messages: Sequence[Message]) -> None: ...

    def send_offsets(self, offsets: dict[Partition, int], membership: Any) -> None:
        """Add the next offset to read of each partition, fenced by `membership`."""
        ...


class Sink(Protocol):
    """Publishes messages atomically with input offsets."""

    @property
    def is_thread_bound(self) -> bool:
        """Whether a transaction must run in the thread that polls the source, because it uses the source's client."""
        ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Commit on normal exit of the block, abort when it raises.

        Raises:
            RetryableError: the outcome is "not committed"; the same messages may be sent again.
            MembershipError: likewise; `send_offsets` came from a member that is no longer current.
            OutcomeUnknownError: the commit was asked for and not answered; see there.
            FatalError: this process was fenced; nothing more may be sent from here.
        """
        ...

    def close(self) -> None: ...


class Form(NamedTuple):
    """What stored state means, and how it is packed.

    Attributes:
        fingerprint: digest of what the state's meaning depends on: bundle, stride, grid, missing-value policies.
        layouts: in words, of each packed form that a stored value may have; () = the release that stored them did not
            write them down.
    """

    fingerprint: str
    layouts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stamp:
    """Whose state a checkpoint saves.

    Attributes:
        fingerprint, layouts: the form of what is stored once it is saved; see `Form`.
        epoch: counts take-overs: one more than that of the stored state the owner found, 0 if it found none.
            Only a hint, which sends a former owner away early; what decides is the offset.
        identity: `Span.identity` of the topic, "" = unknown.
        partition_state: packed state of the partition itself, beside that of its keys, saved and read with the
            manifest; see `engine.partition_state`, empty where nothing needs it.
        relied_on: the form of what is stored as the caller knows it; None = the same form.
    """

    fingerprint: str
    epoch: int = 0
    identity: str = ""
    partition_state: bytes = b""
    layouts: tuple[str, ...] = ()
    relied_on: Form | None = None

    @property
    def form(self) -> Form:
        """The form of what is stored once this is saved."""
        return Form(self.fingerprint, self.layouts)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the stored state of one partition reflects; `connectors.buckets` says which bucket a key is in.

    Attributes:
        offset: the state is exactly the state after every record below this offset.
        fingerprint, epoch, identity, partition_state, layouts: see `Stamp`.
        counts: number of keys in each of the buckets.
        is_whole: whether every bucket held so many keys, and entries of the roster, when this was read.
        roster_counts: number of entries of the roster in each of the buckets; () = there is none.
    """

    offset: int
    fingerprint: str
    counts: tuple[int, ...]
    epoch: int = 0
    identity: str = ""
    is_whole: bool = True
    partition_state: bytes = b""
    roster_counts: tuple[int, ...] = ()
    layouts: tuple[str, ...] = ()

    @property
    def form(self) -> Form:
        """The form of what is stored."""
        return Form(self.fingerprint, self.layouts)


class Outcome(StrEnum):
    """Answer to `StateStore.checkpoint`."""

    OK = "ok"
    STALE = "stale"  # another owner has stored a later offset, or took over after us: drop the partition
    ROLLED_BACK = "rolled_back"  # the store lost writes we rely on: save the whole state, or recover by replay


class StateStore(Protocol):
    """Packed key state of each partition with a manifest, moved forward by compare-and-set on the offset.

    Beside the keys' states stands the roster: small entries by key, which are read all at once.
    """

    def manifest(self, partition: Partition) -> Manifest | None:
        """Return the manifest, None when there is none.

        Raises:
            RetryableError: the store cannot be reached.
        """
        ...

    def load(self, partition: Partition, keys: Sequence[bytes], base: int | None) -> list[bytes | None] | None:
        """Return the packed state of each key (None = unknown key), checked against the manifest atomically.

        Args:
            base: manifest offset the caller relies on; None = the caller believes there is no manifest.

        Returns:
            One entry a key, or None when the manifest is no longer at `base` or a bucket lost keys: nothing
            read may be used, drop the partition and recover.
        """
        ...

    def roster(self, partition: Partition, base: int | None) -> list[tuple[bytes, bytes]] | None:
        """Return all entries of the roster as key and entry, in no order, checked against the manifest.

        Read in several calls where there are many; each is checked.

        Args:
            base: manifest offset the caller relies on; None = the caller believes there is no manifest.

        Returns:
            The entries, or None when the manifest is no longer at `base` or a bucket lost entries: nothing read
            may be used, drop the partition and recover.

        Raises:
            RetryableError: the store cannot be reached.
        """
        ...

    def states(self, partition: Partition, base: int) -> Iterator[Sequence[tuple[bytes, bytes]]]:
        """Yield all keys with their packed state, in portions and no order, each checked against the manifest.

        Args:
            base: manifest offset the caller relies on.

        Raises:
            RetryableError: the store cannot be reached, or the manifest is no longer at `base`, or a bucket lost keys:
                nothing read may be used, look at the manifest again.
        """
        ...

    def checkpoint(
        self,
        partition: Partition,
        base: int | None,
        new: int,
        stamp: Stamp,
        records: Sequence[tuple[bytes, bytes]],
        deleted: Sequence[bytes] = (),
        *,
        roster: Sequence[tuple[bytes, bytes]] = (),
        off_roster: Sequence[bytes] = (),
        whole: bool = False,
    ) -> Outcome:
        """Save changed keys and move the manifest from `base` to `new` in one atomic step.

        `records` and `deleted` are states of keys, `roster` and `off_roster` entries of the roster in the same way; a
        key may have one without the other. A key is in one of a pair only.

        Accepted only if `base <= stored offset < new` and no touched bucket lost keys or entries; with `base=None` only
        if there is no manifest, and then whatever stood there before is replaced. With `whole` records and roster are
        the entire state: accepted if there is no manifest or `stored offset < new`, and whatever stood there is replaced.
        Never accepted over a form that is neither the stamp's nor the one it relies on (of a `whole` state the
        fingerprint is enough), another known identity or a higher epoch.

        Repeating an accepted call (its answer was lost) is answered `OK` again.

        Raises:
            RetryableError: no answer in time; the call may or may not have been carried out.
        """
        ...

    def drop(self, partition: Partition, at: int | None = None) -> bool:
        """Delete manifest, state and roster of a partition about to be rebuilt, in one atomic step; idempotent.

        Args:
            at: offset at which the caller has seen the manifest; None = wherever it stands.

        Returns:
            False, with nothing deleted, when the manifest stands elsewhere by now: another owner was faster.

        Raises:
            RetryableError: no answer in time; the call may or may not have been carried out.
        """
        ...

    def close(self) -> None: ...
