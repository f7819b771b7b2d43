"""When state is saved, and what each answer of the store leads to."""

from __future__ import annotations

import numpy as np
import pytest

from streamae.batches import Partition
from streamae.connectors.memory_store import MemoryStore
from streamae.connectors.protocols import Form, Span, Stamp
from streamae.core.columns import Columns, Field
from streamae.core.key_table import KeyTable
from streamae.engine.checkpoint import Checkpointer
from streamae.engine.key_states import KeyStates
from streamae.engine.partitions import Partitions, RecoveryPolicy, plan
from streamae.errors import RetryableError
from streamae.observe.telemetry import Telemetry

P0, P1 = Partition("sensors", 0), Partition("sensors", 1)


class Bench:
    """A checkpointer over one counter a key, on partitions that start empty."""

    def __init__(self, partitions: tuple[Partition, ...] = (P0,), max_dirty_keys: int = 100) -> None:
        self.store = MemoryStore()
        self.table = KeyTable(100, 10_000)
        self.columns = Columns(100, {"count": Field("<i8")})
        states = KeyStates(self.table, (self.columns,), self.store)
        self.partitions = Partitions()
        for partition in partitions:
            span = Span(None, 0, 0)
            self.partitions.take(partition, plan(span, None, "f", RecoveryPolicy()), span, None)
        self.telemetry = Telemetry(clock=lambda: 0.0)
        self.saver = Checkpointer(states, self.partitions, "f", interval_ms=1_000, max_dirty_keys=max_dirty_keys)
        self.saver.attach(self.telemetry)

    def change(self, keys: int, position: int, partition: Partition = P0) -> None:
        """Let the first `keys` keys count one up, by records up to `position`."""
        names = [b"%d" % n for n in range(keys)]
        slots = self.table.lookup([partition] * keys, names)
        new = [name for name, slot in zip(names, slots, strict=True) if slot < 0]
        self.table.admit(partition, new, 0)
        slots = self.table.lookup([partition] * keys, names)
        self.columns["count"][slots] += 1
        self.table.touch(slots, np.zeros(keys, dtype=np.int64))
        self.partitions[partition].position = position


def test_it_is_due_at_once_while_nothing_is_stored() -> None:
    """A group that crashes right after its first commit finds state, and nobody is told of a loss."""
    bench = Bench((P0, P1))
    assert bench.saver.is_due(1)
    bench.saver.save(1)
    assert not bench.saver.is_due(2)
    bench.partitions[P1].base = None
    bench.saver.failing_since_ms = 1
    assert not bench.saver.is_due(2), "a failing store is left in peace"


def test_it_is_due_by_interval() -> None:
    """The first look starts the clock; then every interval."""
    bench = Bench()
    bench.saver.save(5_000)
    assert not bench.saver.is_due(5_000)
    assert not bench.saver.is_due(5_999)
    assert bench.saver.is_due(6_000)
    bench.saver.save(6_000)
    assert not bench.saver.is_due(6_999)


def test_many_changed_keys_are_saved_early() -> None:
    """The store is never asked to take more at once than it can without blocking others."""
    bench = Bench(max_dirty_keys=3)
    bench.saver.save(0)
    bench.change(2, 2)
    assert not bench.saver.is_due(1)
    bench.change(3, 3)
    assert bench.saver.is_due(2)


def test_saved_keys_are_clean_and_the_base_moves() -> None:
    """What is stored is not stored again until it changes."""
    bench = Bench()
    bench.change(3, 30)
    assert bench.saver.save(0) == []
    assert bench.partitions[P0].base == 30
    assert bench.table.dirty_count() == 0
    manifest = bench.store.manifest(P0)
    assert manifest is not None
    assert manifest.offset == 30
    assert sum(manifest.counts) == 3


def test_an_unchanged_partition_costs_nothing() -> None:
    """Without new records there is no call."""
    bench = Bench()
    bench.change(1, 5)
    bench.saver.save(0)
    bench.store.fail_at("before_checkpoint", RetryableError("not to be asked"))
    assert bench.saver.save(1) == []
    assert bench.saver.failing_since_ms is None


def test_records_without_known_keys_still_move_the_manifest() -> None:
    """A stretch of dead letters must not be replayed for ever."""
    bench = Bench()
    bench.change(1, 5)
    bench.saver.save(0)
    bench.partitions[P0].position = 50
    bench.saver.save(1)
    manifest = bench.store.manifest(P0)
    assert manifest is not None
    assert manifest.offset == 50


def test_a_silent_store_is_tried_again_at_the_next_interval() -> None:
    """Changed keys stay marked; how long it has been failing is known; many dirty keys do not hammer it."""
    bench = Bench(max_dirty_keys=2)
    bench.change(3, 30)
    bench.store.fail_at("before_checkpoint", RetryableError("down"))
    bench.saver.save(100)
    assert bench.saver.failing_since_ms == 100
    assert bench.table.dirty_count() == 3
    assert not bench.saver.is_due(101)
    assert bench.saver.is_due(1_100)
    bench.change(3, 40)
    assert bench.saver.save(1_100) == []
    assert bench.saver.failing_since_ms is None
    assert bench.partitions[P0].base == 40


def test_a_lost_answer_is_no_loss() -> None:
    """Stored, but the answer never came: the next checkpoint goes on from there."""
    bench = Bench()
    bench.change(3, 30)
    bench.store.fail_at("after_checkpoint", RetryableError("answer lost"))
    bench.saver.save(0)
    bench.saver.save(1)
    assert bench.partitions[P0].base == 30
    bench.store.fail_at("after_checkpoint", RetryableError("answer lost"))
    bench.change(3, 40)
    bench.saver.save(2)
    bench.change(3, 50)
    assert bench.saver.save(3) == []
    assert bench.partitions[P0].base == 50


def lose(bench: Bench, loss: str) -> None:
    """Save at 30 and at 40, lose what is stored in one of three ways, and change keys up to 50."""
    bench.change(3, 30)
    bench.saver.save(0)
    older = bench.store.snapshot()
    bench.change(3, 40)
    bench.saver.save(1)
    if loss == "flush":
        bench.store.flush()
    elif loss == "older":
        bench.store.restore(older)
    else:
        bench.store.lose_keys(P0, [b"1"])
    bench.change(2, 50)


LOSSES = pytest.mark.parametrize("loss", ["flush", "older", "a key"])


@LOSSES
def test_a_store_that_went_back_is_reported(loss: str) -> None:
    """Where stored keys were never loaded: the partition must be recovered, its old base never trusted."""
    bench = Bench()
    lose(bench, loss)
    bench.partitions[P0].unread = 1
    assert bench.saver.save(2) == [P0]
    assert bench.partitions[P0].base == 40
    assert rollbacks(bench) == 0, "the recovery counts it"


@LOSSES
def test_what_the_store_lost_is_written_anew_from_memory(loss: str) -> None:
    """Where memory knows every key nothing is lost: one checkpoint of all keys, changed or not."""
    bench = Bench()
    lose(bench, loss)
    assert bench.saver.save(2) == []
    assert bench.partitions[P0].base == 50
    assert bench.table.dirty_count() == 0
    assert rollbacks(bench) == 1
    counts = [
        int.from_bytes((found or b"")[:8], "little") for found in bench.store.load(P0, [b"0", b"1", b"2"], 50) or ()
    ]
    assert counts == [3, 3, 2]
    bench.change(3, 60)
    assert bench.saver.save(3) == []
    assert rollbacks(bench) == 1


def test_writing_anew_is_tried_again() -> None:
    """A store that lost its data may well be silent next: nothing is forgotten, and the whole is sent again."""
    bench = Bench()
    lose(bench, "flush")
    bench.store.fail_at("after_checkpoint", RetryableError("answer lost"))  # the first call is refused before that
    assert bench.saver.save(2) == []
    assert bench.saver.failing_since_ms == 2
    assert bench.table.dirty_count() == 2
    assert bench.saver.save(3) == []
    assert bench.partitions[P0].base == 50
    assert rollbacks(bench) == 1


def rollbacks(bench: Bench) -> float:
    """Return how many losses were counted."""
    lines = bench.telemetry.render()[0].decode().splitlines()
    return float(next(line for line in lines if line.startswith("streamae_state_store_rollbacks_total ")).split()[-1])


def test_a_later_owner_ends_the_writing_anew() -> None:
    """A former owner whose base is gone must not replace what its successor has stored since."""
    bench = Bench()
    lose(bench, "flush")
    bench.store.checkpoint(P0, None, 20, Stamp("f", epoch=1), [])
    assert bench.saver.save(2) == [P0]
    manifest = bench.store.manifest(P0)
    assert manifest is not None
    assert (manifest.offset, manifest.epoch) == (20, 1)


def test_another_owner_ahead_is_reported() -> None:
    """We are the zombie: its state stands, ours goes."""
    bench = Bench()
    bench.change(3, 30)
    bench.saver.save(0)
    bench.store.checkpoint(P0, 30, 60, Stamp("f", layouts=bench.store.manifest(P0).layouts), [])  # type: ignore[union-attr]
    bench.change(3, 50)
    assert bench.saver.save(1) == [P0]
    manifest = bench.store.manifest(P0)
    assert manifest is not None
    assert manifest.offset == 60


def test_one_lost_partition_does_not_stop_the_others() -> None:
    """Each partition has its own manifest."""
    bench = Bench((P0, P1))
    bench.change(2, 10)
    bench.change(2, 10, P1)
    bench.saver.save(0)
    bench.store.lose_manifest(P0)
    bench.partitions[P0].unread = 1
    bench.change(2, 20)
    bench.change(2, 20, P1)
    assert bench.saver.save(1) == [P0]
    assert bench.partitions[P1].base == 20


def test_state_of_the_release_before_is_written_over_step_by_step() -> None:
    """While keys wait that nobody has loaded, the manifest lists both forms; then only ours."""
    bench = Bench()
    bench.store.checkpoint(P0, None, 20, Stamp("before"), [(b"1", bytes(8)), (b"old", bytes(8))])
    progress = bench.partitions[P0]
    progress.base, progress.form, progress.unread = 20, Form("before"), 1
    ours = bench.saver.states.layout
    bench.change(1, 30)
    assert bench.saver.save(0) == []
    assert bench.store.manifest(P0).form == Form("f", (ours, f"bare:{ours}"))  # type: ignore[union-attr]
    progress.unread = 0
    bench.change(2, 40)
    assert bench.saver.save(1) == []
    assert bench.store.manifest(P0).form == Form("f", (ours,))  # type: ignore[union-attr]


def test_state_in_a_form_that_nobody_told_us_of_is_not_written_into() -> None:
    """Another release has stored it since: its values would be listed nowhere."""
    bench = Bench()
    bench.change(3, 30)
    bench.saver.save(0)
    theirs = Form("f", ("theirs(a:<i8[])", bench.saver.states.layout))
    bench.store.checkpoint(P0, 30, 40, Stamp("f", layouts=theirs.layouts, relied_on=bench.partitions[P0].form), [])
    bench.change(3, 50)
    assert bench.saver.save(1) == [P0]
    assert bench.store.manifest(P0).form == theirs  # type: ignore[union-attr]
