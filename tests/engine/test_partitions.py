"""The recovery plan, case by case, and the progress of partitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.batches import Cause, Partition
from streamae.connectors.protocols import Form, Manifest, Span, Stamp
from streamae.engine.partitions import Partitions, Plan, RecoveryPolicy, plan
from streamae.reasons import LOUD_STARTS, STARTS

P0, P1 = Partition("sensors", 0), Partition("sensors", 1)


def planned(span: Span, manifest: Manifest | None, **policy: Any) -> Plan:
    """Plan with the fingerprint "mine"."""
    return plan(span, manifest, "mine", RecoveryPolicy(**{"rebuild_max_records": 30} | policy))


def stored(offset: int, fingerprint: str = "mine", **more: Any) -> Manifest:
    """Return a manifest of two keys."""
    return Manifest(offset, fingerprint, (1, 1), **more)


@pytest.mark.parametrize(
    ("span", "manifest", "expected"),
    [
        (Span(None, 5, 100), None, Plan(5, 5, None, False, "first")),
        (Span(None, 5, 100), stored(50), Plan(5, 5, None, True, "offsets_lost")),
        (Span(80, 0, 100), stored(80), Plan(80, 80, 80, False, "clean")),
        (Span(80, 0, 100), stored(60), Plan(60, 80, 60, False, "replay")),
        (Span(80, 0, 100), None, Plan(50, 80, None, False, "no_state")),
        (Span(80, 70, 100), None, Plan(70, 80, None, False, "no_state")),
        (Span(80, 0, 100), stored(60, "theirs"), Plan(50, 80, None, True, "other_settings")),
        (Span(80, 0, 100), stored(90), Plan(50, 80, None, True, "moved_back")),
        (Span(80, 70, 100), stored(60), Plan(70, 80, None, True, "state_expired")),
        (Span(80, 90, 100), stored(80), Plan(90, 90, None, True, "expired")),
        (Span(80, 0, 100), stored(60, is_whole=False), Plan(50, 80, None, True, "incomplete")),
        (Span(80, 0, 100), stored(49), Plan(49, 80, 49, False, "long_replay")),
        (Span(80, 0, 100), stored(50), Plan(50, 80, 50, False, "replay")),
        (Span(80, 0, 20), stored(80), Plan(0, 0, None, True, "recreated")),
        (Span(80, 0, 20), None, Plan(0, 0, None, False, "recreated")),
        (Span(80, 0, 20, "c/new"), None, Plan(0, 0, None, False, "recreated")),
        (Span(80, 0, 100, "c/t"), stored(60), Plan(60, 80, 60, False, "replay")),
        (Span(80, 0, 100), stored(60, identity="c/t"), Plan(60, 80, 60, False, "replay")),
        (Span(80, 0, 100, "c/t"), stored(60, identity="c/t"), Plan(60, 80, 60, False, "replay")),
        (Span(80, 0, 100, "c/new"), stored(60, identity="c/t"), Plan(50, 80, None, True, "recreated")),
        (Span(80, 90, 100, "c/new"), stored(60, identity="c/t"), Plan(90, 90, None, True, "recreated")),
        (Span(80, 0, 20, "c/new"), stored(10, identity="c/t"), Plan(0, 0, None, True, "recreated")),
        (Span(None, 0, 20, "c/new"), stored(10, identity="c/t"), Plan(0, 0, None, True, "recreated")),
        (Span(80, 0, 70, "c/t"), stored(60, identity="c/t"), Plan(60, 70, 60, False, "truncated")),
        (Span(80, 0, 70, "c/t"), stored(75, identity="c/t"), Plan(40, 70, None, True, "truncated")),
        (Span(None, 5, 100, "c/t"), stored(50, identity="c/t"), Plan(50, 50, 50, False, "offsets_lost")),
        (Span(None, 5, 100, "c/t"), stored(50), Plan(5, 5, None, True, "offsets_lost")),
        (Span(None, 5, 100, "c/t"), stored(4, identity="c/t"), Plan(5, 5, None, True, "offsets_lost")),
        (Span(None, 5, 40, "c/t"), stored(50, identity="c/t"), Plan(5, 5, None, True, "offsets_lost")),
        (Span(None, 5, 100, "c/t"), stored(50, "theirs", identity="c/t"), Plan(5, 5, None, True, "offsets_lost")),
        (
            Span(None, 5, 100, "c/t"),
            stored(50, identity="c/t", is_whole=False),
            Plan(5, 5, None, True, "offsets_lost"),
        ),
    ],
)
def test_every_case_of_recovery(span: Span, manifest: Manifest | None, expected: Plan) -> None:
    """Each combination of offsets and stored state has one stated answer."""
    assert planned(span, manifest) == expected


def test_a_group_that_lost_its_offset_may_start_anew() -> None:
    """With `on_lost_offsets = start` stored state does not hold a group back that was deleted on purpose."""
    kept = stored(50, identity="c/t")
    assert planned(Span(None, 5, 100, "c/t"), kept, on_lost_offsets="start") == Plan(5, 5, None, True, "offsets_lost")


LOST = [
    (Span(80, 0, 100), None),
    (Span(80, 0, 100), stored(60, "theirs")),
    (Span(80, 0, 100), stored(60, is_whole=False)),
    (Span(80, 0, 100), stored(90)),
    (Span(80, 70, 100), stored(60)),
    (Span(80, 90, 100), stored(80)),
    (Span(80, 0, 70, "c/t"), stored(75, identity="c/t")),
]


@pytest.mark.parametrize(("span", "manifest"), LOST)
def test_a_loss_may_be_answered_by_warming_up(span: Span, manifest: Manifest | None) -> None:
    """`warm_up` replays nothing: keys learn again from where the stream goes on."""
    rebuilt, warm = planned(span, manifest), planned(span, manifest, on_loss="warm_up")
    assert warm == replace(rebuilt, start=rebuilt.replay_until)
    assert warm.base is None


@pytest.mark.parametrize(("span", "manifest"), LOST)
def test_a_loss_may_be_answered_by_halting(span: Span, manifest: Manifest | None) -> None:
    """`halt` starts nothing and deletes nothing: what is stored may still be repaired."""
    halted = planned(span, manifest, on_loss="halt")
    assert halted.is_halted
    assert not halted.drop_stored
    assert halted.reason == planned(span, manifest).reason


@pytest.mark.parametrize(
    ("span", "manifest"),
    [
        (Span(None, 0, 100), None),
        (Span(80, 0, 100), stored(80)),
        (Span(80, 0, 100), stored(60)),
        (Span(80, 0, 70, "c/t"), stored(60, identity="c/t")),
        (Span(None, 0, 100, "c/t"), stored(60, identity="c/t")),
        (Span(5, 0, 100, "c/new"), stored(60, identity="c/t")),
    ],
)
def test_what_is_no_loss_never_halts(span: Span, manifest: Manifest | None) -> None:
    """A first start, sound state, and another topic go on under every policy."""
    plans = {planned(span, manifest, on_loss=policy).is_halted for policy in ("rebuild", "warm_up", "halt")}
    assert plans == {False}


def test_whoever_starts_otherwise_than_by_the_book_says_so() -> None:
    """Every reason but the four of ordinary life is loud, and has a meaning to tell."""
    assert set(STARTS) - LOUD_STARTS == {"first", "bootstrap", "clean", "replay"}


def test_a_new_group_may_begin_at_the_end() -> None:
    """`input.start = latest` skips history only when the group has never committed."""
    assert planned(Span(None, 0, 100), None, first="latest").start == 100
    assert planned(Span(40, 0, 100), stored(40), first="latest").start == 40


def test_rebuilding_can_be_switched_off() -> None:
    """With a budget of 0 records lost state is not rebuilt: the stream goes on at once, keys learn anew."""
    assert planned(Span(80, 0, 100), None, rebuild_max_records=0) == Plan(80, 80, None, False, "no_state")


IDENTITIES = st.sampled_from(["", "c/t", "c/new"])


@given(
    committed=st.none() | st.integers(0, 120),
    earliest=st.integers(0, 100),
    kept=st.integers(0, 100),
    identity=IDENTITIES,
    manifest=st.none()
    | st.builds(
        stored,
        st.integers(0, 150),
        st.sampled_from(["mine", "theirs"]),
        identity=IDENTITIES,
        is_whole=st.booleans(),
    ),
    policy=st.builds(
        RecoveryPolicy,
        on_lost_offsets=st.sampled_from(["resume", "start"]),
        on_loss=st.sampled_from(["rebuild", "warm_up", "halt"]),
        rebuild_max_records=st.integers(0, 200),
    ),
)
def test_no_record_is_skipped_and_nothing_is_published_twice(
    committed: int | None, earliest: int, kept: int, identity: str, manifest: Manifest | None, policy: RecoveryPolicy
) -> None:
    """Whatever is found: reading starts at or before what must be processed next, inside what the broker has,
    outputs below the committed offset stay suppressed, and stored state is used only at its very own offset."""
    span = Span(committed, earliest, earliest + kept, identity)
    chosen = plan(span, manifest, "mine", policy)
    assert chosen.reason in STARTS
    assert chosen.is_halted <= (policy.on_loss == "halt")
    if chosen.is_halted:
        assert not chosen.drop_stored
        return
    assert earliest <= chosen.start <= span.end
    assert chosen.start <= chosen.replay_until
    if committed is not None and earliest <= committed <= span.end:
        assert chosen.start <= committed == chosen.replay_until
    if chosen.base is not None:
        assert manifest is not None
        assert chosen.base == manifest.offset == chosen.start
        assert manifest.fingerprint == "mine"
        assert manifest.is_whole
        assert "" in {manifest.identity, identity} or manifest.identity == identity
        assert not chosen.drop_stored
    if manifest is not None:
        assert (chosen.base is None) == chosen.drop_stored


def taken(plan_: Plan, committed: int | None, manifest: Manifest | None = None) -> Partitions:
    """Return partitions of which P0 was taken over."""
    partitions = Partitions()
    partitions.take(P0, plan_, Span(committed, 0, 100, "cluster/topic"), manifest)
    return partitions


def test_outputs_are_suppressed_until_the_replay_is_through() -> None:
    """A replayed record publishes nothing; the first one behind the committed offset does."""
    partitions = taken(Plan(60, 80, 60, False, "replay"), 80)
    assert partitions.is_suppressed(Cause(P0, 79))
    assert not partitions.is_suppressed(Cause(P0, 80))


def test_nothing_is_published_for_a_partition_of_others() -> None:
    """What belongs to a partition that was taken away never leaves the process."""
    assert Partitions().is_suppressed(Cause(P1, 0))


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


def test_a_take_over_remembers_what_goes_with_the_state() -> None:
    """Each take-over is one epoch further; what is stored and was not loaded yet is counted."""
    progress = taken(Plan(60, 60, 60, False, "clean"), 60, stored(60, epoch=4))[P0]
    assert progress.stamp("mine") == Stamp("mine", 5, "cluster/topic", relied_on=Form("mine", ()))
    assert progress.unread == 2
    progress = taken(Plan(30, 60, None, True, "incomplete"), 60, stored(60, epoch=4, is_whole=False))[P0]
    assert (progress.epoch, progress.unread) == (5, 0)
    progress = taken(Plan(0, 0, None, False, "first"), None)[P0]
    assert (progress.epoch, progress.unread) == (0, 0)


def test_dropping_forgets_everything() -> None:
    """A partition that is gone has no base, no position and nothing to commit."""
    partitions = taken(Plan(60, 60, 60, False, "clean"), 60)
    partitions.drop(P0)
    partitions.drop(P0)
    assert P0 not in partitions
    assert len(partitions) == 0
    assert partitions.items() == []
    assert partitions.finished() == {}


@pytest.mark.parametrize(
    ("span", "manifest", "expected"),
    [
        (Span(None, 5, 100), None, Plan(60, 100, None, False, "bootstrap")),
        (Span(None, 80, 100), None, Plan(80, 100, None, False, "bootstrap")),
        (Span(None, 100, 100), None, Plan(100, 100, None, False, "first")),
        (Span(None, 5, 100), stored(50, "theirs"), Plan(60, 100, None, True, "offsets_lost")),
        (Span(100, 5, 100), stored(60), Plan(60, 100, 60, False, "long_replay")),
        (Span(100, 5, 100), None, Plan(60, 100, None, False, "no_state")),
        (Span(100, 5, 120), stored(100), Plan(100, 100, 100, False, "clean")),
    ],
)
def test_a_new_group_may_read_what_lies_before_its_start(span: Span, manifest: Manifest | None, expected: Plan) -> None:
    """It begins at the end all the same; with an offset it is new no longer, and rebuilds as deep as it began."""
    assert planned(span, manifest, first="latest", bootstrap_records=40) == expected


def test_a_bootstrap_is_committed_before_it_is_read() -> None:
    """The place where the group goes live is an offset to commit at once; then nothing is, until it is passed."""
    partitions = Partitions()
    chosen, span = Plan(60, 100, None, False, "bootstrap"), Span(None, 5, 100)
    partitions.take(P0, chosen, span, None)
    assert partitions.finished() == {P0: 100}
    partitions.commit(partitions.finished())
    assert partitions.finished() == {}
    partitions[P0].position = 100
    assert partitions.finished() == {}
    partitions[P0].position = 101
    assert partitions.finished() == {P0: 101}
    assert partitions.is_suppressed(Cause(P0, 99))
    assert not partitions.is_suppressed(Cause(P0, 100))
