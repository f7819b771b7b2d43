"""The switches of the twins in memory: what they promise to crash tests beyond the contracts."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamae.batches import Partition
from streamae.connectors.buckets import BUCKETS, bucket_of, digest_of_call
from streamae.connectors.memory import MemoryBroker, MemorySink, MemorySource, MemoryStore
from streamae.connectors.protocols import Outcome, Stamp
from streamae.errors import MembershipError, RetryableError
from tests.connectors.streams import Reader, commit, message

HERE = Partition("in", 0)


class CrashError(BaseException):
    """The process is gone: not even `except Exception` sees it."""


@pytest.fixture
def broker() -> MemoryBroker:
    """A broker with one partition a topic."""
    return MemoryBroker()


def reader(broker: MemoryBroker, group: str = "group") -> Reader:
    """Return a reader that has joined."""
    opened = Reader(MemorySource(broker, group, ["in"]))
    opened.poll()
    return opened


# Crashes.


@pytest.mark.parametrize(
    ("point", "is_visible"),
    [("before_begin", False), ("after_send", False), ("before_commit", False), ("after_commit", True)],
)
def test_a_crash_leaves_all_or_nothing(broker: MemoryBroker, point: str, is_visible: bool) -> None:
    """Crash tests rely on knowing, for each point, what the world looks like afterwards."""
    owner = reader(broker)
    broker.fail_at(point, CrashError())
    with pytest.raises(CrashError):
        commit(MemorySink(broker), [message("out", b"1")], {HERE: 7}, owner.source.membership())
    assert [record.value for record in broker.records("out")] == ([b"1"] if is_visible else [])
    assert broker.committed("group", HERE) == (7 if is_visible else None)


def test_a_failure_happens_as_often_as_asked(broker: MemoryBroker) -> None:
    """An outage of two attempts is over at the third, without anyone cleaning up."""
    broker.fail_at("before_commit", RetryableError("away"), times=2)
    sink = MemorySink(broker)
    for _ in range(2):
        with pytest.raises(RetryableError):
            commit(sink, [message("out", b"1")])
    commit(sink, [message("out", b"1")])
    assert len(broker.records("out")) == 1


def test_a_failed_poll_changes_no_position(broker: MemoryBroker) -> None:
    """An unreachable broker costs time, not records."""
    owner = reader(broker)
    broker.produce("in", b"k", b"1")
    broker.fail_at("poll", RetryableError("away"))
    with pytest.raises(RetryableError):
        owner.poll()
    assert owner.poll_until_values(1) == [b"1"]


@pytest.mark.parametrize("switched", [MemoryBroker(), MemoryStore()])
def test_an_unknown_point_is_refused(switched: MemoryBroker | MemoryStore) -> None:
    """A crash test with a typing error would pass for ever."""
    with pytest.raises(ValueError, match="before_comit"):
        switched.fail_at("before_comit", CrashError())


# Delays.


def test_held_polls_bring_ownership_but_no_records(broker: MemoryBroker) -> None:
    """A slow broker is simulated without waiting."""
    broker.produce("in", b"k", b"1")
    broker.delay_polls(3)
    owner = reader(broker)
    for _ in range(2):
        owner.poll()
    assert (owner.owned, owner.values) == ({HERE}, [])
    owner.poll()
    assert owner.values == [b"1"]


def test_nothing_waits(broker: MemoryBroker) -> None:
    """A poll with a long timeout returns at once: tests move the clock, not the other way round."""
    started_s = time.monotonic()
    MemorySource(broker, "group", ["in"]).poll(60_000)
    assert time.monotonic() - started_s < 1.0


# Topics and groups.


def test_keys_decide_the_partition_and_callers_may_overrule(broker: MemoryBroker) -> None:
    """A key stays in its partition, as with Kafka; tests may place records themselves."""
    broker.create_topic("in", 4)
    assert len({broker.produce("in", b"key", b"v").partition for _ in range(5)}) == 1
    assert len({broker.produce("in", b"%d" % number, b"v").partition for number in range(50)}) == 4
    assert broker.produce("in", b"key", b"v", partition=3).partition == 3
    assert [record.partition for record in broker.records("in", 3)] == [3] * len(broker.records("in", 3))


def test_records_keep_time_and_headers(broker: MemoryBroker) -> None:
    """The codec reads them as from Kafka."""
    record = broker.produce("in", None, b"v", timestamp=5, headers=[("a", None)])
    assert (record.timestamp, record.headers, record.key, record.offset) == (5, [("a", None)], None, 0)


def test_a_grown_topic_is_shared_again(broker: MemoryBroker) -> None:
    """Partitions added while running get an owner."""
    owner = reader(broker)
    broker.create_topic("in", 3)
    owner.poll()
    assert len(owner.owned) == 3


def test_an_output_topic_does_not_disturb_groups(broker: MemoryBroker) -> None:
    """Only topics a group reads are its business."""
    owner = reader(broker)
    broker.create_topic("out", 3)
    assert owner.source.membership()


def test_operators_may_reset_a_group(broker: MemoryBroker) -> None:
    """Committed offsets go back, forward or away under a running or stopped group."""
    owner = reader(broker)
    broker.produce("in", b"k", b"v")
    broker.set_committed("group", HERE, 40)
    assert owner.source.span(HERE)[:3] == (40, 0, 1)
    broker.set_committed("group", HERE, None)
    assert owner.source.span(HERE).committed is None


def test_groups_do_not_disturb_each_other(broker: MemoryBroker) -> None:
    """Every group reads everything, at its own pace."""
    first, second = reader(broker, "one"), reader(broker, "two")
    assert first.owned == second.owned == {HERE}
    commit(MemorySink(broker), [], {HERE: 3}, first.source.membership())
    assert (broker.committed("one", HERE), broker.committed("two", HERE)) == (3, None)


def test_a_zombie_does_not_know_it_until_it_polls(broker: MemoryBroker) -> None:
    """What a paused process does on waking up is the point of half the crash tests."""
    zombie = reader(broker)
    proof = zombie.source.membership()
    broker.expel(zombie.source)  # type: ignore[arg-type]
    successor = reader(broker)
    assert zombie.owned == successor.owned == {HERE}
    with pytest.raises(MembershipError):
        commit(MemorySink(broker), [message("out", b"zombie")], {HERE: 1}, proof)
    assert broker.records("out") == []


def test_a_partition_that_went_and_came_back_between_two_polls_was_lost(broker: MemoryBroker) -> None:
    """What another member did with it meanwhile must not be missed: it is lost and won back, not kept."""
    broker.create_topic("in", 2)
    sleeper = reader(broker)
    assert len(sleeper.owned) == 2
    other = reader(broker)
    (moved,) = other.owned
    other.source.close()
    sleeper.poll()
    assert len(sleeper.owned) == 2
    assert sleeper.revoked == [moved]
    assert sleeper.assigned[2:] == [moved]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["join", "leave", "expel", "poll", "grow"]), max_size=25), st.randoms())
def test_no_schedule_gives_a_partition_to_two_stable_members(steps: list[str], rng: object) -> None:
    """Whatever happens in whatever order: stable members own disjoint parts, and once all polled, everything."""
    broker = MemoryBroker(partitions=2)
    sources: list[Reader] = []
    choose: Callable[[list[Reader]], Reader] = rng.choice  # type: ignore[attr-defined]
    for step in steps:
        if step == "join":
            sources.append(Reader(MemorySource(broker, "group", ["in"])))
        elif step == "grow":
            broker.create_topic("in", len(broker.logs("in")) + 1)
        elif sources:
            chosen = choose(sources)
            if step == "leave":
                chosen.source.close()
                sources.remove(chosen)
            elif step == "expel":
                broker.expel(chosen.source)  # type: ignore[arg-type]
            else:
                chosen.poll()
        stable = [each.owned for each in sources if is_stable_member(each)]
        assert sum(map(len, stable)) == len(set().union(*stable))
    for _ in range(len(sources) + 1):
        for each in sources:
            each.poll()
    shares = [len(each.owned) for each in sources]
    assert not sources or (sum(shares) == len(broker.logs("in")) and max(shares) - min(shares) <= 1)


def is_stable_member(member: Reader) -> bool:
    """Whether it can prove membership."""
    try:
        member.source.membership()
    except MembershipError:
        return False
    return True


# Store.


def test_a_checkpoint_can_fail_before_and_after(broker: MemoryBroker) -> None:
    """The two halves of a lost answer: it was not carried out, or it was."""
    store = MemoryStore()
    store.fail_at("before_checkpoint", RetryableError("away"))
    with pytest.raises(RetryableError):
        store.checkpoint(HERE, None, 10, Stamp("fp"), [(b"a", b"1")])
    assert store.manifest(HERE) is None
    store.fail_at("after_checkpoint", RetryableError("no answer"))
    with pytest.raises(RetryableError):
        store.checkpoint(HERE, None, 10, Stamp("fp"), [(b"a", b"1")])
    assert store.checkpoint(HERE, None, 10, Stamp("fp"), [(b"a", b"1")]) is Outcome.OK
    assert store.load(HERE, [b"a"], 10) == [b"1"]


@pytest.mark.parametrize("point", ["manifest", "load", "drop"])
def test_every_call_to_the_store_can_fail(point: str) -> None:
    """Recovery meets an unreachable store at each of its steps."""
    store = MemoryStore()
    calls: dict[str, Callable[[], object]] = {
        "manifest": lambda: store.manifest(HERE),
        "load": lambda: store.load(HERE, [b"a"], None),
        "drop": lambda: store.drop(HERE),
    }
    store.fail_at(point, RetryableError("away"))
    with pytest.raises(RetryableError):
        calls[point]()
    calls[point]()


def test_a_restored_snapshot_is_independent(broker: MemoryBroker) -> None:
    """A fail-over can be played twice from the same snapshot."""
    store = MemoryStore()
    store.checkpoint(HERE, None, 10, Stamp("fp"), [(b"a", b"1")])
    snapshot = store.snapshot()
    for _ in range(2):
        store.checkpoint(HERE, 10, 20, Stamp("fp"), [(b"a", b"2")])
        store.restore(snapshot)
        assert store.load(HERE, [b"a"], 10) == [b"1"]


# Buckets.


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=50))
def test_buckets_are_in_range_and_stable(keys: list[bytes]) -> None:
    """Stored state is found again by every later release: the function must never change."""
    assert all(0 <= bucket_of(key) < BUCKETS for key in keys)
    assert [bucket_of(key) for key in (b"", b"a", b"pump-7", b"\xff")] == [0, 67, 179, 0]


def test_keys_spread_over_the_buckets() -> None:
    """Counting a bucket must stay cheap: no bucket holds much more than its share."""
    counts = [0] * BUCKETS
    for number in range(25_600):
        counts[bucket_of(b"sensor-%d" % number)] += 1
    assert 50 < min(counts) <= max(counts) < 200


def test_calls_that_differ_anywhere_have_different_digests() -> None:
    """A repeat is recognised by this alone; two lists must not run into each other."""
    calls = [
        digest_of_call(None, 10, Stamp("fp"), [], []),
        digest_of_call(10, 10, Stamp("fp"), [], []),
        digest_of_call(10, 11, Stamp("fp"), [], []),
        digest_of_call(10, 11, Stamp("fq"), [], []),
        digest_of_call(10, 11, Stamp("fp", epoch=1), [], []),
        digest_of_call(10, 11, Stamp("fp", identity="cluster/topic"), [], []),
        digest_of_call(10, 11, Stamp("fp"), [], [], whole=True),
        digest_of_call(10, 11, Stamp("fp"), [(b"a", b"bc")], []),
        digest_of_call(10, 11, Stamp("fp"), [(b"ab", b"c")], []),
        digest_of_call(10, 11, Stamp("fp"), [], [b"abc"]),
        digest_of_call(10, 11, Stamp("fp"), [], [b"a", b"bc"]),
        digest_of_call(10, 11, Stamp("fp"), [(b"a", b"")], []),
        digest_of_call(10, 11, Stamp("fp"), [(b"", b"a")], []),
    ]
    assert len(set(calls)) == len(calls)
