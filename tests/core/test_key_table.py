"""Slots for keys: capacity is hard, known keys keep theirs, and what was evicted is deleted exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import Partition
from streamae.core.key_table import NO_SLOT, KeyTable
from tests.core_batches import quick, slots_of

CAPACITY, IDLE_MS = 4, 1_000
ONE, TWO = Partition("sensors", 0), Partition("sensors", 1)
START_MS = 1_000_000


def table(capacity: int = CAPACITY) -> KeyTable:
    """An empty table."""
    return KeyTable(capacity, IDLE_MS)


def admit(subject: KeyTable, keys: Sequence[bytes], partition: Partition = ONE, now_ms: int = START_MS) -> list[int]:
    """Admit keys; return their slots."""
    return subject.admit(partition, keys, now_ms)[0].tolist()


def find(subject: KeyTable, keys: Sequence[bytes], partition: Partition = ONE) -> list[int]:
    """Look keys of one partition up."""
    return subject.lookup([partition] * len(keys), keys).tolist()


def full(now_ms: int = START_MS) -> KeyTable:
    """A table with keys a, b, c and d, all stored, last seen one after the other."""
    subject = table()
    for place, key in enumerate([b"a", b"b", b"c", b"d"]):
        admit(subject, [key], now_ms=now_ms + place)
    return subject


def test_a_new_key_has_no_slot() -> None:
    """Looking up never admits: state has to be loaded first."""
    subject = table()
    assert find(subject, [b"a", b"b"]) == [NO_SLOT, NO_SLOT]
    assert len(subject) == 0


def test_an_admitted_key_is_found() -> None:
    """Slot, key and partition lead to each other."""
    subject = table()
    first, second = admit(subject, [b"a", b"b"])
    assert find(subject, [b"b", b"a", b"c", b"b"]) == [second, first, NO_SLOT, second]
    assert (subject.keys[first], subject.owners[first]) == (b"a", ONE)
    assert sorted(subject.resident().tolist()) == sorted([first, second])


def test_lookup_of_mixed_partitions_answers_in_order() -> None:
    """A poll returns records of several partitions, in runs or not."""
    subject = table()
    a1, b1 = admit(subject, [b"a", b"b"], ONE)
    (a2,) = admit(subject, [b"a"], TWO)
    partitions = [ONE, ONE, TWO, ONE, TWO, TWO]
    assert subject.lookup(partitions, [b"a", b"b", b"a", b"a", b"b", b"a"]).tolist() == [a1, b1, a2, a1, NO_SLOT, a2]


def test_lookup_of_nothing_is_empty() -> None:
    """An empty poll is no special case, and has the type of slots."""
    found = table().lookup([], [])
    assert (len(found), found.dtype) == (0, np.int32)


def test_the_same_key_in_two_partitions_is_two_slots() -> None:
    """State is per partition, because offsets and ownership are."""
    subject = table()
    assert admit(subject, [b"a"], ONE) != admit(subject, [b"a"], TWO)
    assert len(subject) == 2


def test_is_elsewhere_tells_of_a_key_in_another_partition() -> None:
    """A producer that spreads a key over partitions is noticed, in both directions, and only then."""
    subject = table()
    admit(subject, [b"a"], ONE)
    assert subject.is_elsewhere(b"a", TWO)
    assert not subject.is_elsewhere(b"a", ONE)
    assert not subject.is_elsewhere(b"b", TWO)
    subject.release(ONE)
    assert not subject.is_elsewhere(b"a", TWO)


def test_capacity_is_hard() -> None:
    """The fifth key of four is refused, memory does not grow, and the four keep their slots."""
    subject = table()
    slots = admit(subject, [b"a", b"b", b"c", b"d"])
    assert sorted(slots) == [0, 1, 2, 3]
    assert admit(subject, [b"e"], now_ms=START_MS + IDLE_MS - 1) == [NO_SLOT]
    assert find(subject, [b"a", b"b", b"c", b"d", b"e"]) == [*slots, NO_SLOT]
    assert len(subject) == CAPACITY


def test_too_many_at_once_fill_what_there_is() -> None:
    """A flood of new keys takes the free slots in order, the rest is refused."""
    subject = table()
    assert [slot == NO_SLOT for slot in admit(subject, [b"%d" % i for i in range(6)])] == [False] * 4 + [True] * 2


def test_a_refused_key_leaves_no_trace() -> None:
    """It is asked about again with its next record, and nothing of it must be deleted."""
    subject = full()
    admit(subject, [b"e"])
    assert not subject.is_elsewhere(b"e", TWO)
    assert subject.deleted(ONE) == []


def test_the_longest_idle_key_goes_first() -> None:
    """Of several idle keys the one that has been silent longest makes room."""
    subject = full()
    slots = find(subject, [b"a", b"b"])
    admitted, evicted = subject.admit(ONE, [b"e", b"f"], START_MS + 10 * IDLE_MS)
    assert sorted(evicted.tolist()) == sorted(slots) == sorted(admitted.tolist())
    assert find(subject, [b"a", b"b"]) == [NO_SLOT, NO_SLOT]
    assert NO_SLOT not in find(subject, [b"c", b"d", b"e", b"f"])


def test_touching_a_key_makes_it_the_last_to_go() -> None:
    """What counts is the key's newest record, not when it was admitted."""
    subject = full()
    subject.touch(slots_of(*find(subject, [b"a"])), np.array([START_MS + IDLE_MS]))
    subject.clean(ONE, slots_of(*find(subject, [b"a"])), [])
    admit(subject, [b"e"], now_ms=START_MS + 10 * IDLE_MS)
    assert find(subject, [b"b"]) == [NO_SLOT]
    assert find(subject, [b"a"]) != [NO_SLOT]


def test_a_late_record_does_not_make_a_key_look_idle() -> None:
    """A record from the past cannot turn the key's clock back."""
    subject = full()
    subject.touch(slots_of(*find(subject, [b"d"])), np.array([0]))
    subject.clean(ONE, slots_of(*find(subject, [b"d"])), [])
    admit(subject, [b"e"], now_ms=START_MS + 10 * IDLE_MS)
    assert find(subject, [b"a"]) == [NO_SLOT]
    assert find(subject, [b"d"]) != [NO_SLOT]


def test_the_newest_of_several_records_of_a_key_counts() -> None:
    """A batch with a key's records in any order leaves its newest time."""
    subject = full()
    (slot,) = find(subject, [b"a"])
    subject.touch(slots_of(slot, slot, slot), START_MS + np.array([5, IDLE_MS, 7]))
    subject.clean(ONE, slots_of(slot), [])
    admit(subject, [b"e"], now_ms=START_MS + IDLE_MS + 500)
    assert find(subject, [b"a"]) == [slot]


@pytest.mark.parametrize(("idle_ms", "goes"), [(IDLE_MS - 1, False), (IDLE_MS, True)])
def test_only_a_key_idle_for_the_stated_time_goes(idle_ms: int, goes: bool) -> None:
    """A busy table refuses newcomers rather than forget a key in use."""
    subject = table(1)
    admit(subject, [b"a"])
    assert (admit(subject, [b"b"], now_ms=START_MS + idle_ms) != [NO_SLOT]) == goes


def test_a_changed_key_is_never_evicted() -> None:
    """State that no checkpoint holds yet stays, however long the key has been idle."""
    subject = full()
    subject.touch(slots_of(*find(subject, [b"a", b"b", b"c"])), np.full(3, START_MS))
    slot = find(subject, [b"d"])
    assert admit(subject, [b"e", b"f"], now_ms=START_MS + 100 * IDLE_MS) == [*slot, NO_SLOT]
    assert find(subject, [b"d"]) == [NO_SLOT]


def test_a_held_key_is_never_evicted() -> None:
    """Whoever knows that a key is in the middle of something has a word; the next in line goes instead."""
    held = {0}
    subject = KeyTable(2, IDLE_MS, lambda slots: np.isin(slots, list(held)))
    a, _ = admit(subject, [b"a", b"b"])
    held = {a}
    late_ms = START_MS + 10 * IDLE_MS
    slots, evicted = subject.admit(ONE, [b"c", b"d"], late_ms)
    assert (slots >= 0).tolist() == [True, False]
    assert find(subject, [b"a"]) == [a]
    held = set()
    assert len(evicted) == 1
    assert subject.admit(ONE, [b"e"], late_ms)[1].tolist() == [a]


def test_free_slots_are_used_before_anyone_is_evicted() -> None:
    """Nobody goes while there is room."""
    subject = table()
    admit(subject, [b"a", b"b", b"c"])
    _, evicted = subject.admit(ONE, [b"d"], START_MS + 100 * IDLE_MS)
    assert len(evicted) == 0
    assert len(subject) == 4


def test_an_evicted_key_is_reported_until_its_deletion_is_stored() -> None:
    """A checkpoint that failed reports it again, the one after that succeeded does not."""
    subject = full()
    admit(subject, [b"e"], now_ms=START_MS + 10 * IDLE_MS)
    assert subject.deleted(ONE) == subject.deleted(ONE) == [b"a"]
    assert subject.deleted(TWO) == []
    subject.clean(ONE, slots_of(), [b"a"])
    assert subject.deleted(ONE) == []


def test_a_deletion_that_came_after_the_checkpoint_began_stays() -> None:
    """Cleaning takes away what was stored and nothing else."""
    subject = full()
    admit(subject, [b"e"], now_ms=START_MS + 10 * IDLE_MS)
    stored = subject.deleted(ONE)
    admit(subject, [b"f"], now_ms=START_MS + 10 * IDLE_MS)
    subject.clean(ONE, slots_of(), stored)
    assert subject.deleted(ONE) == [b"b"]


def test_a_key_that_comes_back_is_not_deleted() -> None:
    """Its new state must survive the checkpoint that would have removed the old one."""
    subject = full()
    admit(subject, [b"e"], now_ms=START_MS + 10 * IDLE_MS)
    admit(subject, [b"a"], now_ms=START_MS + 10 * IDLE_MS)
    assert subject.deleted(ONE) == [b"b"]
    assert find(subject, [b"a"]) != [NO_SLOT]


def test_a_refused_comeback_is_still_deleted() -> None:
    """A key for which there was no room again has no new state that could be lost."""
    subject = table(1)
    admit(subject, [b"a"])
    admit(subject, [b"b"], now_ms=START_MS + 2 * IDLE_MS)
    assert admit(subject, [b"a"], now_ms=START_MS + 2 * IDLE_MS) == [NO_SLOT]
    assert subject.deleted(ONE) == [b"a"]


def test_dirty_are_the_changed_slots_of_one_partition() -> None:
    """Each partition is stored by itself, and only what changed."""
    subject = table()
    a, b = admit(subject, [b"a", b"b"], ONE)
    c, d = admit(subject, [b"c", b"d"], TWO)
    subject.touch(slots_of(a, c, d), np.full(3, START_MS))
    assert (subject.dirty(ONE).tolist(), sorted(subject.dirty(TWO).tolist())) == ([a], sorted([c, d]))
    assert subject.dirty_count() == 3
    assert b not in subject.dirty(ONE)


def test_dirty_slots_stay_marked_until_they_are_stored() -> None:
    """A failed checkpoint forgets no change; a good one clears exactly what it stored."""
    subject = table()
    a, b = admit(subject, [b"a", b"b"])
    subject.touch(slots_of(a, b), np.full(2, START_MS))
    assert subject.dirty(ONE).tolist() == subject.dirty(ONE).tolist()
    subject.clean(ONE, slots_of(a), [])
    assert (subject.dirty(ONE).tolist(), subject.dirty_count()) == ([b], 1)


def test_a_key_just_loaded_is_clean() -> None:
    """Loading is not a change: a slot's former owner leaves no mark on it."""
    subject = table(1)
    slot = admit(subject, [b"a"])
    subject.touch(slots_of(*slot), np.array([START_MS]))
    subject.release(ONE)
    admit(subject, [b"b"])
    assert (subject.dirty_count(), subject.dirty(ONE).tolist()) == (0, [])


def test_an_unknown_partition_has_nothing() -> None:
    """Asking about a partition that never had a key is no error: rebalances come at any time."""
    subject = table()
    assert (subject.dirty(TWO).tolist(), subject.deleted(TWO), subject.release(TWO).tolist()) == ([], [], [])


def test_release_frees_the_slots_of_one_partition() -> None:
    """A revoked partition gives its room to others and takes its marks with it."""
    subject = table()
    mine = admit(subject, [b"a", b"b"], ONE)
    other = admit(subject, [b"c", b"d"], TWO)
    subject.touch(slots_of(*mine, *other), np.full(4, START_MS))
    assert sorted(subject.release(ONE).tolist()) == sorted(mine)
    assert (len(subject), find(subject, [b"a", b"b"])) == (2, [NO_SLOT, NO_SLOT])
    assert sorted(subject.dirty(TWO).tolist()) == sorted(other)
    assert sorted(admit(subject, [b"e", b"f"], TWO)) == sorted(mine)


def test_release_forgets_deletions() -> None:
    """The next owner decides about the stored keys of a partition: a former owner deletes nothing."""
    subject = full()
    admit(subject, [b"e"], now_ms=START_MS + 10 * IDLE_MS)
    subject.release(ONE)
    assert subject.deleted(ONE) == []


def test_a_partition_can_come_back() -> None:
    """Revoked and assigned again, its keys are admitted as if for the first time."""
    subject = full()
    subject.release(ONE)
    assert NO_SLOT not in admit(subject, [b"a", b"b"])
    assert len(subject) == 2


@dataclass
class Model:
    """Oracle of one partition's table: dictionaries and sorting."""

    seen: dict[bytes, int] = field(default_factory=dict)
    dirty: set[bytes] = field(default_factory=set)
    deleted: list[bytes] = field(default_factory=list)

    def admit(self, keys: list[bytes], now_ms: int) -> list[bytes]:
        wanted = len(keys) - (CAPACITY - len(self.seen))
        idle = [key for key in self.seen if key not in self.dirty and now_ms - self.seen[key] >= IDLE_MS]
        for key in sorted(idle, key=self.seen.__getitem__)[: max(wanted, 0)]:
            del self.seen[key]
            self.deleted.append(key)
        taken = keys[: CAPACITY - len(self.seen)]
        for key in taken:
            self.seen[key] = now_ms
            self.deleted = [each for each in self.deleted if each != key]
        return taken


KEY_NAMES = [b"%d" % i for i in range(9)]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["see", "see", "see", "see", "store", "release"]),
        st.lists(st.sampled_from(KEY_NAMES), min_size=1, max_size=4, unique=True),
        st.sampled_from([1, 300, 900, 2_000]),
    ),
    max_size=25,
)


@quick
@given(ACTIONS)
def test_any_history_equals_a_table_of_dictionaries(actions: list[tuple[str, list[bytes], int]]) -> None:
    """Seeing, storing and releasing in any order: residents, changes and deletions are those of the slow way."""
    subject, model, now_ms = table(), Model(), START_MS
    for turn, (action, keys, pause_ms) in enumerate(actions):
        now_ms += pause_ms
        if action == "see":
            new = [key for key in keys if key not in model.seen]
            assert [key for key in keys if find(subject, [key]) == [NO_SLOT]] == new
            slots, _ = subject.admit(ONE, new, now_ms)
            taken = model.admit(new, now_ms)
            assert [key for key, slot in zip(new, slots, strict=True) if slot != NO_SLOT] == taken
            known = [key for key in keys if key in model.seen]
            times_ms = now_ms + turn + np.arange(len(known))  # distinct, so that the order of eviction is
            subject.touch(slots_of(*find(subject, known)), times_ms)
            model.seen |= dict(zip(known, times_ms.tolist(), strict=True))
            model.dirty |= set(known)
        elif action == "store":
            subject.clean(ONE, subject.dirty(ONE), subject.deleted(ONE))
            model.dirty, model.deleted = set(), []
        else:
            assert len(subject.release(ONE)) == len(model.seen)
            model = Model()
        assert len(subject) == len(model.seen) <= CAPACITY
        assert {subject.keys[slot] for slot in subject.resident()} == set(model.seen)
        assert {subject.keys[slot] for slot in subject.dirty(ONE)} == model.dirty
        assert sorted(subject.deleted(ONE)) == sorted(model.deleted)
        assert subject.dirty_count() == len(model.dirty)


def test_admission_learns_nothing_of_time() -> None:
    """A time that nobody has judged yet makes no other key idle later on; only records that count do."""
    subject = full()
    slots = slots_of(*find(subject, [b"a", b"b", b"c", b"d"]))
    subject.touch(slots, np.full(4, START_MS))
    assert admit(subject, [b"e"], now_ms=START_MS + 10 * IDLE_MS) == [NO_SLOT], "all are changed: none may go"
    subject.clean(ONE, slots, [])
    assert admit(subject, [b"e"], now_ms=START_MS + 1) == [NO_SLOT], "none is idle"


def test_keys_with_records_at_hand_are_in_use() -> None:
    """Whoever comes back in this very moment is not idle, however long it was away; nothing of it is learnt."""
    subject, late_ms = full(), START_MS + 10 * IDLE_MS
    at_hand = slots_of(*find(subject, [b"a", b"b"])), np.full(2, late_ms)
    _, evicted = subject.admit(ONE, [b"e", b"f", b"g"], late_ms, at_hand)
    assert len(evicted) == 2
    assert NO_SLOT not in find(subject, [b"a", b"b"])
    subject.touch(slots_of(*find(subject, [b"e", b"f"])), np.full(2, late_ms))
    assert len(subject.admit(ONE, [b"g", b"h"], late_ms)[1]) == 2, "the records were refused: it was nobody's time"


def test_a_change_without_a_time_keeps_the_key_as_idle_as_it_was() -> None:
    """A record whose time does not count is saved with its key, and is no sign that the key is in use."""
    subject = full()
    (slot,) = find(subject, [b"a"])
    subject.change(slots_of(slot))
    assert subject.dirty(ONE).tolist() == [slot]
    subject.clean(ONE, slots_of(slot), [])
    admit(subject, [b"e"], now_ms=START_MS + 10 * IDLE_MS)
    assert find(subject, [b"a"]) == [NO_SLOT]
