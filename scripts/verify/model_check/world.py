"""What outlives a process: the log, the consumer group with its transactions, the store, and what was published.

Must not know: how a worker works. It counts what the world sees and says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from streamae.batches import Partition
from streamae.connectors.buckets import bucket_of
from streamae.connectors.memory_store import MemoryStore
from streamae.connectors.protocols import Message, Span
from streamae.errors import MembershipError, OutcomeUnknownError, RetryableError

PARTITION = Partition("input", 0)
FINGERPRINT, IDENTITY = "settings", "cluster/topic"


def keys() -> tuple[bytes, ...]:
    """Return four keys, of which the first two share a bucket of the store."""
    shares = next(key for key in map(b"%d".__mod__, count()) if bucket_of(key) == bucket_of(b"a"))
    return b"a", shares, b"b", b"c"


KEYS = keys()


@dataclass(slots=True)
class Group:
    """The consumer group of one partition.

    Attributes:
        generation: counts changes of membership.
        claim: counts changes of ownership; the same owner may lose and win the partition back.
        owner: number of the worker that owns the partition.
        committed: next offset to read.
        pending: messages and offset of a transaction that was sent and is not decided yet.
    """

    generation: int = 1
    claim: int = 1
    owner: int = 0
    committed: int | None = None
    pending: tuple[Sequence[Message], int] | None = None


class World:
    """One partition's surroundings. `choose(n)` in [0, n) makes every decision, so a schedule can be repeated."""

    def __init__(self, log: list[bytes], store: MemoryStore, choose: Callable[[int], int], *, is_fenced: bool) -> None:
        """Begin.

        Args:
            log: key of each record; its offset is its place.
            store: state store, real rules.
            choose: where chance comes from.
            is_fenced: whether a commit needs a current generation (hazard H1 when not).
        """
        self.log, self.store, self.choose, self.is_fenced = log, store, choose, is_fenced
        self.group = Group()
        self.fails = False  # whether transactions fail now and then
        self.published: list[Message] = []
        self.again: list[int] = [0] * 64  # how often an operator asked for each offset again
        self.forgotten: int | None = None  # the committed offset that the group has lost
        self.trace: list[str] | None = None

    def note(self, line: str) -> None:
        """Write the schedule down, if somebody wants to read it."""
        if self.trace is not None:
            self.trace.append(line)

    def span(self) -> Span:
        """Return the group's offsets; as a broker does, only when no transaction on them is open."""
        if self.group.pending is not None:
            raise RetryableError("a transaction is open")
        return Span(self.group.committed, 0, len(self.log), IDENTITY)

    def commit(self, worker: int, generation: int, messages: Sequence[Message], offsets: dict[Partition, int]) -> None:
        """Publish messages with their offset at once, or not, or leave it open which.

        Raises:
            MembershipError: not a current member.
            RetryableError: did not happen.
            OutcomeUnknownError: nobody can say.
        """
        group = self.group
        if self.is_fenced and (generation != group.generation or worker != group.owner):
            raise MembershipError("fenced")
        fate = self.choose(12) if self.fails else 11
        if fate == 0:
            raise RetryableError("aborted")
        if fate == 1:
            raise OutcomeUnknownError("did not happen")
        offset = offsets.get(PARTITION, group.committed or 0)
        if fate == 2:
            group.pending = list(messages), offset
            raise OutcomeUnknownError("is open")
        self._publish(messages, offset)
        if fate == 3:
            raise OutcomeUnknownError("happened")

    def decide(self) -> None:
        """End the open transaction, one way or the other."""
        if self.group.pending is not None:
            if self.choose(2):
                self._publish(*self.group.pending)
            self.group.pending = None

    def rebalance(self, owner: int, *, is_kept: bool = False) -> None:
        """Give the partition to `owner`; `is_kept`: to the same one, who need not notice a loss."""
        self.note(f"partition {'stays with' if is_kept else 'goes to'} {owner}")
        self.group.generation += 1
        if not is_kept or owner != self.group.owner:
            self.group.claim += 1
            self.group.owner = owner

    def move_back(self, offset: int) -> None:
        """Set the committed offset back, as an operator does with a group that has no members."""
        self.decide()
        committed = self.group.committed or 0
        if offset < committed:
            self.note(f"committed offset moves back from {committed} to {offset}")
            for asked in range(offset, committed):
                self.again[asked] += 1
            self.group.committed = offset
            self.rebalance(self.group.owner)

    def lose_offset(self) -> None:
        """Lose the committed offset, as a group without members does after a while."""
        self.decide()
        if self.group.committed is not None:
            self.note(f"committed offset {self.group.committed} is lost")
            self.forgotten, self.group.committed = self.group.committed, None
            self.rebalance(self.group.owner)

    def is_true(self, key: bytes, state: bytes, end: int) -> bool:
        """Tell whether `state` is what every record of `key` below `end` makes, in order, once."""
        return state == bytes([offset for offset in range(end) if self.log[offset] == key])

    def has_wrong_outputs(self) -> bool:
        """Tell whether a record's output was lost or published once too often."""
        times = [0] * len(self.log)
        for message in self.published:
            times[message.cause.offset] += 1
        return any(found != 1 + self.again[offset] for offset, found in enumerate(times))

    def has_wrong_verdicts(self) -> bool:
        """Tell whether an output was published that came from a wrong state."""
        return any(not self.is_true(m.key or b"", m.value or b"", m.cause.offset + 1) for m in self.published)

    def _publish(self, messages: Sequence[Message], offset: int) -> None:
        if self.group.committed is None and self.forgotten is not None:
            start = (
                messages[0].cause.offset if messages else offset
            )  # where its owner went on: from there on all is new
            for asked in range(start, self.forgotten):
                self.again[asked] += 1
            for asked in range(self.forgotten, start):  # an operator's wish that was lost with the offset
                self.again[asked] -= self.again[asked] > 0
            self.forgotten = None
        self.published += messages
        self.group.committed = offset
        if self.trace is not None:
            self.note(f"    committed {offset} with outputs {[message.cause.offset for message in messages]}")
