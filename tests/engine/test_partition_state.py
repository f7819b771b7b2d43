"""State of a partition itself: its binary form, and its way through a checkpoint."""

from __future__ import annotations

import pytest

from streamae.batches import Partition
from streamae.connectors.memory import MemoryBroker, MemorySource
from streamae.connectors.memory_store import MemoryStore
from streamae.connectors.protocols import Outcome, Stamp
from streamae.core.active_clock import ActiveClock, digest_of
from streamae.engine.partition_state import PartitionState
from streamae.engine.partitions import Partitions, RecoveryPolicy
from streamae.engine.recovery import Recovery
from streamae.observe import logs

HERE = Partition("sensors", 0)
STATE = PartitionState(ActiveClock(1_000, digest_of(b"a"), 5_000, 900), 3, 70_000)


def taken_over(packed: bytes, *, keeps_state: bool) -> Partitions:
    """Return the partitions of a process that takes HERE over, of which `packed` is stored."""
    broker, store = MemoryBroker(1), MemoryStore()
    for _ in range(10):
        broker.produce("sensors", b"key", b"")
    broker.set_committed("group", HERE, 5)
    source = MemorySource(broker, "group", ("sensors",))
    source.poll(0)
    stamp = Stamp("f", identity=source.span(HERE).identity, partition_state=packed)
    assert store.checkpoint(HERE, None, 5, stamp, [(b"key", b"state")]) is Outcome.OK
    partitions, recovery = Partitions(keeps_state=keeps_state), Recovery(source, store, "f", RecoveryPolicy())
    recovery.add([HERE])
    recovery.start(partitions, 0)
    return partitions


@pytest.mark.parametrize("state", [PartitionState(), STATE])
def test_it_reads_what_it_has_written(state: PartitionState) -> None:
    """What a partition remembers comes back to the last bit."""
    assert PartitionState.unpack(state.pack()) == state


@pytest.mark.parametrize("packed", [b"", STATE.pack()[:-1], STATE.pack() + b"x", b"\x02" + STATE.pack()[1:]], ids=str)
def test_other_forms_are_not_guessed_at(packed: bytes) -> None:
    """Bytes of another length or version are no state, instead of a wrong one."""
    assert PartitionState.unpack(packed) is None


def test_the_next_owner_goes_on_with_it() -> None:
    """Who takes a partition over knows its time as the owner before did, and stores it again."""
    progress = taken_over(STATE.pack(), keeps_state=True)[HERE]
    assert progress.state == STATE
    assert progress.stamp("f").partition_state == STATE.pack()


def test_it_begins_anew_where_none_was_stored() -> None:
    """What was switched on just now begins with the first record, on the stored state of the keys."""
    progress = taken_over(b"", keeps_state=True)[HERE]
    assert progress.state == PartitionState()
    assert progress.base == 5


def test_nothing_is_stored_where_nothing_needs_it() -> None:
    """With everything off that needs it, a checkpoint holds the bytes that it always held."""
    progress = taken_over(STATE.pack(), keeps_state=False)[HERE]
    assert progress.state is None
    assert progress.stamp("f").partition_state == b""


def test_one_that_cannot_be_read_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A partition whose own state is of a later release starts all the same, and the log says what is lost."""
    logs.configure("info")
    progress = taken_over(b"\x02later", keeps_state=True)[HERE]
    assert progress.state == PartitionState()
    assert progress.base == 5
    assert "partition_state_unreadable" in capsys.readouterr().out
