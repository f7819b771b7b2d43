"""Key state between memory and store."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamae.batches import Partition, RecordBatch
from streamae.connectors.memory_store import MemoryStore
from streamae.connectors.protocols import Manifest, Outcome, Span, Stamp
from streamae.core.columns import Columns, Field
from streamae.core.key_table import NO_SLOT, KeyTable
from streamae.engine.key_forms import SUMS
from streamae.engine.key_states import KeyStates
from streamae.engine.partitions import Partitions, Plan
from streamae.errors import RetryableError
from streamae.observe.listener import Listener

P0, P1 = Partition("sensors", 0), Partition("sensors", 1)


class Bench(Listener):
    """Key states over two one-field parts, with everything they announce written down."""

    def __init__(self, capacity: int = 4, idle_ms: int = 100, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.given_up: list[int] = []
        self.split = self.corrupt = 0
        self.parts = self.parts_of(capacity)
        self.passing = Columns(capacity, {"seen": Field("<i4", (), -1)})
        self.states = KeyStates(
            KeyTable(capacity, idle_ms),
            self.parts,
            self.store,
            passing=(self.passing,),
        )
        self.states.attach(self)

    def parts_of(self, capacity: int) -> tuple[Columns, ...]:
        """Return the parts of a key's state."""
        one = Columns(capacity, {"a": Field("<i8", (), 7)}, "one")
        return one, Columns(capacity, {"b": Field("<f4", (3,))}, "two")

    @property
    def stamp(self) -> Stamp:
        """What goes with a checkpoint of this process."""
        return Stamp("f", layouts=(self.states.layout,))

    def column(self, part: str, name: str) -> NDArray[Any]:
        """Return a column by part and name."""
        return next(one for one in self.parts if one.name == part)[name]

    def corrupt_states(self, keys: int) -> None:
        self.corrupt += keys

    def evicted(self, keys: int) -> None:
        self.given_up.append(keys)

    def split_key(self, keys: int = 1) -> None:
        self.split += keys

    def admit(self, *keys: bytes, partition: Partition = P0, base: int | None = None, time_ms: int = 0) -> list[int]:
        """Admit one record of each key; return the slots."""
        return self.states.admit(batch(keys, partition, time_ms), owning(partition, base)).slots.tolist()


def owning(partition: Partition, base: int | None, manifest: Manifest | None = None) -> Partitions:
    """Return progress on state stored at `base`, of which much is left to load."""
    partitions = Partitions()
    found = None if base is None else Manifest(base, "f", (1_000_000,), layouts=manifest.layouts if manifest else ())
    partitions.take(partition, Plan(0, 0, base, False, "clean"), Span(0, 0, 0), found)
    return partitions


def batch(keys: tuple[bytes, ...], partition: Partition = P0, time_ms: int = 0) -> RecordBatch:
    """Return a batch with one record a key."""
    size = len(keys)
    return RecordBatch(
        [],
        [partition] * size,
        list(keys),
        np.arange(size),
        np.full(size, time_ms, dtype=np.int64),
        np.zeros((size, 1), dtype=np.float32),
    )


def saved(bench: Bench, key: bytes, a: int, new: int = 10) -> None:
    """Store the state a = `a` of `key` with a manifest at `new`."""
    (slot,) = bench.admit(key)
    bench.parts[0]["a"][slot] = a
    packed = bench.states.pack(np.array([slot], dtype=np.int32))
    assert bench.store.checkpoint(P0, None, new, Stamp("f"), packed) is Outcome.OK


def values_of(bench: Bench, **known: int) -> dict[bytes, bytes]:
    """Return the values to store of keys that know a = `known`."""
    keys = [name.encode() for name in known]
    slots = np.array(bench.admit(*keys), dtype=np.int32)
    bench.column("one", "a")[slots] = list(known.values())
    return dict(bench.states.pack(slots))


def test_a_new_key_starts_with_initial_state() -> None:
    """Whoever had the slot before leaves nothing behind."""
    bench = Bench()
    (slot,) = bench.admit(b"one")
    bench.parts[0]["a"][slot] = 99
    bench.states.release(P0)
    (again,) = bench.admit(b"two")
    assert again == slot
    assert bench.parts[0]["a"][again] == 7


def test_what_is_known_only_in_memory_goes_with_the_key() -> None:
    """It is neither stored nor left to the next key of the slot, nor does it outlive the partition."""
    bench = Bench(capacity=1)
    (slot,) = bench.admit(b"one")
    bench.passing["seen"][slot] = 5
    assert bench.states.packed(np.array([slot], dtype=np.int32))[0][1] == b"\7" + bytes(19)
    assert bench.admit(b"two", time_ms=1_000) == [slot]
    assert bench.passing["seen"][slot] == -1
    bench.passing["seen"][slot] = 6
    bench.states.release(P0)
    assert bench.passing["seen"][slot] == -1


def test_stored_state_is_loaded_at_first_sight() -> None:
    """A key comes back exactly as it was saved, in another process."""
    before = Bench()
    saved(before, b"one", 42)
    after = Bench(store=before.store)
    known, new = after.admit(b"one", b"two", base=10)
    assert after.parts[0]["a"][known] == 42
    assert after.parts[0]["a"][new] == 7


def test_a_key_is_loaded_once() -> None:
    """While a key is resident memory is the truth; the store is not asked again."""
    bench = Bench()
    saved(bench, b"one", 42)
    (slot,) = bench.admit(b"one", base=10)
    bench.store.fail_at("load", RetryableError("not to be asked"))
    assert bench.admit(b"one", b"one", base=10) == [slot, slot]


def test_without_stored_state_the_store_is_not_asked() -> None:
    """A partition that begins empty costs no round trip per key."""
    bench = Bench()
    bench.store.fail_at("load", RetryableError("not to be asked"))
    assert bench.admit(b"one")[0] >= 0


def test_once_every_stored_key_was_loaded_the_store_is_not_asked() -> None:
    """Memory then knows more than the store: what it does not know is new, and a loss cannot mislead it."""
    before = Bench()
    saved(before, b"one", 42)
    after, partitions = Bench(store=before.store), owning(P0, 10)
    partitions[P0].unread = 1
    after.states.admit(batch((b"new",)), partitions)
    assert partitions[P0].unread == 1, "a new key is not one of those stored"
    after.states.admit(batch((b"one",)), partitions)
    assert partitions[P0].unread == 0
    before.store.flush()
    admission = after.states.admit(batch((b"other",)), partitions)
    assert admission.lost == frozenset()
    assert after.parts[0]["a"][admission.slots].tolist() == [7]


def test_a_stored_key_without_room_stays_unread() -> None:
    """Only keys that memory has got are known: one refused for lack of room is loaded when there is some."""
    before = Bench()
    saved(before, b"one", 42)
    after, partitions = Bench(capacity=1, store=before.store), owning(P0, 10)
    partitions[P0].unread = 1
    after.states.admit(batch((b"new", b"one")), partitions)
    assert partitions[P0].unread == 1


def test_state_that_moved_is_not_used() -> None:
    """When the manifest is no longer where we believe, the partition is reported lost and gets no slots."""
    before = Bench()
    saved(before, b"one", 42, new=20)
    after = Bench(store=before.store)
    admission = after.states.admit(batch((b"one",)), owning(P0, 10))
    assert admission.lost == {P0}
    assert admission.slots.tolist() == [NO_SLOT]
    assert not admission.refused.any()


def test_a_silent_store_changes_nothing() -> None:
    """A failed load leaves the key unknown, so that the same records can be tried again."""
    before = Bench()
    saved(before, b"one", 42)
    after = Bench(store=before.store)
    after.store.fail_at("load", RetryableError("down"))
    with pytest.raises(RetryableError):
        after.admit(b"one", base=10)
    (slot,) = after.admit(b"one", base=10)
    assert after.parts[0]["a"][slot] == 42


def test_keys_beyond_the_cap_are_refused() -> None:
    """A full table refuses new keys and says which records that concerns."""
    bench = Bench(capacity=2)
    admission = bench.states.admit(batch((b"a", b"b", b"c", b"a", b"c")), owning(P0, None))
    assert admission.refused.tolist() == [False, False, True, False, True]


def test_an_evicted_key_that_returns_is_new() -> None:
    """State of an evicted key must not rise again from a store that has not deleted it yet."""
    bench = Bench(capacity=1, idle_ms=100)
    saved(bench, b"one", 42)
    bench.admit(b"two", base=10, time_ms=500)
    assert bench.given_up == [1]
    assert bench.states.table.deleted(P0) == [b"one"]
    (slot,) = bench.admit(b"one", base=10, time_ms=1_000)
    assert bench.parts[0]["a"][slot] == 7
    assert bench.states.table.deleted(P0) == [b"two"]


def test_a_key_of_this_very_batch_is_not_evicted_for_another() -> None:
    """An idle key that comes back together with a new one keeps its slot and its state."""
    bench = Bench(capacity=1, idle_ms=100)
    saved(bench, b"one", 42)
    admission = bench.states.admit(batch((b"new", b"one"), time_ms=1_000), owning(P0, 10))
    assert admission.refused.tolist() == [True, False]
    assert bench.given_up == []
    assert bench.parts[0]["a"][admission.slots[1]] == 42


def test_a_partition_that_lags_loses_no_key_to_one_that_is_ahead() -> None:
    """Idle means idle in the event time of the key's own partition."""
    bench = Bench(capacity=1, idle_ms=100)
    bench.admit(b"one", time_ms=1_000)
    admission = bench.states.admit(batch((b"two",), P1, time_ms=9_000), owning(P1, None))
    assert admission.refused.tolist() == [True]


def test_a_key_in_two_partitions_is_reported_once_per_partition() -> None:
    """Two slots, and a word to the operator."""
    bench = Bench()
    bench.admit(b"one", b"two")
    bench.admit(b"one", b"one", partition=P1)
    assert bench.split == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value, _: b"",
        lambda value, _: b"short",
        lambda value, _: value[:-1],
        lambda value, _: value + b"\0",
        lambda value, _: value[:20] + bytes([value[20] ^ 1]) + value[21:],
        lambda value, _: value[:-1] + bytes([value[-1] ^ 128]),
        lambda value, _: bytes(len(value)),
        lambda _, other: other,
    ],
    ids=["nothing", "short", "cut", "longer", "a bit", "a bit of the checksum", "zeros", "another key's"],
)
def test_state_that_cannot_be_read_costs_its_key_alone(spoil: Callable[[bytes, bytes], bytes]) -> None:
    """It begins anew, is counted, and is written over at the next checkpoint; its neighbour keeps what it knows."""
    before = Bench()
    values = values_of(before, one=42, two=43)
    spoilt = [(b"one", spoil(values[b"one"], values[b"two"])), (b"two", values[b"two"])]
    before.store.checkpoint(P0, None, 10, before.stamp, spoilt)
    after = Bench(store=before.store)
    one, two = after.admit(b"one", b"two", base=10)
    assert after.parts[0]["a"][[one, two]].tolist() == [7, 43]
    assert (after.corrupt, after.states.take_damaged().tolist(), after.states.take_damaged().tolist()) == (1, [one], [])
    assert after.states.table.dirty(P0).tolist() == [one]


def test_state_of_another_partition_is_not_taken() -> None:
    """A value that was copied to where it does not belong is as good as garbage."""
    bench = Bench()
    bench.store.checkpoint(P1, None, 10, bench.stamp, list(values_of(bench, one=42).items()))
    bench.states.release(P0)
    (slot,) = bench.admit(b"one", partition=P1, base=10)
    assert (bench.parts[0]["a"][slot], bench.corrupt) == (7, 1)


def test_numbers_that_are_none_are_no_damage() -> None:
    """A stage may keep NaN or infinity; only the bytes are judged."""
    before = Bench()
    (slot,) = before.admit(b"one")
    before.parts[1]["b"][slot] = [np.nan, np.inf, -np.inf]
    before.store.checkpoint(P0, None, 10, before.stamp, before.states.pack(np.array([slot], dtype=np.int32)))
    after = Bench(store=before.store)
    (again,) = after.admit(b"one", base=10)
    assert after.parts[1]["b"][again].tobytes() == before.parts[1]["b"][slot].tobytes()
    assert after.corrupt == 0


# State that was packed in another form.


class Other(Bench):
    """A process with other fields: `a` stays, `b` is as it was but for its shape, a part is new and a field is gone."""

    def parts_of(self, capacity: int) -> tuple[Columns, ...]:
        clock = Columns(capacity, {"now": Field("<i8", (), -5, since=2)}, "clock")
        one = Columns(capacity, {"c": Field("<f4", (), 0.5, since=2), "a": Field("<i8", (), 7)}, "one")
        return clock, one, Columns(capacity, {"b": Field("<f4", (2,), 9.0)}, "two")


@pytest.mark.parametrize(("first", "second"), [(Bench, Other), (Other, Bench)])
def test_fields_that_both_have_are_taken_over(first: type[Bench], second: type[Bench]) -> None:
    """What is new or of another shape begins at its initial value; the key is written anew in the form of today."""
    before = first()
    (slot,) = before.admit(b"one")
    before.column("one", "a")[slot], before.column("two", "b")[slot] = 42, 1.5
    before.store.checkpoint(P0, None, 10, before.stamp, before.states.pack(np.array([slot], dtype=np.int32)))
    after = second(store=before.store)
    partitions = owning(P0, 10, before.store.manifest(P0))
    (again,) = after.states.admit(batch((b"one",)), partitions).slots.tolist()
    assert after.column("one", "a")[again] == 42
    assert after.column("two", "b")[again].tolist() == ([9.0] * 2 if second is Other else [0.0] * 3)
    if second is Other:
        assert (after.column("clock", "now")[again], after.column("one", "c")[again]) == (-5, 0.5)
    assert (after.corrupt, after.states.table.dirty(P0).tolist()) == (0, [again])
    assert after.states.layouts(partitions[P0], whole=False) == (after.states.layout, before.states.layout)
    partitions[P0].unread = 0
    assert after.states.layouts(partitions[P0], whole=False) == (after.states.layout,)


def test_equal_names_in_other_parts_do_not_match() -> None:
    """What one rule calls its mean is nothing that another rule knows of."""
    before, after = Bench(), Bench()
    after.parts[0].name = "another"
    before.store.checkpoint(P0, None, 10, before.stamp, list(values_of(before, one=42).items()))
    fresh = KeyStates(KeyTable(4, 100), after.parts, before.store)
    (slot,) = fresh.admit(batch((b"one",)), owning(P0, 10, before.store.manifest(P0))).slots.tolist()
    assert after.parts[0]["a"][slot] == 7


def test_state_of_the_release_before_is_taken_over() -> None:
    """It has neither checksums nor a layout beside it: a value of its length is one, any other is damage."""
    before = Bench()
    values_of(before, one=42)
    ((key, bare),) = before.states.packed(np.array([0], dtype=np.int32) + before.admit(b"one")[0])
    before.store.checkpoint(P0, None, 10, Stamp("f"), [(key, bare), (b"two", bare[:-1])])
    after = Other(store=before.store)
    partitions = owning(P0, 10)
    one, two = after.states.admit(batch((b"one", b"two")), partitions).slots.tolist()
    assert after.column("one", "a")[[one, two]].tolist() == [7, 7], "the shape of b differs: of another length"
    after = Bench(store=before.store)
    one, two = after.states.admit(batch((b"one", b"two")), partitions).slots.tolist()
    assert after.parts[0]["a"][[one, two]].tolist() == [42, 7]
    assert after.corrupt == 1


def test_a_value_without_checksums_counts_only_while_such_are_listed() -> None:
    """Once all state was written anew, nothing that lacks them is believed."""
    before = Bench()
    values_of(before, one=42)
    bare = before.states.packed(np.array(before.admit(b"one"), dtype=np.int32))
    before.store.checkpoint(P0, None, 10, before.stamp, bare)
    after = Bench(store=before.store)
    (slot,) = after.states.admit(batch((b"one",)), owning(P0, 10, before.store.manifest(P0))).slots.tolist()
    assert (after.parts[0]["a"][slot], after.corrupt) == (7, 1)


@pytest.mark.parametrize("layout", ["", "no layout", "one(a:<i8[])|two(b:<x4[3])", "one(a:<i8[]", "\ufffd"])
def test_a_layout_that_nobody_can_read_costs_the_keys_that_have_it(layout: str) -> None:
    """The manifest may be damaged as well: no key is misread, and the process goes on."""
    before = Bench()
    values = values_of(before, one=42, two=43)
    other = SUMS.pack(zlib.crc32(layout.encode()), 0)
    stored = [(b"one", values[b"one"]), (b"two", values[b"two"][:-8] + other)]
    before.store.checkpoint(P0, None, 10, Stamp("f", layouts=(layout,)), stored)
    after = Bench(store=before.store)
    slots = after.states.admit(batch((b"one", b"two")), owning(P0, 10, before.store.manifest(P0))).slots
    assert after.parts[0]["a"][slots].tolist() == [42, 7]


def test_packing_nothing_is_nothing() -> None:
    """A checkpoint without changed keys sends no key."""
    assert Bench().states.pack(np.zeros(0, dtype=np.int32)) == []


def test_layout_names_every_field() -> None:
    """What is written down beside stored state says all that is in there."""
    assert Bench().states.layout == "one(a:<i8[])|two(b:<f4[3])"


def test_many_keys_come_in_chunks() -> None:
    """More keys than one load takes still all arrive, each with its own state."""
    before = Bench(capacity=5_000)
    slots = np.array(before.admit(*(b"%d" % n for n in range(4_500))), dtype=np.int32)
    before.parts[0]["a"][slots] = np.arange(4_500)
    before.store.checkpoint(P0, None, 10, Stamp("f"), before.states.pack(slots))
    after = Bench(capacity=5_000, store=before.store)
    again = np.array(after.admit(*(b"%d" % n for n in range(4_500)), base=10), dtype=np.int32)
    assert after.parts[0]["a"][again].tolist() == list(range(4_500))
