"""The recovery plan, case by case, and the progress of partitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import Partition
from streamae.connectors.protocols import Manifest, Span
from streamae.runtime.partitions import Partitions, Plan, plan

P0, P1 = Partition("sensors", 0), Partition("sensors", 1)


def planned(span: Span, manifest: Manifest | None, first: str = "earliest", rebuild: int = 30) -> Plan:
    """Plan with the fingerprint "mine"."""
    return plan(span, manifest, "mine", first=first, rebuild_max_records=rebuild)


def stored(offset: int, fingerprint: str = "mine") -> Manifest:
    """Return a manifest; the counts are the store's business."""
    return Manifest(offset, fingerprint, ())


@pytest.mark.parametrize(
    ("span", "manifest", "expected"),
    [
        (Span(None, 5, 100), None, Plan(5, 5, None, False, "first")),
        (Span(None, 5, 100), stored(50), Plan(5, 5, None, True, "first")),
        (Span(80, 0, 100), stored(80), Plan(80, 80, 80, False, "clean")),
        (Span(80, 0, 100), stored(60), Plan(60, 80, 60, False, "replay")),
        (Span(80, 0, 100), None, Plan(50, 80, None, False, "no_state")),
        (Span(80, 70, 100), None, Plan(70, 80, None, False, "no_state")),
        (Span(80, 0, 100), stored(60, "theirs"), Plan(50, 80, None, True, "other_settings")),
        (Span(80, 0, 100), stored(90), Plan(50, 80, None, True, "moved_back")),
        (Span(80, 70, 100), stored(60), Plan(70, 80, None, True, "no_state")),
        (Span(80, 90, 100), stored(80), Plan(90, 90, None, True, "expired")),
        (Span(80, 0, 20), stored(80), Plan(0, 0, None, True, "recreated")),
    ],
)
def test_every_case_of_recovery(span: Span, manifest: Manifest | None, expected: Plan) -> None:
    """Each combination of offsets and stored state has one stated answer."""
    assert planned(span, manifest) == expected


def test_a_new_group_may_begin_at_the_end() -> None:
    """`input.start = latest` skips history only when the group has never committed."""
    assert planned(Span(None, 0, 100), None, first="latest").start == 100
    assert planned(Span(40, 0, 100), stored(40), first="latest").start == 40


def test_rebuilding_can_be_switched_off() -> None:
    """With a budget of 0 records lost state is not rebuilt: the stream goes on at once, keys learn anew."""
    assert planned(Span(80, 0, 100), None, rebuild=0) == Plan(80, 80, None, False, "no_state")


@given(
    committed=st.none() | st.integers(0, 120),
    earliest=st.integers(0, 100),
    kept=st.integers(0, 100),
    manifest=st.none() | st.builds(stored, st.integers(0, 150), st.sampled_from(["mine", "theirs"])),
    rebuild=st.integers(0, 200),
)
def test_no_record_is_skipped_and_nothing_is_published_twice(
    committed: int | None, earliest: int, kept: int, manifest: Manifest | None, rebuild: int
) -> None:
    """Whatever is found: reading starts at or before what must be processed next, inside what the broker has,
    outputs below the committed offset stay suppressed, and stored state is used only at its very own offset."""
    span = Span(committed, earliest, earliest + kept)
    chosen = planned(span, manifest, rebuild=rebuild)
    assert earliest <= chosen.start <= span.end
    assert chosen.start <= chosen.replay_until
    if committed is not None and earliest <= committed <= span.end:
        assert chosen.start <= committed == chosen.replay_until
    if chosen.base is not None:
        assert manifest is not None
        assert chosen.base == manifest.offset == chosen.start
        assert manifest.fingerprint == "mine"
        assert not chosen.drop_stored
    if manifest is not None:
        assert (chosen.base is None) == chosen.drop_stored


def taken(plan_: Plan, committed: int | None) -> Partitions:
    """Return partitions of which P0 was taken over."""
    partitions = Partitions()
    partitions.take(P0, plan_, committed)
    return partitions


def test_outputs_are_suppressed_until_the_replay_is_through() -> None:
    """A replayed record publishes nothing; the first one behind the committed offset does."""
    partitions = taken(Plan(60, 80, 60, False, "replay"), 80)
    assert partitions.is_suppressed(P0, 79)
    assert not partitions.is_suppressed(P0, 80)


def test_nothing_is_published_for_a_partition_of_others() -> None:
    """What belongs to a partition that was taken away never leaves the process."""
    assert Partitions().is_suppressed(P1, 0)


def test_offsets_are_not_committed_during_replay() -> None:
    """Committing a replayed position would move the group back."""
    partitions = taken(Plan(60, 80, 60, False, "replay"), 80)
    partitions[P0].position = 70
    assert partitions.replaying() == 1
    assert partitions.finished() == {}
    partitions[P0].position = 80
    assert partitions.replaying() == 0
    assert partitions.finished() == {}, "80 is committed already"
    partitions[P0].position = 81
    assert partitions.finished() == {P0: 81}


def test_a_first_start_commits_its_offset_even_without_records() -> None:
    """A group that begins at the end must find the same end after a crash."""
    partitions = taken(Plan(100, 100, None, False, "first"), None)
    assert partitions.finished() == {P0: 100}
    partitions.commit({P0: 100})
    assert partitions.finished() == {}


def test_dropping_forgets_everything() -> None:
    """A partition that is gone has no base, no position and nothing to commit."""
    partitions = taken(Plan(60, 60, 60, False, "clean"), 60)
    assert partitions.bases() == {P0: 60}
    partitions.drop(P0)
    partitions.drop(P0)
    assert P0 not in partitions
    assert len(partitions) == 0
    assert partitions.bases() == partitions.finished() == {}
