"""One process: the order of steps of `engine.engine`, on the real plan, progress, outbox and store.

A worker is a generator that stops wherever another process or a fault may come in between: at every call that
leaves the process. What it knows is lost with it. The state of a key is the list of offsets it absorbed, so that
every record lost or counted twice stays visible.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace

from scripts.verify.model_check.world import FINGERPRINT, PARTITION, World
from streamae.batches import Cause, Partition
from streamae.connectors.protocols import Manifest, Message, Outcome, Span
from streamae.engine.outbox import Outbox
from streamae.engine.partitions import Partitions, Plan, RecoveryPolicy, plan
from streamae.errors import OutcomeUnknownError, RetryableError

BATCH = 4


@dataclass(slots=True)
class Flight:
    """A transaction that runs beside its process: it ends when the world lets it, or when somebody waits for it."""

    messages: tuple[Message, ...]
    offsets: dict[Partition, int]
    generation: int
    has_landed: bool = False
    error: RetryableError | None = None
    is_doubtful: bool = False


class Worker:
    """The protocol as built; `protocols` overrides single decisions."""

    reads_span_first = False  # of the two reads of a take-over
    checks_buckets = True  # does not go on from stored state that is incomplete
    counts_unread = True  # writes the store anew only if it knows every key that was stored
    unblocks = True  # goes on when what could not be committed was taken away
    keeps_doubts = True  # asks until it is answered
    settles_to_save = True  # knows how its transaction ended before it saves state
    mixes_polls = False  # takes what was polled before a recovery for what comes after it

    def __init__(self, world: World, number: int, policy: RecoveryPolicy) -> None:
        """Start a process that owns nothing."""
        self.world, self.number, self.policy = world, number, policy
        self.partitions = Partitions()
        self.outbox = Outbox(self.partitions.is_suppressed)
        self.states: dict[bytes, bytes] = {}
        self.dirty: dict[bytes, None] = {}  # an ordered set
        self.generation, self.claim = 0, 0
        self.is_owner = self.is_waiting = self.is_blocked = self.is_polling = False
        self.flight: Flight | None = None
        self.cursor: int | None = None  # where the source reads on, also while a recovery waits
        self.turns = self._run()

    def move(self) -> None:
        """Go on to the next point where others may come in between."""
        if not self.world.choose(8):
            self._land()
        next(self.turns)

    def is_done(self) -> bool:
        """Tell whether every record is processed, committed and saved."""
        end = len(self.world.log)
        if PARTITION not in self.partitions or self.world.group.committed != end:
            return False
        progress = self.partitions[PARTITION]
        return progress.position == end and progress.base == end

    def _run(self) -> Iterator[None]:
        while True:
            self.is_polling = True
            yield
            self.is_polling = False
            try:
                yield from self._step()
            except RetryableError as error:
                self.world.note(f"    {self.number} tries again: {error}")

    def _step(self) -> Iterator[None]:
        """Mirror `Engine.step`."""
        if self.flight is not None and self.flight.has_landed and not self.flight.is_doubtful:
            yield from self._settle()
        self._follow()
        was_running = PARTITION in self.partitions
        start, stop = self._poll()
        yield from self._start()
        if start < stop and PARTITION in self.partitions and (was_running or self.mixes_polls):
            yield
            try:
                is_sound = yield from self._admit({self.world.log[offset] for offset in range(start, stop)})
            except RetryableError:
                self.cursor = start
                raise
            if is_sound:
                self._absorb(start, stop)
            else:
                self._lose()
                yield from self._start()
        if self.is_blocked or self.world.choose(3):
            yield from self._commit()

    def _follow(self) -> None:
        """Mirror `Engine._follow`: learn of the group's changes."""
        group = self.world.group
        self.generation = group.generation
        is_owner = group.owner == self.number
        if is_owner != self.is_owner or self.claim != group.claim:
            self._forget()
            self.is_waiting, self.cursor = is_owner, None
        self.is_owner, self.claim = is_owner, group.claim

    def _poll(self) -> tuple[int, int]:
        """Return the range of offsets the source delivers; nothing while a commit is outstanding."""
        if self.cursor is None or self.is_blocked:
            return 0, 0
        start = self.cursor
        self.cursor = min(start + 1 + self.world.choose(BATCH), len(self.world.log))
        return start, self.cursor

    def _forget(self) -> None:
        self.states, self.dirty = {}, {}
        self.outbox.drop(PARTITION)
        self.partitions.drop(PARTITION)

    def _lose(self) -> None:
        """Begin again: what is stored is not what we rely on."""
        self.world.note(f"    {self.number} finds its base {self.partitions[PARTITION].base} gone")
        self._forget()
        self.is_waiting = True

    def _start(self) -> Iterator[None]:
        """Mirror `Recovery.start`."""
        if self.is_waiting:
            try:
                yield from self._settle()
            except RetryableError as error:
                self.world.note(f"    {self.number} cannot start yet: {error}")
        if not self.is_waiting or self.is_blocked:
            return
        try:
            store = self.world.store
            yield
            if self.reads_span_first:
                span = self.world.span()
                yield
                manifest = store.manifest(PARTITION)
            else:
                manifest = store.manifest(PARTITION)  # both only grow: a later owner's must not look moved back
                yield
                span = self.world.span()
            chosen = self._plan(span, manifest)
            if chosen.drop_stored and manifest is not None:
                yield
                if not store.drop(PARTITION, manifest.offset):
                    raise RetryableError("stored state has changed hands")
        except RetryableError as error:
            self.world.note(f"    {self.number} cannot start: {error}")
            return
        self.world.note(f"    {self.number} starts: {chosen}")
        self.partitions.take(PARTITION, chosen, span, manifest)
        self.is_waiting, self.cursor = False, chosen.start

    def _plan(self, span: Span, manifest: Manifest | None) -> Plan:
        if manifest is not None and not self.checks_buckets:
            manifest = replace(manifest, is_whole=True)
        return plan(span, manifest, FINGERPRINT, self.policy)

    def _admit(self, keys: set[bytes]) -> Generator[None, None, bool]:
        """Mirror `KeyStates.admit`: bring unknown keys in; False when the store holds something else."""
        unknown, progress = sorted(keys - self.states.keys()), self.partitions[PARTITION]
        if progress.unread and unknown:
            found = self.world.store.load(PARTITION, unknown, progress.base)
            if found is None:
                return False
            loaded = {key: state for key, state in zip(unknown, found, strict=True) if state is not None}
            self.states.update(loaded)
            progress.unread -= len(loaded)
        yield from ()
        return True

    def _absorb(self, start: int, stop: int) -> None:
        for offset in range(start, stop):
            key = self.world.log[offset]
            self.states[key] = state = self.states.get(key, b"") + bytes((offset,))
            self.dirty[key] = None
            self.outbox.add([Message("output", key, state, (), Cause(PARTITION, offset))])
        self.partitions[PARTITION].position = stop
        self.world.note(f"    {self.number} processed {start}..{stop - 1}")

    def _commit(self) -> Iterator[None]:
        """Mirror `Engine.commit`."""
        yield from self._settle()
        yield
        self._begin()
        if self.is_blocked:
            yield from self._settle()
        if self.world.choose(2):
            if self.settles_to_save:
                yield from self._settle()
            yield from self._save()

    def _begin(self) -> None:
        """Mirror `Publisher.start`."""
        if self.flight is not None:
            return
        offsets = self.partitions.finished()
        if offsets or self.outbox.waiting:
            self.flight = Flight(self.outbox.take(), offsets, self.generation)
        elif self.unblocks:
            self.is_blocked = False

    def _land(self) -> None:
        """Let the transaction under way end, if it has not."""
        flight = self.flight
        if flight is None or flight.has_landed:
            return
        flight.has_landed = True
        try:
            self.world.commit(self.number, flight.generation, flight.messages, flight.offsets)
        except RetryableError as error:
            flight.error = error

    def _settle(self) -> Iterator[None]:
        """Mirror `Publisher.settle`."""
        flight = self.flight
        if flight is None:
            return
        if flight.is_doubtful:
            was_committed = self._was_committed(flight)
        else:
            yield
            self._land()
            if isinstance(flight.error, OutcomeUnknownError):
                self.is_blocked = flight.is_doubtful = True
                raise flight.error
            was_committed = flight.error is None
        self.flight = None
        if was_committed:
            self.outbox.delivered()
            self.partitions.commit({at: offset for at, offset in flight.offsets.items() if at in self.partitions})
            self.is_blocked = False
        else:
            self.outbox.failed()
            self.is_blocked = True
        if flight.error is not None and not flight.is_doubtful:
            raise flight.error

    def _was_committed(self, flight: Flight) -> bool:
        """Mirror `Publisher._was_committed`; as long as nobody answers, the question stays."""
        ours = {at: offset for at, offset in flight.offsets.items() if at in self.partitions}
        try:
            return bool(ours) and self.world.span().committed in ours.values()
        except RetryableError:
            if not self.keeps_doubts:
                return False
            raise

    def _save(self) -> Iterator[None]:
        """Mirror `Checkpointer.save`."""
        if PARTITION not in self.partitions or self.partitions[PARTITION].position == self.partitions[PARTITION].base:
            return
        yield
        outcome = self._checkpoint(self.dirty, whole=False)
        if outcome is Outcome.ROLLED_BACK and not (self.partitions[PARTITION].unread and self.counts_unread):
            yield
            outcome = self._checkpoint(self.states, whole=True)
        if outcome is not Outcome.OK:
            self._lose()
            yield from self._start()

    def _checkpoint(self, keys: Iterable[bytes], *, whole: bool) -> Outcome:
        """Mirror `Checkpointer._call`."""
        progress, store = self.partitions[PARTITION], self.world.store
        records, stamp = [(key, self.states[key]) for key in keys], progress.stamp(FINGERPRINT)
        outcome = store.checkpoint(PARTITION, progress.base, progress.position, stamp, records, whole=whole)
        self.world.note(f"    {self.number} saves {progress.base} -> {progress.position}, {whole=}: {outcome}")
        if outcome is Outcome.OK:
            progress.base, self.dirty = progress.position, {}
        return outcome
