"""Interleavings that the model check found, on the whole engine: nothing is lost, repeated, stuck or thrown away.

Each has a variant in `scripts.verify.model_check.protocols` that shows what happens without its guard.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from streamae.batches import Partition
from streamae.connectors.memory import MemorySource
from streamae.connectors.memory_store import MemoryStore
from streamae.connectors.protocols import Poll, Span, Stamp
from streamae.engine.partitions import Partitions, RecoveryPolicy
from streamae.engine.recovery import Recovery
from streamae.engine.store_waits import RETRY_MS
from streamae.errors import MembershipError, OutcomeUnknownError, RetryableError
from tests.engines import TOPIC, WINDOW, Rig, broker_with, ids, settings, stream
from tests.late import late

P0, P1 = Partition(TOPIC, 0), Partition(TOPIC, 1)
TURNS = 60


def golden() -> Rig:
    """Return the undisturbed run."""
    rig = Rig(broker_with(stream()))
    rig.run_dry()
    return rig


HAUNTED = [*stream(keys=5, rows=1, spikes=())[3:], *stream()]  # two keys are heard once


def restarted() -> Rig:
    """Return a second process, which has not loaded all that is stored: it cannot write lost state anew."""
    broker, store = broker_with(HAUNTED), MemoryStore()
    first = Rig(broker, store, max_poll_records=20)
    first.step(4)
    first.engine.drain(first.now_ms + 5)
    first.engine.close()
    rig = Rig(broker, store, max_poll_records=20)
    rig.step(4)
    return rig


def turn(rig: Rig, times: int = TURNS) -> None:
    """Take turns as the service does: a service that does not answer is no reason to stop."""
    for _ in range(times):
        try:
            rig.step()
        except RetryableError:
            continue


def finish(rig: Rig) -> None:
    """Take turns until all should be done, then save."""
    turn(rig)
    rig.engine.drain(rig.now_ms + 5)


class SilentGroup(MemorySource):
    """A source whose group does not answer some questions about its offsets."""

    silent_spans = 0

    def span(self, partition: Partition) -> Span:
        if self.silent_spans:
            self.silent_spans -= 1
            raise RetryableError("a transaction is open")
        return super().span(partition)


@pytest.mark.slow
@pytest.mark.parametrize("silent_spans", [1, 3])
@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_a_doubt_lasts_until_the_group_answers(point: str, silent_spans: int) -> None:
    """Whether a transaction was committed is asked again when nobody answers: sending on a guess would repeat it."""
    broker = broker_with(stream())
    source = SilentGroup(broker, "group", (TOPIC,), 40)
    rig = Rig(broker, parts={"source": source})
    for _ in range(TURNS):
        broker.fail_at(point, OutcomeUnknownError("no answer"))
        turn(rig, 1)
        source.silent_spans = silent_spans if rig.engine.status().commit_blocked else 0
        turn(rig, silent_spans + 2)
    finish(rig)
    assert ids(rig.events()) == ids(golden().events())
    assert rig.state() == golden().state()


@pytest.mark.parametrize(
    ("point", "error"),
    [
        ("before_commit", RetryableError("aborted")),
        ("before_commit", OutcomeUnknownError("no answer")),
        ("after_commit", OutcomeUnknownError("no answer")),
    ],
)
def test_a_commit_whose_partitions_were_all_taken_away_blocks_nothing(point: str, error: RetryableError) -> None:
    """A process that fails to commit and then loses everything goes on with what it is given next."""
    broker = broker_with(stream())
    source = MemorySource(broker, "group", (TOPIC,), 40)
    rig = Rig(broker, parts={"source": source})
    rig.step(3)
    broker.fail_at(point, error)
    with pytest.raises(type(error)):
        rig.step()
    broker.expel(source)
    finish(rig)
    assert rig.engine.status().commit_blocked is False
    assert ids(rig.events()) == ids(golden().events())
    assert rig.state() == golden().state()


@pytest.mark.parametrize("is_fresh", [True, False])
def test_a_key_lost_from_its_bucket_is_rebuilt_not_trusted_again(is_fresh: bool) -> None:
    """State that lost a key while its manifest stands is dropped and rebuilt, by a new owner or a living one."""
    broker, store = broker_with(stream()), MemoryStore()
    rig = Rig(broker, store)
    rig.step(4)
    for partition in (P0, P1):
        held = [key for owner, key in rig.state() if owner == partition]
        store.lose_keys(partition, held[:1])
    if is_fresh:
        rig.engine.close()
        rig = Rig(broker, store)
    finish(rig)
    assert rig.engine.source.lag() == {P0: 0, P1: 0}
    assert ids(rig.events()) == ids(golden().events())
    assert rig.state() == golden().state()


def test_records_polled_before_a_recovery_are_not_taken_for_what_follows_it() -> None:
    """Where recovery has to wait, the source goes on delivering from the former place; that is not the plan's."""
    rig, undisturbed = restarted(), Rig(broker_with(HAUNTED))
    undisturbed.run_dry()
    store = rig.store
    store.flush()
    store.fail_at("manifest", RetryableError("no answer"), times=4)
    finish(rig)
    assert store._waiting["manifest"] == []
    assert ids(rig.events()) == ids(undisturbed.events())
    assert rig.state() == undisturbed.state()


def test_a_partition_that_was_held_back_and_then_lost_its_state_is_read_again() -> None:
    """Reading stops after a failed commit; a partition that has to wait for its recovery just then goes on later."""
    rig, undisturbed = restarted(), Rig(broker_with(HAUNTED))
    undisturbed.run_dry()
    broker, store = rig.broker, rig.store
    broker.fail_at("before_commit", RetryableError("aborted"))
    turn(rig, 1)
    store.flush()
    store.fail_at("manifest", RetryableError("no answer"), times=3)
    finish(rig)
    assert store._waiting["manifest"] == []
    assert rig.engine.source.lag() == {P0: 0, P1: 0}
    assert ids(rig.events()) == ids(undisturbed.events())


def test_a_take_over_waits_for_the_transaction_under_way() -> None:
    """Offsets read while it runs are older than its outcome: what it publishes would be published again."""
    broker, store = broker_with(stream(), 1), MemoryStore()
    broker.create_topic("scores", 1)
    curve = {"scores_topic": "scores"}
    first = Rig(broker, store, settings(output=curve))
    first.step(4)
    first.engine.drain(first.now_ms + 5)
    first.engine.close()
    rarely = settings(output=curve, state={"checkpoint_interval_ms": 1_000})
    rig = Rig(broker, store, rarely, max_poll_records=1, parts={"run_in_background": late(lambda: 3)})
    rig.step(2)
    store.flush()
    turn(rig, 400)
    finish(rig)
    points = [record.value for record in broker.records("scores")]
    assert len(points) == len(set(points)) == 3 * (120 - WINDOW + 1)


class Overtaken(MemorySource):
    """A source whose process stops right after it asked for offsets, while the next owner commits and saves."""

    def __init__(self, *arguments: Any, store: MemoryStore) -> None:
        super().__init__(*arguments)
        self.store, self.broker = store, arguments[0]

    def span(self, partition: Partition) -> Span:
        found = super().span(partition)
        self.broker.set_committed("group", partition, 20)
        self.store.checkpoint(partition, 10, 20, Stamp("settings"), [(b"key", b"state")])
        return found


def test_a_zombie_that_takes_over_does_not_throw_its_successors_state_away() -> None:
    """Manifest first, offset second: state of a later owner must not look like an offset moved back."""
    broker, store = broker_with(stream()), MemoryStore()
    broker.set_committed("group", P0, 10)
    store.checkpoint(P0, None, 10, Stamp("settings"), [])
    source = Overtaken(broker, "group", (TOPIC,), store=store)
    source.poll(0)
    recovery = Recovery(source, store, "settings", RecoveryPolicy(rebuild_max_records=0))
    recovery.add([P0])
    recovery.start(Partitions(), 0)
    manifest = store.manifest(P0)
    assert manifest is not None
    assert manifest.offset == 20
    assert store.load(P0, [b"key"], 20) == [b"state"]


class TakenWhileReading(MemorySource):
    """A source that loses and wins back one partition while the engine waits for the store."""

    taken: Partition | None = None

    def poll(self, timeout_ms: int) -> Poll:
        if self.taken is None:
            return super().poll(timeout_ms)
        lost, self.taken = self.taken, None
        del self._positions[lost]
        poll = super().poll(timeout_ms)
        return Poll(poll.records, assigned=(lost,), revoked=(lost,))

    def start_at(self, partition: Partition, offset: int) -> None:
        if partition == self.taken:
            raise MembershipError("not owned")
        super().start_at(partition, offset)


class SlowStore(MemoryStore):
    """A store that does not answer once, while `source` loses a partition."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: tuple[TakenWhileReading, Partition] | None = None

    def load(self, partition: Partition, keys: Sequence[bytes], base: int | None) -> list[bytes | None] | None:
        if self.meanwhile is None:
            return super().load(partition, keys, base)
        (source, taken), self.meanwhile = self.meanwhile, None
        source.taken = taken
        raise RetryableError("no answer")


@pytest.mark.parametrize("taken", [P0, P1])
def test_records_are_read_again_even_if_another_partition_was_taken_away_meanwhile(taken: Partition) -> None:
    """A store that does not answer costs no record of any partition that is still owned."""
    broker, store = broker_with(stream()), SlowStore()
    first = Rig(broker, store)
    first.step(4)
    first.engine.drain(first.now_ms + 5)
    first.engine.close()
    source = TakenWhileReading(broker, "group", (TOPIC,), 400)
    rig = Rig(broker, store, parts={"source": source})
    store.meanwhile = source, taken
    rig.step(4)
    assert store.meanwhile is None
    rig.now_ms += RETRY_MS
    finish(rig)
    assert ids(rig.events()) == ids(golden().events())
    assert rig.state() == golden().state()
