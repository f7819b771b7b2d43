"""What every state store promises of the roster, the small entries beside the keys' states; memory and Redis alike."""

from __future__ import annotations

import pytest

from streamae.batches import Partition
from streamae.connectors.buckets import BUCKETS, bucket_of
from streamae.connectors.protocols import Manifest, Outcome, Stamp
from streamae.errors import RetryableError
from tests.connectors.stores import Store

HERE = Partition("topic", 3)
ONE, TWO, THREE = (b"a", b"1"), (b"b", b"22"), (b"\xff\x00", b"\x00\r\n")
MANY = [(b"key-%d" % number, b"%d" % number * 7) for number in range(5_000)]
FP = Stamp("fp")


def test_without_entries_nothing_of_a_roster_is_stored(stores: Store) -> None:
    """Who uses no roster stores what it always stored."""
    store = stores.open()
    assert store.roster(HERE, None) == []
    assert store.roster(HERE, 10) is None
    store.checkpoint(HERE, None, 10, FP, [ONE])
    assert store.roster(HERE, 10) == []
    assert store.manifest(HERE).roster_counts == ()  # type: ignore[union-attr]


def test_entries_are_saved_changed_and_taken_off_with_the_keys(stores: Store) -> None:
    """One step saves both; a key may stand in the roster without a state and the other way round."""
    store = stores.open()
    assert store.checkpoint(HERE, None, 10, FP, [(b"z", b"state")], roster=[ONE, TWO]) is Outcome.OK
    assert sorted(stores.open().roster(HERE, 10) or ()) == [ONE, TWO]
    assert (
        store.checkpoint(HERE, 10, 20, FP, [], roster=[(b"a", b"!"), THREE], off_roster=[b"b", b"never"]) is Outcome.OK
    )
    assert sorted(store.roster(HERE, 20) or ()) == [(b"a", b"!"), THREE]
    assert store.load(HERE, [b"z", b"a"], 20) == [b"state", None]
    assert store.checkpoint(HERE, 20, 30, FP, [], deleted=[b"z", b"a"]) is Outcome.OK
    assert sorted(store.roster(HERE, 30) or ()) == [(b"a", b"!"), THREE]


def test_the_manifest_counts_entries(stores: Store) -> None:
    """Counts of their own: those of the keys stay what they were, and vanish with the last entry."""
    store, counts, entries = stores.open(), [0] * BUCKETS, [0] * BUCKETS
    store.checkpoint(HERE, None, 10, FP, [TWO], roster=[ONE])
    counts[bucket_of(b"b")], entries[bucket_of(b"a")] = 1, 1
    assert store.manifest(HERE) == Manifest(10, "fp", tuple(counts), roster_counts=tuple(entries))
    store.checkpoint(HERE, 10, 20, FP, [])
    assert store.manifest(HERE) == Manifest(20, "fp", tuple(counts), roster_counts=tuple(entries))
    store.checkpoint(HERE, 20, 30, FP, [], off_roster=[b"a"])
    assert store.manifest(HERE) == Manifest(30, "fp", tuple(counts))


def test_many_entries_are_read_in_several_calls(stores: Store) -> None:
    """However a store cuts a large call: what is read is every entry, once."""
    store = stores.open()
    assert store.checkpoint(HERE, None, 10, FP, MANY[:3_000], roster=MANY) is Outcome.OK
    assert sorted(store.roster(HERE, 10) or ()) == sorted(MANY)
    off = [key for key, _ in MANY[2_000:]]
    assert store.checkpoint(HERE, 10, 20, FP, MANY[:10], roster=MANY[:2], off_roster=off) is Outcome.OK
    assert sorted(store.roster(HERE, 20) or ()) == sorted(MANY[:2_000])
    assert store.checkpoint(HERE, 20, 30, FP, [], off_roster=[key for key, _ in MANY[:2_000]]) is Outcome.OK
    assert (store.roster(HERE, 30), store.manifest(HERE).is_whole) == ([], True)  # type: ignore[union-attr]


@pytest.mark.parametrize("many", [[ONE], MANY])
def test_calls_that_differ_in_the_roster_differ(stores: Store, many: list[tuple[bytes, bytes]]) -> None:
    """A repeated call is answered as before; another one to the same offset is refused and changes nothing."""
    store = stores.open()
    for _ in range(2):
        assert store.checkpoint(HERE, None, 10, FP, many, roster=[ONE]) is Outcome.OK
    assert store.checkpoint(HERE, None, 10, FP, many, roster=[TWO]) is Outcome.STALE
    assert store.checkpoint(HERE, None, 10, FP, many, off_roster=[b"a"]) is Outcome.STALE
    assert store.checkpoint(HERE, None, 10, FP, many) is Outcome.STALE
    assert store.roster(HERE, 10) == [ONE]


def test_a_whole_state_replaces_the_roster(stores: Store) -> None:
    """So does a partition that begins anew: no entry comes back to life."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, FP, [ONE], roster=[ONE, TWO])
    assert store.checkpoint(HERE, 10, 20, FP, [ONE], roster=[THREE], whole=True) is Outcome.OK
    assert store.roster(HERE, 20) == [THREE]
    stores.lose_manifest(HERE)
    assert store.roster(HERE, None) == []
    assert store.checkpoint(HERE, None, 30, FP, [], roster=[TWO]) is Outcome.OK
    assert store.roster(HERE, 30) == [TWO]
    assert store.checkpoint(HERE, 30, 40, FP, MANY, whole=True) is Outcome.OK
    assert store.roster(HERE, 40) == []


def test_drop_takes_the_roster_away(stores: Store) -> None:
    """A rebuild starts from nothing."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, FP, [ONE], roster=[TWO])
    assert store.drop(HERE) is True
    assert store.roster(HERE, None) == []
    store.checkpoint(HERE, None, 10, FP, [ONE])
    assert store.roster(HERE, 10) == []


def test_a_roster_that_moved_on_is_not_read(stores: Store) -> None:
    """Another owner's entries belong to another offset."""
    former, owner = stores.open(), stores.open()
    former.checkpoint(HERE, None, 10, FP, [], roster=[ONE])
    owner.checkpoint(HERE, 10, 20, FP, [], roster=[TWO])
    assert former.roster(HERE, 10) is None
    assert former.roster(HERE, None) is None


def test_a_lost_entry_is_noticed(stores: Store) -> None:
    """By whoever takes over, reads, or writes to its bucket; a whole state mends it."""
    store = stores.open()
    twin = next(b"%d" % number for number in range(10_000) if bucket_of(b"%d" % number) == bucket_of(b"a"))
    store.checkpoint(HERE, None, 10, FP, [(twin, b"state")], roster=[ONE, (twin, b"x")])
    stores.lose_entry(HERE, b"a")
    assert not store.manifest(HERE).is_whole  # type: ignore[union-attr]
    assert store.roster(HERE, 10) is None
    assert store.load(HERE, [twin], 10) == [b"state"], "the keys themselves are all there"
    for entries in ([(twin, b"y")], [*MANY, (twin, b"y")]):
        assert store.checkpoint(HERE, 10, 20, FP, [], roster=entries) is Outcome.ROLLED_BACK
        assert store.checkpoint(HERE, 10, 20, FP, [], off_roster=[key for key, _ in entries]) is Outcome.ROLLED_BACK
    assert store.checkpoint(HERE, 10, 20, FP, [], roster=[ONE], whole=True) is Outcome.OK
    assert (store.roster(HERE, 20), store.manifest(HERE).is_whole) == ([ONE], True)  # type: ignore[union-attr]


def test_all_states_are_read_in_portions(stores: Store) -> None:
    """Every key once with its state, beside a roster; of a store that has moved on nothing counts."""
    store, states = stores.open(), [(key, value * 40) for key, value in MANY]
    assert store.checkpoint(HERE, None, 10, FP, states, roster=[ONE]) is Outcome.OK
    portions = list(stores.open().states(HERE, 10))
    assert len(portions) > 1
    assert sorted(one for portion in portions for one in portion) == sorted(states)
    reading = store.states(HERE, 10)
    next(reading)
    assert store.checkpoint(HERE, 10, 20, FP, [TWO]) is Outcome.OK
    with pytest.raises(RetryableError, match="changed hands"):
        list(reading)
    with pytest.raises(RetryableError, match="changed hands"):
        list(store.states(HERE, 10))


def test_states_are_not_read_where_a_key_is_lost(stores: Store) -> None:
    """A bucket that holds less than the manifest says is no state to rely on."""
    store = stores.open()
    assert store.checkpoint(HERE, None, 10, FP, [ONE, TWO]) is Outcome.OK
    assert [one for portion in store.states(HERE, 10) for one in portion] == sorted([ONE, TWO], key=bucket)
    stores.lose_key(HERE, b"a")
    with pytest.raises(RetryableError, match="changed hands"):
        list(store.states(HERE, 10))


def bucket(one: tuple[bytes, bytes]) -> int:
    """Return the bucket of a key with its state."""
    return bucket_of(one[0])
