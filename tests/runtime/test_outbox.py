"""What waits for its transaction."""

from __future__ import annotations

from streamae.batches import Partition
from streamae.connectors.protocols import Message
from streamae.runtime.outbox import TRUNCATED_HEADER, Outbox

P0, P1 = Partition("sensors", 0), Partition("sensors", 1)


def message(partition: Partition = P0, offset: int = 0, value: bytes | None = b"value") -> Message:
    """Return a message caused by (partition, offset)."""
    return Message("out", b"key", value, (("name", b"1"),), partition, offset)


def outbox(replay_until: int = 0) -> Outbox:
    """Return an outbox that suppresses offsets of P0 below `replay_until`."""
    return Outbox(lambda partition, offset: partition == P0 and offset < replay_until)


def test_order_is_kept() -> None:
    """Messages leave in the order in which they were decided."""
    box = outbox()
    messages = [message(offset=offset) for offset in (3, 1, 2)]
    assert box.add(messages) == 3
    assert box.messages == messages


def test_replayed_outputs_stay_inside() -> None:
    """A record replayed to rebuild state causes no second event."""
    box = outbox(replay_until=10)
    assert box.add([message(offset=9), message(offset=10), message(P1, 1)]) == 2
    assert [m.offset for m in box.messages] == [10, 1]


def test_messages_stay_until_they_are_known_to_be_committed() -> None:
    """A failed transaction is repeated with the very same messages."""
    box = outbox()
    box.add([message()])
    before = list(box.messages)
    assert before == box.messages
    box.clear()
    assert len(box) == 0


def test_a_lost_partition_takes_its_messages_along() -> None:
    """Its next owner publishes them; we would be second."""
    box = outbox()
    box.add([message(P0, 1), message(P1, 1), message(P0, 2)])
    box.drop(P0)
    assert [m.partition for m in box.messages] == [P1]


def test_shortening_halves_the_value_and_says_so_once() -> None:
    """A dead letter that its topic refuses for its size still arrives, marked, with all original headers."""
    box = outbox()
    box.add([message(value=b"x" * 100), message(offset=1)])
    box.shorten(0)
    box.shorten(0)
    assert box.messages[0].value == b"x" * 25
    assert box.messages[0].headers == (("name", b"1"), (TRUNCATED_HEADER, b"true"))
    assert box.messages[1] == message(offset=1)


def test_shortening_a_message_without_value_ends() -> None:
    """Nothing to cut is no crash."""
    box = outbox()
    box.add([message(value=None)])
    box.shorten(0)
    assert box.messages[0].value == b""
