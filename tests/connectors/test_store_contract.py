"""What every state store promises, held against memory and Redis alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamae.batches import Partition
from streamae.connectors.buckets import BUCKETS, bucket_of
from streamae.connectors.protocols import Form, Manifest, Outcome, Stamp
from tests.connectors.stores import Store

HERE = Partition("topic", 3)
ELSEWHERE = Partition("topic", 4)


def states(*names: str, suffix: str = "") -> list[tuple[bytes, bytes]]:
    """Return packed states of these keys."""
    return [(name.encode(), f"state of {name}{suffix}".encode()) for name in names]


def same_bucket(count: int) -> list[bytes]:
    """Return keys that share a bucket."""
    keys = (b"k%d" % number for number in range(100_000))
    return [key for key in keys if bucket_of(key) == 7][:count]


def test_an_empty_store_has_nothing(stores: Store) -> None:
    """A first start is told from a loss by asking for no manifest."""
    assert stores.open().manifest(HERE) is None
    assert stores.open().load(HERE, [b"a", b"b"], base=None) == [None, None]
    assert stores.open().load(HERE, [b"a"], base=10) is None


def test_what_was_saved_is_loaded_in_the_order_asked(stores: Store) -> None:
    """Another process gets every byte back, and None for keys nobody has saved."""
    assert stores.open().checkpoint(HERE, None, 10, Stamp("fp"), states("a", "b", "c")) is Outcome.OK
    loaded = stores.open().load(HERE, [b"c", b"unknown", b"a", b"b", b"a"], base=10)
    assert loaded == [b"state of c", None, b"state of a", b"state of b", b"state of a"]


def test_the_manifest_says_what_is_stored(stores: Store) -> None:
    """Offset and fingerprint decide recovery, counts tell a loss."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp-ü"), states("a", "b"))
    counts = [0] * BUCKETS
    for key in (b"a", b"b"):
        counts[bucket_of(key)] += 1
    assert store.manifest(HERE) == Manifest(10, "fp-ü", tuple(counts))
    store.checkpoint(HERE, 10, 20, Stamp("fp-ü", 7, "cluster/tøpic"), [])
    assert store.manifest(HERE) == Manifest(20, "fp-ü", tuple(counts), 7, "cluster/tøpic")


@pytest.mark.parametrize("keys", [2, 6_000])
def test_a_partition_has_state_of_its_own(stores: Store, keys: int) -> None:
    """It is saved and read with the manifest, in the same step as the keys, few or many, and goes when there is none."""
    store, many = stores.open(), states(*map(str, range(keys)))
    assert store.checkpoint(HERE, None, 10, Stamp("fp", partition_state=b"\x00own"), many) is Outcome.OK
    assert stores.open().manifest(HERE).partition_state == b"\x00own"  # type: ignore[union-attr]
    assert store.checkpoint(HERE, 10, 20, Stamp("fp", partition_state=b"newer"), many[:1]) is Outcome.OK
    assert store.manifest(HERE).partition_state == b"newer"  # type: ignore[union-attr]
    assert store.checkpoint(HERE, 10, 30, Stamp("other", partition_state=b"foreign"), []) is Outcome.STALE
    assert store.manifest(HERE).partition_state == b"newer"  # type: ignore[union-attr]
    assert store.checkpoint(HERE, 20, 30, Stamp("fp"), many[:1]) is Outcome.OK
    assert store.manifest(HERE).partition_state == b""  # type: ignore[union-attr]


def test_calls_that_differ_in_the_partitions_state_differ(stores: Store) -> None:
    """A repeated call is answered as before; one to the same offset with other state of the partition is refused."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp", partition_state=b"one"), states("a"))
    assert store.checkpoint(HERE, None, 10, Stamp("fp", partition_state=b"one"), states("a")) is Outcome.OK
    assert store.checkpoint(HERE, None, 10, Stamp("fp", partition_state=b"two"), states("a")) is Outcome.STALE


def test_a_checkpoint_changes_only_its_keys(stores: Store) -> None:
    """Only dirty keys travel; the others keep their state."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a", "b", "c"))
    assert (
        store.checkpoint(HERE, 10, 20, Stamp("fp"), states("b", "d", suffix="!"), deleted=[b"c", b"never"])
        is Outcome.OK
    )
    assert store.load(HERE, [b"a", b"b", b"c", b"d"], base=20) == [b"state of a", b"state of b!", None, b"state of d!"]
    manifest = store.manifest(HERE)
    assert manifest is not None
    assert (manifest.offset, sum(manifest.counts)) == (20, 3)


def test_a_checkpoint_without_keys_moves_the_manifest(stores: Store) -> None:
    """A quiet partition makes progress too, and its replay stays short."""
    store = stores.open()
    assert store.checkpoint(HERE, None, 10, Stamp("fp"), []) is Outcome.OK
    assert store.checkpoint(HERE, 10, 11, Stamp("fp"), []) is Outcome.OK
    assert store.load(HERE, [], base=11) == []


def test_partitions_and_groups_do_not_touch(stores: Store) -> None:
    """The same key in another partition or group is another key."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a"))
    store.checkpoint(ELSEWHERE, None, 99, Stamp("fp"), states("a", suffix=" elsewhere"))
    store.drop(ELSEWHERE)
    assert store.load(HERE, [b"a"], base=10) == [b"state of a"]
    assert store.manifest(ELSEWHERE) is None


@pytest.mark.parametrize("key", [b"", b"\x00", b"\xff\xfe", "ключ".encode(), b"a:b:{c}", b"k" * 256])
def test_keys_and_states_are_any_bytes(stores: Store, key: bytes) -> None:
    """Keys come from producers and are never decoded."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), [(key, b"\x00\xff\r\n" + key)])
    assert store.load(HERE, [key], base=10) == [b"\x00\xff\r\n" + key]
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), [], deleted=[key]) is Outcome.OK
    assert store.load(HERE, [key], base=20) == [None]


def test_five_thousand_keys_in_one_call(stores: Store) -> None:
    """The largest chunk anyone sends, with hundreds of keys in a bucket, is within every limit."""
    store = stores.open()
    crowded = same_bucket(300)
    records = [(key, b"s" * 200 + key) for key in [*crowded, *(b"key-%d" % number for number in range(4_700))]]
    assert store.checkpoint(HERE, None, 10, Stamp("fp"), records) is Outcome.OK
    assert store.load(HERE, [key for key, _ in records], base=10) == [state for _, state in records]
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), [], deleted=[key for key, _ in records]) is Outcome.OK
    assert store.manifest(HERE) == Manifest(20, "fp", (0,) * BUCKETS)


def test_more_keys_of_one_bucket_than_a_command_takes(stores: Store) -> None:
    """However unevenly keys fall, a call is cut into commands the server accepts."""
    store = stores.open()
    crowded = same_bucket(380)
    for round_ in range(4):
        records = [(b"%d" % round_ + key, key) for key in crowded]
        assert store.checkpoint(HERE, round_ * 10 or None, round_ * 10 + 10, Stamp("fp"), records) is Outcome.OK
    everything = [(key, b"x") for key in (b"q%d" % number for number in range(400_000)) if bucket_of(key) == 7][:1_500]
    assert store.checkpoint(HERE, 40, 50, Stamp("fp"), everything) is Outcome.OK
    keys = [key for key, _ in everything]
    assert store.load(HERE, keys, base=50) == [b"x"] * len(keys)
    assert store.checkpoint(HERE, 50, 60, Stamp("fp"), [], deleted=keys) is Outcome.OK


# Who may move the manifest.


def test_a_zombie_is_stale(stores: Store) -> None:
    """The former owner comes late with an older offset: its state must not overwrite the new owner's."""
    former, owner = stores.open(), stores.open()
    former.checkpoint(HERE, None, 10, Stamp("fp"), states("a"))
    assert owner.checkpoint(HERE, 10, 30, Stamp("fp"), states("a", suffix=" new")) is Outcome.OK
    assert former.checkpoint(HERE, 10, 20, Stamp("fp"), states("a", suffix=" zombie")) is Outcome.STALE
    assert former.checkpoint(HERE, 10, 30, Stamp("fp"), states("a", suffix=" zombie")) is Outcome.STALE
    assert owner.load(HERE, [b"a"], base=30) == [b"state of a new"]


def test_a_fresh_start_does_not_overwrite_a_manifest(stores: Store) -> None:
    """Who believes there is nothing is wrong when there is something."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a"))
    assert store.checkpoint(HERE, None, 20, Stamp("fp"), states("b")) is Outcome.STALE
    assert store.load(HERE, [b"a", b"b"], base=10) == [b"state of a", None]


def test_state_of_another_meaning_is_stale(stores: Store) -> None:
    """Two releases in a rolling update never mix their states."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("old model"), states("a"))
    assert store.checkpoint(HERE, 10, 20, Stamp("new model"), states("a")) is Outcome.STALE


NEW, OLD = Stamp("new", layouts=("a(x:<i8[])", "b(y:<i8[])")), Form("old")


@pytest.mark.parametrize("keys", [2, 6_000])
def test_a_form_is_written_over_by_who_relies_on_it(stores: Store, keys: int) -> None:
    """The first checkpoint after an upgrade moves fingerprint and layouts with the keys, and can be repeated."""
    store, many = stores.open(), states(*map(str, range(keys)))
    store.checkpoint(HERE, None, 10, Stamp("old"), many)
    assert store.checkpoint(HERE, 10, 20, NEW, many) is Outcome.STALE
    for _ in range(2):
        assert store.checkpoint(HERE, 10, 20, replace(NEW, relied_on=OLD), many) is Outcome.OK
    assert store.manifest(HERE).form == NEW.form  # type: ignore[union-attr]
    assert store.checkpoint(HERE, 20, 30, Stamp("old"), many) is Outcome.STALE
    assert store.checkpoint(HERE, 20, 30, NEW, many) is Outcome.OK


def test_layouts_are_part_of_the_form(stores: Store) -> None:
    """Values in a layout that the manifest does not list would be unreadable; a whole state leaves none of them."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, NEW, states("a"))
    other = replace(NEW, layouts=NEW.layouts[:1])
    assert store.checkpoint(HERE, None, 10, other, states("a")) is Outcome.STALE, "not the same call"
    assert store.checkpoint(HERE, 10, 20, other, states("b")) is Outcome.STALE
    assert store.checkpoint(HERE, 10, 20, replace(other, relied_on=Form("new")), states("b")) is Outcome.STALE
    assert store.manifest(HERE).form == NEW.form  # type: ignore[union-attr]
    assert store.checkpoint(HERE, 10, 20, replace(other, relied_on=NEW.form), states("b")) is Outcome.OK
    assert store.manifest(HERE).layouts == other.layouts  # type: ignore[union-attr]
    assert store.checkpoint(HERE, 20, 30, NEW, states("c"), whole=True) is Outcome.OK
    assert store.manifest(HERE).layouts == NEW.layouts  # type: ignore[union-attr]
    assert store.checkpoint(HERE, 30, 40, Stamp("old"), states("c"), whole=True) is Outcome.STALE
    assert store.checkpoint(HERE, 30, 40, replace(Stamp("old"), relied_on=NEW.form), [], whole=True) is Outcome.OK
    assert store.manifest(HERE).form == OLD  # type: ignore[union-attr]


def test_the_manifest_never_goes_back(stores: Store) -> None:
    """Neither to an older offset nor to the same one with other content."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a"))
    assert store.checkpoint(HERE, 10, 10, Stamp("fp"), states("b")) is Outcome.STALE
    assert store.checkpoint(HERE, 5, 9, Stamp("fp"), states("b")) is Outcome.STALE
    assert store.load(HERE, [b"b"], base=10) == [None]


def test_a_later_base_of_our_own_is_accepted(stores: Store) -> None:
    """A call whose answer was lost, then another that holds its keys too: the second one counts."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a"))
    store.checkpoint(HERE, 10, 20, Stamp("fp"), states("b"))  # its answer got lost: the caller still stands at 10
    assert store.checkpoint(HERE, 10, 30, Stamp("fp"), states("b", "c", suffix="!")) is Outcome.OK
    assert store.load(HERE, [b"a", b"b", b"c"], base=30) == [b"state of a", b"state of b!", b"state of c!"]


@pytest.mark.parametrize("base", [None, 10])
def test_a_repeated_call_is_answered_as_the_first(stores: Store, base: int | None) -> None:
    """After a lost answer the same call is sent again, also by the client itself, and is no conflict."""
    store = stores.open()
    if base is not None:
        store.checkpoint(HERE, None, base, Stamp("fp"), states("a"))
    for _ in range(3):
        assert store.checkpoint(HERE, base, 20, Stamp("fp"), states("b"), deleted=[b"a"]) is Outcome.OK
    assert store.load(HERE, [b"a", b"b"], base=20) == [None, b"state of b"]


# Epochs and identities.


def test_whoever_took_over_later_may_write_a_former_owner_may_not(stores: Store) -> None:
    """The epoch sends a zombie away before its offset does; among equals the offset decides."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp", 3), states("a"))
    assert store.checkpoint(HERE, 10, 20, Stamp("fp", 2), states("a", suffix="!")) is Outcome.STALE
    assert store.load(HERE, [b"a"], base=10) == [b"state of a"]
    assert store.checkpoint(HERE, 10, 20, Stamp("fp", 3), states("b")) is Outcome.OK
    assert store.checkpoint(HERE, 20, 30, Stamp("fp", 5), states("c")) is Outcome.OK
    assert store.checkpoint(HERE, 30, 30, Stamp("fp", 9), states("c")) is Outcome.STALE
    manifest = store.manifest(HERE)
    assert manifest is not None
    assert (manifest.offset, manifest.epoch) == (30, 5)


def test_a_repeated_call_is_answered_even_if_a_later_owner_has_come(stores: Store) -> None:
    """What was accepted stays accepted; only another call is judged."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp", 3), states("a"))
    assert store.checkpoint(HERE, None, 10, Stamp("fp", 3), states("a")) is Outcome.OK
    assert store.checkpoint(HERE, None, 10, Stamp("fp", 4), states("a")) is Outcome.STALE


@pytest.mark.parametrize("whole", [False, True])
def test_state_of_another_topic_is_not_written_over(stores: Store, whole: bool) -> None:
    """Offsets of a topic that was deleted and created again do not compare with those of the former one."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp", 0, "c/new"), states("a"))
    assert store.checkpoint(HERE, 5, 20, Stamp("fp", 0, "c/old"), states("b"), whole=whole) is Outcome.STALE
    assert store.checkpoint(HERE, 15, 20, Stamp("fp", 0, "c/old"), states("b"), whole=whole) is Outcome.STALE
    assert store.load(HERE, [b"a", b"b"], base=10) == [b"state of a", None]


@pytest.mark.parametrize(("stored", "ours"), [("", "c/t"), ("c/t", ""), ("c/t", "c/t"), ("", "")])
def test_an_unknown_identity_is_no_other_one(stores: Store, stored: str, ours: str) -> None:
    """Brokers that do not tell, and state from before there were identities, stay usable."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp", 0, stored), states("a"))
    assert store.checkpoint(HERE, 10, 20, Stamp("fp", 0, ours), states("b")) is Outcome.OK
    manifest = store.manifest(HERE)
    assert manifest is not None
    assert manifest.identity == ours


# The whole state at once.


def test_a_whole_state_replaces_what_is_left(stores: Store) -> None:
    """An owner that knows every key mends whatever the store has lost."""
    store = stores.open()
    lost, other = same_bucket(2)
    store.checkpoint(HERE, None, 10, Stamp("fp"), [(lost, b"1"), (other, b"2"), *states("gone")])
    stores.lose_key(HERE, lost)
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), [(other, b"3")]) is Outcome.ROLLED_BACK
    whole = [(lost, b"4"), (other, b"3"), *states("a")]
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), whole, whole=True) is Outcome.OK
    assert store.load(HERE, [lost, other, b"a", b"gone"], base=20) == [b"4", b"3", b"state of a", None]
    manifest = store.manifest(HERE)
    assert manifest is not None
    assert (sum(manifest.counts), manifest.is_whole) == (3, True)


@pytest.mark.parametrize("base", [None, 10])
def test_a_whole_state_needs_no_manifest(stores: Store, base: int | None) -> None:
    """After a FLUSHALL, with or without keys left over, and whatever the owner relied on."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a", "old"))
    stores.lose_manifest(HERE)
    for _ in range(2):  # its answer may get lost
        assert store.checkpoint(HERE, base, 20, Stamp("fp"), states("a", suffix="!"), whole=True) is Outcome.OK
    assert store.load(HERE, [b"a", b"old"], base=20) == [b"state of a!", None]


def test_a_whole_state_goes_over_an_older_one(stores: Store) -> None:
    """A store that went back holds a manifest below our base."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a"))
    assert store.checkpoint(HERE, 40, 50, Stamp("fp"), states("b"), whole=True) is Outcome.OK
    assert store.load(HERE, [b"a", b"b"], base=50) == [None, b"state of b"]


@pytest.mark.parametrize("stamp", [Stamp("fp", 1), Stamp("other", 2)])
@pytest.mark.parametrize("new", [20, 30, 40])
def test_a_whole_state_respects_other_owners(stores: Store, stamp: Stamp, new: int) -> None:
    """A former owner must not replace what its successor has stored: neither later offsets nor later epochs."""
    store = stores.open()
    store.checkpoint(HERE, None, 30, Stamp("fp", 2), states("a"))
    assert store.checkpoint(HERE, 10, new, stamp, states("b"), whole=True) is Outcome.STALE
    assert store.load(HERE, [b"a", b"b"], base=30) == [b"state of a", None]


# Many keys at once.

MANY = [(b"key-%d" % number, b"%d" % number * 7) for number in range(5_000)]


def test_many_keys_are_saved_like_few(stores: Store) -> None:
    """However a store cuts a large call: what it answers, keeps, counts and deletes is that of one call."""
    store = stores.open()
    assert store.checkpoint(HERE, None, 10, Stamp("fp"), MANY) is Outcome.OK
    changed = [(key, value + b"!") for key, value in MANY[:3_000]]
    deleted = [key for key, _ in MANY[3_500:]]
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), [*changed, *states("new")], deleted) is Outcome.OK
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), [*changed, *states("new")], deleted) is Outcome.OK
    expected = [value + b"!" for _, value in MANY[:3_000]] + [value for _, value in MANY[3_000:3_500]] + [None] * 1_500
    assert stores.open().load(HERE, [key for key, _ in MANY], base=20) == expected
    manifest = store.manifest(HERE)
    assert manifest is not None
    assert (sum(manifest.counts), manifest.is_whole) == (3_501, True)
    assert store.checkpoint(HERE, 20, 30, Stamp("fp"), states("new", suffix="!")) is Outcome.OK


def test_many_keys_replace_what_is_stored(stores: Store) -> None:
    """A whole state is seldom small."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("old"))
    assert store.checkpoint(HERE, 5, 20, Stamp("fp"), MANY, whole=True) is Outcome.OK
    assert store.load(HERE, [b"old", MANY[-1][0]], base=20) == [None, MANY[-1][1]]
    stores.lose_manifest(HERE)
    assert store.checkpoint(HERE, None, 30, Stamp("fp"), MANY[1:]) is Outcome.OK
    assert store.load(HERE, [MANY[0][0], MANY[1][0]], base=30) == [None, MANY[1][1]]


def test_many_keys_are_refused_like_few(stores: Store) -> None:
    """Every rule holds for large calls too, and a refused one changes nothing."""
    store = stores.open()
    lost, other = same_bucket(2)
    store.checkpoint(HERE, None, 10, Stamp("fp", 1), [(lost, b"1"), (other, b"2")])
    few = store.manifest(HERE)
    refused = [
        store.checkpoint(HERE, None, 20, Stamp("fp", 1), MANY),
        store.checkpoint(HERE, 10, 10, Stamp("fp", 1), MANY),
        store.checkpoint(HERE, 10, 20, Stamp("fp", 0), MANY),
        store.checkpoint(HERE, 10, 20, Stamp("fq", 1), MANY),
        store.checkpoint(HERE, 15, 20, Stamp("fp", 1), MANY),
    ]
    assert refused == [Outcome.STALE] * 4 + [Outcome.ROLLED_BACK]
    assert store.manifest(HERE) == few
    stores.lose_key(HERE, lost)
    assert store.checkpoint(HERE, 10, 20, Stamp("fp", 1), [*MANY, (other, b"3")]) is Outcome.ROLLED_BACK
    manifest = store.manifest(HERE)
    assert manifest is not None
    assert (manifest.offset, manifest.is_whole) == (10, False)


# The store lost something.


def test_a_manifest_tells_whether_its_buckets_are_whole(stores: Store) -> None:
    """A new owner learns of a loss before it relies on anything."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a", "b"))
    stores.lose_key(HERE, b"a")
    manifest = store.manifest(HERE)
    assert manifest is not None
    assert not manifest.is_whole


def test_a_lost_manifest_is_noticed(stores: Store) -> None:
    """A live owner's next write, and every read, must not build on nothing."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a"))
    stores.lose_manifest(HERE)
    assert store.load(HERE, [b"a"], base=10) is None
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), states("a")) is Outcome.ROLLED_BACK


def test_a_flushed_store_is_noticed(stores: Store) -> None:
    """FLUSHALL looks like a first start to everyone but the owner."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a"))
    stores.flush()
    assert store.manifest(HERE) is None
    assert store.load(HERE, [b"a"], base=10) is None
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), states("a")) is Outcome.ROLLED_BACK


def test_a_lost_key_is_noticed(stores: Store) -> None:
    """An evicted key looks like a new one; the count of its bucket does not."""
    store = stores.open()
    lost, other = same_bucket(2)
    store.checkpoint(HERE, None, 10, Stamp("fp"), [(lost, b"1"), (other, b"2"), *states("a")])
    stores.lose_key(HERE, lost)
    assert store.load(HERE, [lost], base=10) is None
    assert store.load(HERE, [other], base=10) is None
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), [(other, b"3")]) is Outcome.ROLLED_BACK
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), [], deleted=[other]) is Outcome.ROLLED_BACK
    assert store.load(HERE, [b"a"], base=10) == [b"state of a"], "buckets that are whole may be read"


def test_an_older_store_is_noticed(stores: Store) -> None:
    """A fail-over to a replica that lagged behind goes back under a live owner."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a"))
    stores.remember(HERE)
    store.checkpoint(HERE, 10, 20, Stamp("fp"), states("a", suffix="!"))
    stores.go_back(HERE)
    assert store.load(HERE, [b"a"], base=20) is None
    assert store.checkpoint(HERE, 20, 30, Stamp("fp"), states("b")) is Outcome.ROLLED_BACK


def test_a_refused_call_changes_nothing(stores: Store) -> None:
    """Everything is checked before anything is written."""
    store = stores.open()
    lost, other = same_bucket(2)
    store.checkpoint(HERE, None, 10, Stamp("fp"), [(lost, b"1"), (other, b"2"), *states("a", "b")])
    stores.lose_key(HERE, lost)
    before = store.manifest(HERE)
    store.checkpoint(HERE, 10, 20, Stamp("fp"), [*states("a", "new", suffix="!"), (other, b"3")], deleted=[b"b"])
    assert store.manifest(HERE) == before
    assert store.load(HERE, [b"a", b"b", b"new"], base=10) == [b"state of a", b"state of b", None]


def test_loading_after_another_owner_moved_on_gives_nothing(stores: Store) -> None:
    """A lazy read by a former owner would mix two offsets."""
    former, owner = stores.open(), stores.open()
    former.checkpoint(HERE, None, 10, Stamp("fp"), states("a"))
    owner.checkpoint(HERE, 10, 20, Stamp("fp"), states("b"))
    assert former.load(HERE, [b"a"], base=10) is None
    assert former.load(HERE, [b"a"], base=None) is None


# Starting over.


def test_starting_over_replaces_what_an_earlier_try_left(stores: Store) -> None:
    """Keys without a manifest (a crash while dropping, an eviction) must not come back to life."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("old", "a"))
    stores.lose_manifest(HERE)
    assert store.checkpoint(HERE, None, 20, Stamp("fp"), states("a", suffix="!")) is Outcome.OK
    assert store.load(HERE, [b"old", b"a"], base=20) == [None, b"state of a!"]


def test_keys_without_a_manifest_are_not_read(stores: Store) -> None:
    """Before the first checkpoint of a rebuild every key is new."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a"))
    stores.lose_manifest(HERE)
    assert store.load(HERE, [b"a"], base=None) == [None]


def test_drop_deletes_everything_and_twice_is_fine(stores: Store) -> None:
    """A rebuild starts from nothing, also when it is tried again."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a", "b"))
    store.drop(HERE)
    store.drop(HERE)
    assert store.manifest(HERE) is None
    assert store.checkpoint(HERE, None, 5, Stamp("fp"), states("b")) is Outcome.OK
    assert store.load(HERE, [b"a", b"b"], base=5) == [None, b"state of b"]


def test_drop_spares_state_that_has_moved(stores: Store) -> None:
    """An owner that was asleep since it looked must not throw its successor's state away."""
    store = stores.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), states("a"))
    store.checkpoint(HERE, 10, 20, Stamp("fp"), states("a"))
    assert store.drop(HERE, 10) is False
    assert store.load(HERE, [b"a"], base=20) == [b"state of a"]
    assert store.drop(HERE, 20) is True
    assert store.manifest(HERE) is None
    assert store.drop(HERE, 20) is True, "gone is gone"


def test_close_twice_is_fine(stores: Store) -> None:
    """Shutdown code need not remember what it has closed."""
    store = stores.open()
    store.close()
    store.close()
