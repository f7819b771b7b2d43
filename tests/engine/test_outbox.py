"""What waits for its transaction."""

from __future__ import annotations

from streamae.batches import Cause, Partition
from streamae.connectors.protocols import Message
from streamae.engine.outbox import TRUNCATED_HEADER, Outbox

P0, P1 = Partition("sensors", 0), Partition("sensors", 1)


def message(partition: Partition = P0, offset: int = 0, value: bytes | None = b"value") -> Message:
    """Return a message caused by the record at (partition, offset)."""
    return Message("out", b"key", value, (("name", b"1"),), Cause(partition, offset))


def outbox(replay_until: int = 0) -> Outbox:
    """Return an outbox that suppresses offsets of P0 below `replay_until`."""
    return Outbox(lambda cause: cause.partition == P0 and cause.offset < replay_until)


def test_order_is_kept() -> None:
    """Messages leave in the order in which they were decided."""
    box = outbox()
    messages = [message(offset=offset) for offset in (3, 1, 2)]
    assert box.add(messages) == 3
    assert box.waiting == messages


def test_replayed_outputs_stay_inside() -> None:
    """A record replayed to rebuild state causes no second event."""
    box = outbox(replay_until=10)
    assert box.add([message(offset=9), message(offset=10), message(P1, 1)]) == 2
    assert [m.cause.offset for m in box.waiting] == [10, 1]


def test_messages_stay_until_they_are_known_to_be_committed() -> None:
    """A failed transaction is repeated with the very same messages, before those decided meanwhile."""
    box = outbox()
    first, second = message(offset=1), message(offset=2)
    box.add([first])
    assert box.take() == (first,)
    box.add([second])
    assert len(box) == 2
    box.failed()
    assert box.take() == (first, second)
    box.delivered()
    assert len(box) == 0


def test_what_is_decided_meanwhile_is_not_delivered_with_it() -> None:
    """The next transaction holds what the one under way does not."""
    box = outbox()
    box.add([message(offset=1)])
    box.take()
    box.add([message(offset=2)])
    box.delivered()
    assert [m.cause.offset for m in box.take()] == [2]


def test_a_partition_lost_during_a_transaction_is_not_sent_again() -> None:
    """If that transaction fails, the next owner decides the same again; we would be second."""
    box = outbox()
    box.add([message(P0, 1), message(P1, 1)])
    box.take()
    box.drop(P0)
    box.failed()
    assert [m.cause.partition for m in box.take()] == [P1]


def test_a_lost_partition_takes_its_messages_along() -> None:
    """Its next owner publishes them; we would be second."""
    box = outbox()
    box.add([message(P0, 1), message(P1, 1), message(P0, 2)])
    box.drop(P0)
    assert [m.cause.partition for m in box.waiting] == [P1]


def test_shortening_halves_the_value_and_says_so_once() -> None:
    """A dead letter that its topic refuses for its size still arrives, marked, with all original headers."""
    box = outbox()
    box.add([message(value=b"x" * 100), message(offset=1)])
    for _ in range(2):
        box.shorten(box.waiting[0])
    assert box.waiting[0].value == b"x" * 25
    assert box.waiting[0].headers == (("name", b"1"), (TRUNCATED_HEADER, b"true"))
    assert box.waiting[1] == message(offset=1)


def test_shortening_a_message_without_value_ends() -> None:
    """Nothing to cut is no crash."""
    box = outbox()
    box.add([message(value=None)])
    box.shorten(box.waiting[0])
    assert box.waiting[0].value == b""
