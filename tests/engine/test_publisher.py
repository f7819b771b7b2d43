"""Transactions of the engine: one at a time, aside of it, and never an outcome that is guessed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from streamae.batches import Cause, Partition
from streamae.connectors.memory import MemoryBroker, MemorySink, MemorySource
from streamae.connectors.memory_store import MemoryStore
from streamae.connectors.protocols import Message
from streamae.engine.partitions import Partitions, Plan, RecoveryPolicy
from streamae.engine.publisher import Publisher, RunInBackground, at_once, in_thread
from streamae.engine.recovery import Recovery
from streamae.errors import FatalError, MembershipError, OutcomeUnknownError, RetryableError, TooLargeError
from streamae.observe.telemetry import Telemetry
from tests.late import late

P0 = Partition("sensors", 0)
EVENTS, DEAD = "anomalies", "dead"


class Bench:
    """A publisher on a broker, with one partition whose position the test moves."""

    def __init__(self, run_in_background: RunInBackground | None = None) -> None:
        self.broker = MemoryBroker(1)
        for _ in range(10):
            self.broker.produce("sensors", b"k", b"v", partition=0)
        self.source = MemorySource(self.broker, "group", ("sensors",))
        self.source.poll(0)
        self.partitions, self.telemetry = Partitions(), Telemetry()
        recovery = Recovery(self.source, MemoryStore(), "settings", RecoveryPolicy())
        self.publisher = Publisher(
            MemorySink(self.broker), self.source, self.partitions, recovery, DEAD, run_in_background
        )
        self.publisher.attach(self.telemetry)
        self.partitions.take(P0, Plan(0, 0, None, drop_stored=False, reason="first"), self.source.span(P0), None)

    def decide(self, *offsets: int, topic: str = EVENTS, value: bytes = b"event") -> None:
        """Let the records at these offsets cause a message each."""
        self.publisher.outbox.add([Message(topic, b"k", value, (), Cause(P0, offset)) for offset in offsets])
        self.partitions[P0].position = max(offsets) + 1

    def seen(self, topic: str = EVENTS) -> list[bytes | None]:
        """Return what a consumer sees."""
        return [record.value for record in self.broker.records(topic)]

    def committed(self) -> int | None:
        """Return the group's offset."""
        return self.source.span(P0).committed

    def outcomes(self) -> dict[str, float]:
        """Return the transactions counted, by outcome."""
        text = self.telemetry.render()[0].decode().splitlines()
        found = [line for line in text if line.startswith("streamae_transactions_total{")]
        return {line.split('"')[1]: float(line.split()[-1]) for line in found if not line.endswith(" 0.0")}


def test_outputs_and_offsets_go_out_together() -> None:
    """A consumer sees the events when the group's offset is behind their cause, not before and not without."""
    bench = Bench()
    bench.decide(0, 1, 4)
    bench.publisher.start()
    assert (bench.seen(), bench.committed()) == ([b"event"] * 3, 5)
    assert bench.partitions[P0].committed == 5
    assert bench.outcomes() == {"committed": 1.0}


def test_the_engine_goes_on_while_a_transaction_runs() -> None:
    """What is decided meanwhile waits for the next one, which holds just that."""
    bench = Bench(late(lambda: 100))
    bench.decide(0, value=b"first")
    bench.publisher.start()
    bench.decide(1, value=b"second")
    assert (bench.seen(), bench.partitions[P0].committed) == ([], None)
    bench.publisher.settle()
    assert (bench.seen(), bench.partitions[P0].committed) == ([b"first"], 1)
    bench.publisher.start()
    bench.publisher.settle()
    assert (bench.seen(), bench.committed()) == ([b"first", b"second"], 2)


@pytest.mark.parametrize("error", [RetryableError("aborted"), MembershipError("fenced")])
def test_after_a_failure_old_and_new_outputs_go_out_in_order(error: RetryableError) -> None:
    """A transaction that failed aside delays what came after it; nothing overtakes it and nothing is lost."""
    bench = Bench(late(lambda: 100))
    bench.broker.fail_at("before_commit", error)
    bench.decide(0, value=b"first")
    bench.publisher.start()
    bench.decide(1, value=b"second")
    with pytest.raises(type(error)):
        bench.publisher.settle()
    assert bench.publisher.is_blocked
    bench.publisher.start()
    assert (bench.seen(), bench.committed()) == ([b"first", b"second"], 2)
    assert not bench.publisher.is_blocked
    failed = "fenced" if isinstance(error, MembershipError) else "aborted"
    assert bench.outcomes() == {failed: 1.0, "committed": 1.0}


@pytest.mark.parametrize("was_committed", [True, False])
def test_a_lost_answer_is_looked_up_before_anything_else_is_sent(was_committed: bool) -> None:
    """Whether it went through or not, every message is there once, also those decided meanwhile."""
    bench = Bench(late(lambda: 100))
    bench.broker.fail_at("after_commit" if was_committed else "before_commit", OutcomeUnknownError("no answer"))
    bench.decide(0, value=b"first")
    bench.publisher.start()
    bench.decide(1, value=b"second")
    with pytest.raises(OutcomeUnknownError):
        bench.publisher.settle()
    bench.publisher.settle()
    bench.publisher.start()
    bench.publisher.settle()
    assert (bench.seen(), bench.committed()) == ([b"first", b"second"], 2)


def test_a_process_that_is_no_member_sends_nothing() -> None:
    """Without proof of membership nothing is begun; outputs wait."""
    bench = Bench()
    bench.decide(0)
    bench.broker.expel(bench.source)
    with pytest.raises(MembershipError):
        bench.publisher.start()
    assert (bench.seen(), bench.publisher.is_blocked, len(bench.publisher.outbox)) == ([], True, 1)


def test_what_was_taken_away_blocks_nothing() -> None:
    """A failure that concerned a lost partition only is over."""
    bench = Bench()
    bench.broker.fail_at("before_commit", RetryableError("aborted"))
    bench.decide(0)
    with pytest.raises(RetryableError):
        bench.publisher.start()
    bench.publisher.outbox.drop(P0)
    bench.partitions.drop(P0)
    bench.publisher.start()
    assert not bench.publisher.is_blocked


@pytest.mark.parametrize(("topic", "size"), [(DEAD, 50), (EVENTS, 100)])
def test_only_dead_letters_are_shortened(topic: str, size: int) -> None:
    """Half an original is still a clue, half an event is none: it waits, loudly."""
    bench = Bench()
    bench.broker.fail_at("after_send", TooLargeError("too large", 0))
    bench.decide(0, topic=topic, value=b"x" * 100)
    with pytest.raises(TooLargeError):
        bench.publisher.start()
    assert [len(message.value or b"") for message in bench.publisher.outbox.waiting] == [size]


def test_a_fatal_error_aside_ends_the_engine() -> None:
    """A process that was fenced must not learn of it by never being told."""
    bench = Bench(late(lambda: 1))
    bench.broker.fail_at("before_begin", FatalError("another process uses this transactional id"))
    bench.decide(0)
    bench.publisher.start()
    assert not bench.publisher.is_due()
    assert bench.publisher.is_due()
    with pytest.raises(FatalError):
        bench.publisher.settle()


@pytest.mark.parametrize("run", [at_once, in_thread])
def test_work_aside_tells_how_it_ended(run: Callable[..., object]) -> None:
    """Result and error reach the engine's thread; a thread of its own is really another one."""
    threads: list[int] = []
    done = run(lambda: threads.append(threading.get_ident()))
    done.result(30)  # type: ignore[attr-defined]
    assert (threads == [threading.get_ident()]) is (run is at_once)
    failed = run(lambda: int("x") and None)
    with pytest.raises(ValueError, match="x"):
        failed.result(30)  # type: ignore[attr-defined]


def test_a_sink_bound_to_the_polling_thread_is_not_used_from_another() -> None:
    """Clients that know no locks are called in one thread only."""
    bench = Bench()
    assert MemorySink(bench.broker).is_thread_bound
    bench.decide(0)
    bench.publisher.start()
    assert bench.committed() == 1
