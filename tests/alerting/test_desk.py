"""The rules of what a receiver is told, one by one; `test_desk_crashes.py` has what holds whatever dies."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streamae.alerting.alert import Action, Cause, SeverityClass
from streamae.alerting.desk import EXPIRED, OPERATOR, STALE, Dropped
from streamae.alerting.identity import own_alert
from streamae.alerting.owners import Owners
from streamae.alerting.told_records import decoded, encoded
from tests.alerting.changes import (
    DAY,
    EVERY,
    FORGETFUL,
    HOUR,
    MINUTE,
    NEWEST,
    NOW_MS,
    OUTPUT,
    START_MS,
    change,
)
from tests.alerting.desks import desk, save, tell, words

TRIGGER, UPDATE, RESOLVE, REPEAT = Action.TRIGGER, Action.UPDATE, Action.RESOLVE, Action.REPEAT
CRITICAL_ONLY = ({"receiver": "pager", "classes": ("critical",)},)


def silenced(*episodes_keys: str) -> dict[str, Any]:
    """Return a silence over some keys."""
    return {"covers": lambda labels, _now_ms: labels.get("key", "") in episodes_keys}


# In order, once, the newest


def test_an_episode_is_triggered_updated_and_resolved() -> None:
    """The life of an episode, one notice for each change where each is told before the next."""
    one = desk()
    told = []
    for sequence, kind in enumerate(("opened", "updated", "closed")):
        one.take(change(kind, sequence, offset=sequence), NOW_MS)
        told += tell(one)
    assert words(told) == [("trigger", "e1", 0), ("update", "e1", 1), ("resolve", "e1", 2)]
    assert (told[-1].alert.close_reason, told[-1].alert.ended_ms) == ("quiet", NOW_MS)
    assert [notice.alert.ended_ms for notice in told[:-1]] == [None, None]
    assert len({notice.alert.dedup_key for notice in told}) == 1


def test_why_it_was_closed_is_bounded() -> None:
    """It is any text of whoever publishes: it must fill no message, label or record."""
    one = desk(EVERY)
    one.take(change("closed", close_reason="why\n" * 1_000), NOW_MS)
    ((_, reason),) = [(notice.action, notice.alert.close_reason) for notice in tell(one)]
    assert (len(reason), "\n" in reason) == (200, False)


def test_only_the_newest_state_is_told_to_most() -> None:
    """What comes while a receiver is away folds into the newest: an hour of updates is one notice."""
    one = desk()
    for sequence in range(4):
        one.take(change("updated" if sequence else "opened", sequence, offset=sequence), NOW_MS)
    assert one.waiting == 1
    assert words(tell(one)) == [("trigger", "e1", 3)]
    assert one.settled(OUTPUT) == 4


def test_each_change_is_told_in_order_where_that_is_wanted() -> None:
    """The webhook gets every change, never two at once, in their sequence."""
    one = desk(EVERY)
    for sequence, kind in enumerate(("opened", "updated", "updated", "closed")):
        one.take(change(kind, sequence, offset=sequence), NOW_MS)
    assert (one.waiting, words(one.due(NOW_MS))) == (4, [("trigger", "e1", 0)])
    assert words(tell(one)) == [("trigger", "e1", 0), ("update", "e1", 1), ("update", "e1", 2), ("resolve", "e1", 3)]


def test_a_notice_is_due_until_it_is_answered_and_made_of_the_newest() -> None:
    """Nothing gets lost in a failed send, and what is sent next time is the newest state."""
    one = desk()
    one.take(change(), NOW_MS)
    assert words(one.due(NOW_MS)) == words(one.due(NOW_MS)) == [("trigger", "e1", 0)]
    one.take(change("updated", 1, offset=1), NOW_MS)
    assert words(one.due(NOW_MS)) == [("trigger", "e1", 1)]


def test_news_that_came_while_a_notice_was_out_is_told_after_it() -> None:
    """A notice may be held before it is sent: what it does not say is said next."""
    one = desk()
    one.take(change(), NOW_MS)
    (held,) = one.due(NOW_MS)
    one.take(change("closed", 1, offset=1), NOW_MS)
    one.delivered(held, NOW_MS)
    save(one)
    assert words(tell(one)) == [("resolve", "e1", 1)]


def test_what_comes_after_the_end_is_no_news() -> None:
    """Also where the end was not told yet: nothing opens it again."""
    one = desk()
    one.take(change("closed", 1), NOW_MS)
    one.take(change("updated", 2, offset=1), NOW_MS)
    assert words(tell(one)) == [("trigger", "e1", 1), ("resolve", "e1", 1)]
    assert one.dropped == {Dropped.NOT_NEWER: 1}


@pytest.mark.parametrize("sequences", [(0, 0), (0, 1, 0), (0, 1, 1)])
def test_what_is_not_newer_is_dropped_and_counted(sequences: tuple[int, ...]) -> None:
    """Events that are published again tell nobody anything, whether they were told or still wait."""
    for tells_between in (False, True):
        one = desk()
        for offset, sequence in enumerate(sequences):
            one.take(change("updated" if sequence else "opened", sequence, offset=offset), NOW_MS)
            if tells_between:
                tell(one)
        tell(one)
        assert one.dropped == Counter({Dropped.NOT_NEWER: 1})
        assert one.settled(OUTPUT) == len(sequences)


def test_a_closed_episode_published_again_stays_closed() -> None:
    """A whole episode that comes again is known for as long as closed ones are remembered."""
    one = desk()
    for offset in range(3):
        one.take(change("closed" if offset % 2 else "opened", offset % 2, offset=offset), NOW_MS)
        tell(one)
    one.take(change("updated", 7, offset=3), NOW_MS)
    assert tell(one) == []
    assert one.dropped[Dropped.NOT_NEWER] == 2


def test_an_episode_that_closed_before_anybody_was_told_is_told_and_then_ended() -> None:
    """Nothing is lost: it triggers as open, and only when that is acknowledged and saved it resolves."""
    one = desk()
    one.take(change(), NOW_MS)
    one.take(change("closed", 1, offset=1), NOW_MS)
    (first,) = one.due(NOW_MS)
    assert (first.action, first.alert.ended_ms, first.alert.close_reason) == (TRIGGER, None, "")
    one.delivered(first, NOW_MS)
    assert one.due(NOW_MS) == []
    assert one.settled(OUTPUT) == 0
    save(one)
    assert words(tell(one)) == [("resolve", "e1", 1)]
    assert one.settled(OUTPUT) == 2


def test_its_end_is_told_also_after_a_crash_between_the_two() -> None:
    """What is remembered says that it was told as open, so the end that is read again is news."""
    one = desk()
    one.take(change("closed", 1), NOW_MS)
    one.delivered(one.due(NOW_MS)[0], NOW_MS)
    after = desk(records=save(one))
    after.take(change("closed", 1), NOW_MS)
    assert words(tell(after)) == [("resolve", "e1", 1)]


def test_where_each_change_is_told_a_close_alone_is_one_notice() -> None:
    """The webhook knows an event by its id: it is not told twice of one."""
    one = desk(EVERY)
    one.take(change("closed", 1), NOW_MS)
    assert words(tell(one)) == [("resolve", "e1", 1)]


def test_changes_of_different_keys_do_not_wait_for_each_other() -> None:
    """One notice of an episode at a time, but of as many episodes as there are, the oldest first."""
    one = desk()
    for number in range(3):
        one.take(change(episode=f"e{number}", key=f"k{number}", offset=number), NOW_MS)
    assert [notice.alert.episode_id for notice in one.due(NOW_MS)] == ["e0", "e1", "e2"]
    assert [notice.alert.episode_id for notice in one.due(NOW_MS, limit=2)] == ["e0", "e1"]


# Classes, routes, identity


def test_classes_only_rise() -> None:
    """A severity that falls again leaves the class, and each class reached is kept in its order."""
    one, classes = desk(), []
    for sequence, severity in enumerate((60.0, 95.0, 10.0)):
        one.take(change("updated", sequence, severity=severity, offset=sequence), NOW_MS)
        classes += [notice.alert.classes for notice in tell(one)]
    warning, critical = SeverityClass.WARNING, SeverityClass.CRITICAL
    assert classes == [(warning,), (warning, critical), (warning, critical)]
    assert one.firing() == {critical: 1}


def test_the_worst_class_of_what_was_folded_counts() -> None:
    """A peak between two sends is not lost, and neither is a class on the way to it, which may have been told."""
    one = desk()
    for sequence, severity in enumerate((10.0, 95.0, 10.0)):
        one.take(change("updated", sequence, severity=severity, offset=sequence), NOW_MS)
    assert tell(one)[0].alert.classes == (SeverityClass.INFO, SeverityClass.CRITICAL)


def test_an_episode_enters_a_route_with_the_first_change_that_fits_and_stays() -> None:
    """Also by an update; then its end is told although no route leads there any more."""
    one = desk(routes=({"receiver": "pager", "classes": ("critical",), "states": ("ready",)},))
    told = []
    for sequence, (severity, state) in enumerate(((60.0, "ready"), (95.0, "ready"), (95.0, "resuming"))):
        one.take(change("updated", sequence, severity=severity, state=state, offset=sequence), NOW_MS)
        told += tell(one)
    after = desk(records=one.records(), routes=CRITICAL_ONLY)
    after.take(change("closed", 3, severity=1.0, offset=3), NOW_MS)
    assert words(told + tell(after)) == [("trigger", "e1", 1), ("update", "e1", 2), ("resolve", "e1", 3)]
    assert one.dropped == {Dropped.NOT_ROUTED: 1}


def test_duration_is_that_of_the_episode() -> None:
    """A route may wait until something has lasted for a while, by event time."""
    one = desk(routes=({"receiver": "pager", "min_duration_ms": MINUTE},))
    one.take(change(end_time_ms=START_MS + MINUTE - 1), NOW_MS)
    assert tell(one) == []
    one.take(change("updated", 1, end_time_ms=START_MS + MINUTE, offset=1), NOW_MS)
    assert words(tell(one)) == [("trigger", "e1", 1)]


def test_an_episode_whose_end_lies_before_its_start_is_told() -> None:
    """A strange time drops nothing."""
    one = desk()
    one.take(change(end_time_ms=START_MS - 1), NOW_MS)
    assert words(tell(one)) == [("trigger", "e1", 0)]


def test_only_detectors_that_are_listed_count() -> None:
    """A shadow group does not page."""
    one = desk(detectors=("streamae",))
    one.take(change(detector="shadow"), NOW_MS)
    assert tell(one) == []
    assert (one.dropped, one.settled(OUTPUT)) == ({Dropped.OTHER_DETECTOR: 1}, 1)


def test_the_identity_stays_as_it_was_first_told(tmp_path: Path) -> None:
    """Another owner meanwhile does not make another alert of it, of which the first would never end."""
    path = tmp_path / "owners.csv"
    path.write_text("pattern,team\n*,metal\n", encoding="utf-8")
    one = desk()
    one.take(change(), NOW_MS)
    (first,) = tell(one)
    one.rules = one.rules.with_owners(Owners.read(path, {}))
    one.take(change("closed", 1, offset=1), NOW_MS)
    one.take(change(episode="e2", key="m2", offset=2), NOW_MS)
    last, other = tell(one)
    assert last.alert.dedup_key == first.alert.dedup_key
    assert other.alert.identity["team"] == "metal"


# The next of the same key


def test_a_new_episode_of_the_same_key_ends_the_one_before() -> None:
    """State was lost and nobody will close the old one: it resolves as superseded, then the new one triggers."""
    one = desk()
    one.take(change(), NOW_MS)
    tell(one)
    one.take(change(episode="e2", start_time_ms=START_MS + 1, offset=1), NOW_MS)
    assert one.settled(OUTPUT) == 1
    told = tell(one)
    assert words(told) == [("resolve", "e1", 0), ("trigger", "e2", 0)]
    assert told[0].alert.close_reason == "superseded"
    assert told[0].alert.dedup_key == told[1].alert.dedup_key


def test_the_next_is_told_only_when_the_end_of_the_one_before_is_saved() -> None:
    """Both have one identity: an end that is told again after a crash would end the next."""
    one = desk()
    one.take(change(), NOW_MS)
    tell(one)
    one.take(change("closed", 1, offset=1), NOW_MS)
    one.take(change(episode="e2", start_time_ms=START_MS + 1, offset=2), NOW_MS)
    (end,) = one.due(NOW_MS)
    one.delivered(end, NOW_MS)
    assert one.due(NOW_MS) == []
    save(one)
    assert words(one.due(NOW_MS)) == [("trigger", "e2", 0)]


def test_without_memory_nothing_waits_for_being_saved() -> None:
    """Redis away never stops a page, but then nothing is settled."""
    one = desk()
    one.is_stateless = True
    one.take(change("closed", 1), NOW_MS)
    one.take(change(episode="e2", start_time_ms=START_MS + 1, offset=1), NOW_MS)
    told = []
    while notices := one.due(NOW_MS):
        told += notices
        one.delivered(notices[0], NOW_MS)
    assert words(told) == [("trigger", "e1", 1), ("resolve", "e1", 1), ("trigger", "e2", 0)]
    assert one.settled(OUTPUT) == 0
    one.is_stateless = False
    save(one)
    assert one.settled(OUTPUT) == 2


def test_a_successor_that_no_route_leads_here_ends_the_old_one_too() -> None:
    """Its place on the topic is held until that is told, for nothing else would bring it again."""
    one = desk(routes=CRITICAL_ONLY)
    one.take(change(severity=95.0), NOW_MS)
    tell(one)
    one.take(change(episode="e2", severity=1.0, start_time_ms=START_MS + 1, offset=1), NOW_MS)
    assert one.settled(OUTPUT) == 1
    assert words(tell(one)) == [("resolve", "e1", 0)]
    assert one.settled(OUTPUT) == 2


def test_an_older_episode_that_is_published_again_ends_nothing() -> None:
    """What began earlier by event time is no successor."""
    one = desk(routes=CRITICAL_ONLY)
    one.take(change(episode="e2", severity=95.0, start_time_ms=START_MS + 1), NOW_MS)
    tell(one)
    one.take(change(severity=1.0, offset=1), NOW_MS)
    assert tell(one) == []
    assert one.firing().total() == 1


def test_another_cause_or_partition_is_another_line() -> None:
    """Two episodes of a key may be open where they differ in what makes their identity."""
    one = desk()
    one.take(change(), NOW_MS)
    one.take(change(episode="e2", cause="silence", offset=1), NOW_MS)
    one.take(change(episode="e3", source={"topic": "metrics", "partition": 5}, offset=2), NOW_MS)
    assert [notice.action for notice in tell(one)] == [TRIGGER] * 3


# Repeats, for receivers that forget


def test_what_is_open_is_told_again_each_minute() -> None:
    """Alertmanager ends what it hears nothing of: it is told again, with what was told, however quiet the episode is."""
    one = desk(FORGETFUL)
    one.take(change(), NOW_MS)
    tell(one)
    assert one.due(NOW_MS + MINUTE - 1) == []
    (again,) = one.due(NOW_MS + MINUTE)
    assert words([again]) == [("repeat", "e1", 0)]
    one.delivered(again, NOW_MS + MINUTE)
    assert one.due(NOW_MS + 2 * MINUTE - 1) == []
    assert one.unsaved() == []
    assert words(one.due(NOW_MS + 9 * DAY)) == [("repeat", "e1", 0)]


def test_news_takes_the_place_of_a_repeat() -> None:
    """One notice of an episode at a time, news first."""
    one = desk(FORGETFUL)
    for number in range(2):
        one.take(change(episode=f"e{number}", key=f"k{number}", offset=number), NOW_MS)
    tell(one)
    one.take(change("updated", 1, "e1", key="k1", offset=2), NOW_MS)
    assert words(one.due(NOW_MS + MINUTE)) == [("update", "e1", 1), ("repeat", "e0", 0)]


def test_a_clock_that_is_set_back_stops_no_repeats() -> None:
    """A receiver that was started anew meanwhile would know of nothing until the clock is there again."""
    one = desk(FORGETFUL)
    one.take(change(), NOW_MS)
    tell(one)
    earlier_ms = NOW_MS - HOUR
    assert [notice.action for notice in tell(one, earlier_ms)] == [REPEAT]
    assert tell(one, earlier_ms + MINUTE - 1) == []
    assert [notice.action for notice in tell(one, earlier_ms + MINUTE)] == [REPEAT]


def test_an_end_is_told_again_for_a_quarter_of_an_hour() -> None:
    """A receiver that restarts between two sends still hears of it; afterwards only what it takes to know it is kept."""
    one = desk(FORGETFUL)
    one.take(change("closed", 1), NOW_MS)
    tell(one)
    (again,) = one.due(NOW_MS + MINUTE)
    assert (again.action, again.alert.close_reason) == (REPEAT, "quiet")
    assert one.told("e1").alert.event  # type: ignore[union-attr]
    assert one.due(NOW_MS + 15 * MINUTE) == []
    assert one.told("e1").alert.event == {}  # type: ignore[union-attr]
    assert [told.is_resolved for told in one.unsaved()] == [True]


def test_an_end_is_told_no_more_once_the_next_of_its_identity_began() -> None:
    """It would end the next."""
    one = desk(FORGETFUL)
    one.take(change("closed", 1), NOW_MS)
    tell(one)
    one.take(change(episode="e2", start_time_ms=START_MS + 1, offset=1), NOW_MS)
    assert words(tell(one, NOW_MS + MINUTE)) == [("trigger", "e2", 0)]
    assert words(one.due(NOW_MS + 2 * MINUTE)) == [("repeat", "e2", 0)]


def test_after_a_restart_everything_open_is_told_again_at_once() -> None:
    """The receiver may have restarted too."""
    one = desk(FORGETFUL)
    one.take(change(), NOW_MS)
    tell(one)
    assert words(desk(FORGETFUL, one.records()).due(NOW_MS + 1)) == [("repeat", "e1", 0)]


# Refused


def test_what_is_refused_counts_as_told_and_gives_its_change() -> None:
    """It is not tried again, and the dead letter gets the bytes of the event."""
    one = desk()
    one.take(change(), NOW_MS)
    (notice,) = one.due(NOW_MS)
    refused = one.refused(notice, NOW_MS)
    save(one)
    assert refused is not None
    assert refused.raw.offset == 0
    assert (one.due(NOW_MS), one.settled(OUTPUT), one.firing().total()) == ([], 1, 0)


def test_what_was_never_taken_is_triggered_by_its_next_change_and_not_ended() -> None:
    """The receiver does not know it: an end would be of nothing."""
    one = desk()
    one.take(change(), NOW_MS)
    one.refused(one.due(NOW_MS)[0], NOW_MS)
    save(one)
    one.take(change("updated", 1, offset=1), NOW_MS)
    (notice,) = one.due(NOW_MS)
    assert notice.action is TRIGGER
    one.refused(notice, NOW_MS)
    save(one)
    one.take(change("closed", 2, offset=2), NOW_MS)
    assert tell(one) == []
    assert (one.told("e1").is_resolved, one.settled(OUTPUT)) == (True, 3)  # type: ignore[union-attr]


def test_a_refused_update_leaves_it_open() -> None:
    """What was announced is still ended."""
    one = desk()
    one.take(change(), NOW_MS)
    tell(one)
    one.take(change("updated", 1, offset=1), NOW_MS)
    one.refused(one.due(NOW_MS)[0], NOW_MS)
    save(one)
    one.take(change("closed", 2, offset=2), NOW_MS)
    assert words(tell(one)) == [("resolve", "e1", 2)]


def test_what_may_have_arrived_before_it_was_refused_is_ended() -> None:
    """A send without an answer may have been taken: then there is something to end."""
    one = desk()
    one.take(change(), NOW_MS)
    (notice,) = one.due(NOW_MS)
    one.unanswered(notice)
    one.refused(notice, NOW_MS)
    save(one)
    one.take(change("closed", 1, offset=1), NOW_MS)
    assert words(tell(one)) == [("resolve", "e1", 1)]


def test_a_refused_repeat_is_not_tried_each_turn() -> None:
    """News may make it acceptable again."""
    one = desk(FORGETFUL)
    one.take(change(), NOW_MS)
    tell(one)
    one.refused(one.due(NOW_MS + MINUTE)[0], NOW_MS + MINUTE)
    assert one.due(NOW_MS + HOUR) == []
    one.take(change("updated", 1, offset=1), NOW_MS + HOUR)
    tell(one, NOW_MS + HOUR)
    assert words(one.due(NOW_MS + 2 * HOUR)) == [("repeat", "e1", 1)]


# Silences


def test_a_silence_withholds_and_what_is_open_at_its_end_is_told_once() -> None:
    """Withheld episodes are recorded, so that offsets go on; the newest state comes when the silence is over."""
    one = desk()
    one.take(change(), NOW_MS)
    one.take(change("updated", 1, offset=1), NOW_MS)
    assert tell(one, **silenced("m1")) == []
    told = one.told("e1")
    assert told is not None
    assert (told.is_withheld, told.is_announced, told.is_resolved) == (True, False, False)
    assert (one.settled(OUTPUT), one.waiting, one.firing().total()) == (2, 0, 0)
    assert one.dropped[Dropped.SILENCED] == 1
    after = desk(records=one.records())
    assert words(tell(after)) == [("trigger", "e1", 1)]
    assert tell(after) == []


def test_what_ended_under_a_silence_is_never_told() -> None:
    """Nobody hears of what began and ended while nobody wanted to."""
    one = desk()
    one.take(change(), NOW_MS)
    tell(one, **silenced("m1"))
    one.take(change("closed", 1, offset=1), NOW_MS)
    assert tell(one, **silenced("m1")) == []
    assert tell(one) == []
    assert one.settled(OUTPUT) == 2


def test_what_began_under_a_silence_and_ended_after_it_is_never_told() -> None:
    """An end of what was not announced says nothing to anybody."""
    one = desk()
    one.take(change(), NOW_MS)
    tell(one, **silenced("m1"))
    one.take(change("closed", 1, offset=1), NOW_MS)
    assert tell(one) == []


def test_the_end_of_what_was_announced_is_never_withheld() -> None:
    """A silence begun after a page does not leave it open for good."""
    one = desk()
    one.take(change(), NOW_MS)
    tell(one)
    one.take(change("updated", 1, severity=95.0, offset=1), NOW_MS)
    assert tell(one, **silenced("m1")) == []
    one.take(change("closed", 2, offset=2), NOW_MS)
    assert words(tell(one, **silenced("m1"))) == [("resolve", "e1", 2)]


def test_an_update_that_was_withheld_is_told_when_the_silence_is_over() -> None:
    """A class that rose meanwhile is not lost."""
    one = desk()
    one.take(change(), NOW_MS)
    tell(one)
    one.take(change("updated", 1, severity=95.0, offset=1), NOW_MS)
    tell(one, **silenced("m1"))
    (update,) = tell(desk(records=one.records()))
    assert (update.action, update.alert.severity) == (UPDATE, SeverityClass.CRITICAL)


@pytest.mark.parametrize("kind", ["updated", "closed"])
def test_what_may_have_arrived_is_ended_also_under_a_silence(kind: str) -> None:
    """A send without an answer may have been a page: its end is told, although nobody acknowledged its beginning."""
    one = desk()
    one.take(change(), NOW_MS)
    one.unanswered(one.due(NOW_MS)[0])
    one.take(change(kind, 1, offset=1), NOW_MS)
    told = tell(one, **silenced("m1"))
    one.take(change("closed", 2, offset=2), NOW_MS)
    told += tell(one, **silenced("m1"))
    assert [notice.action for notice in told] == [RESOLVE]


def test_what_may_not_have_arrived_is_begun_again_after_a_silence() -> None:
    """Messages to people leave out what merely goes on: as an update nobody might ever read of it."""
    one = desk()
    one.take(change(), NOW_MS)
    one.unanswered(one.due(NOW_MS)[0])
    one.take(change("updated", 1, offset=1), NOW_MS)
    assert tell(one, **silenced("m1")) == []
    after = desk(records=[decoded(encoded(each)) for each in one.records()])
    assert [notice.action for notice in tell(after)] == [TRIGGER]
    assert [notice.action for notice in tell(one)] == [TRIGGER]
    one.take(change("updated", 2, offset=2), NOW_MS)
    one.unanswered(one.due(NOW_MS)[0])
    assert [notice.action for notice in tell(one)] == [UPDATE]


def test_a_silence_covers_what_it_names_only() -> None:
    """Others are told, and labels hold the class."""
    one = desk()
    one.take(change(), NOW_MS)
    one.take(change(episode="e2", key="m2", offset=1), NOW_MS)
    assert words(tell(one, **silenced("m1"))) == [("trigger", "e2", 0)]
    seen = []
    one.due(NOW_MS, covers=lambda labels, now_ms: bool(seen.append((labels["severity"], now_ms))) or True)
    assert seen == [("warning", NOW_MS)]


# A detector that is silent, an operator, forgetting


def test_episodes_of_a_silent_detector_are_marked_where_they_are_repeated() -> None:
    """Nobody knows whether they go on; a sign of life takes the mark back, and both survive a restart."""
    one = desk(FORGETFUL)
    one.take(change(), NOW_MS)
    one.take(change(episode="e2", detector="other", offset=1), NOW_MS)
    tell(one)
    one.mark_unknown("streamae")
    assert [told.is_unknown for told in save(one)] == [True]
    marks = {notice.alert.episode_id: "unknown" in notice.alert.extra for notice in one.due(NOW_MS + MINUTE)}
    assert marks == {"e1": True, "e2": False}
    after = desk(FORGETFUL, one.records())
    assert "streamae" in after.due(NOW_MS)[0].alert.extra["unknown"]
    after.clear_unknown("streamae")
    assert not any(notice.alert.extra for notice in tell(after))


def test_what_was_given_up_ends_as_stale_and_begins_anew_with_its_next_change() -> None:
    """It is never shown as recovered; where the detector comes back and it goes on, people hear of it again."""
    one = desk()
    one.take(change(), NOW_MS)
    tell(one)
    assert one.end_where(lambda alert: alert.identity["detector"] == "streamae", STALE, NOW_MS + HOUR) == 1
    (end,) = tell(one, NOW_MS + HOUR)
    assert (end.action, end.alert.close_reason, end.alert.ended_ms) == (RESOLVE, "stale", NOW_MS + HOUR)
    one.take(change("updated", 1, offset=1, stamped_ms=NOW_MS + 2 * HOUR), NOW_MS + 2 * HOUR)
    (again,) = tell(one, NOW_MS + 2 * HOUR)
    assert (again.action, again.alert.started_ms) == (TRIGGER, NOW_MS + 2 * HOUR)


def test_the_close_of_what_was_given_up_tells_nobody_anything() -> None:
    """It was told as over already; only where each change is told, this one is."""
    for nature, told in ((NEWEST, []), (EVERY, [("resolve", "e1", 1)])):
        one = desk(nature)
        one.take(change(), NOW_MS)
        tell(one)
        one.end_where(lambda _alert: True, STALE, NOW_MS)
        tell(one)
        one.take(change("closed", 1, offset=1), NOW_MS)
        assert words(tell(one)) == told


def test_an_operator_ends_what_was_told_and_drops_what_was_not() -> None:
    """Retired machines: the open ones resolve, the pending ones are never told, and later changes tell nothing."""
    one = desk()
    one.take(change(), NOW_MS)
    tell(one)
    for number in (2, 3):
        one.take(change(episode=f"e{number}", key=f"m{number}", offset=number), NOW_MS)
    assert one.end_where(lambda alert: alert.identity["key"] in {"m1", "m2"}, OPERATOR, NOW_MS) == 2
    told = tell(one)
    assert words(told) == [("trigger", "e3", 0), ("resolve", "e1", 0)]
    assert told[1].alert.close_reason == "operator"
    for offset, (episode, key) in enumerate((("e1", "m1"), ("e2", "m2")), start=4):
        one.take(change("updated", 5, episode, key=key, offset=offset), NOW_MS)
    assert tell(one) == []
    assert one.settled(OUTPUT) == 6


def test_what_was_held_when_an_operator_ended_it_is_ended_after_it_was_told() -> None:
    """A notice on its way is not called back: its end follows."""
    one = desk()
    one.take(change(), NOW_MS)
    (held,) = one.due(NOW_MS)
    one.end_where(lambda _alert: True, OPERATOR, NOW_MS)
    save(one)
    one.delivered(held, NOW_MS)
    save(one)
    (end,) = tell(one)
    assert (end.action, end.alert.close_reason) == (RESOLVE, OPERATOR)


def test_what_may_have_ended_with_a_deleted_event_is_given_up_unless_it_is_heard_of() -> None:
    """Nobody will publish its end again: it says so where it is repeated, and ends as stale, also after a restart."""
    one = desk(FORGETFUL, give_up_ms=HOUR)
    for number in (1, 2):
        one.take(change(episode=f"e{number}", key=f"m{number}", offset=number), NOW_MS)
    tell(one)
    one.lose(NOW_MS)
    save(one)
    one.take(change("updated", 1, "e2", key="m2", offset=9), NOW_MS)
    tell(one)
    after = desk(FORGETFUL, [decoded(encoded(each)) for each in one.records()], give_up_ms=HOUR)
    after.lose(NOW_MS + MINUTE)
    repeated = {notice.alert.episode_id: notice.alert.extra for notice in after.due(NOW_MS + MINUTE)}
    assert "deleted" in repeated["e1"]["unknown"]
    after.take(change("updated", 1, "e2", key="m2", offset=9), NOW_MS + MINUTE)
    after.give_up(NOW_MS + HOUR - 1)
    assert all(notice.action is REPEAT for notice in after.due(NOW_MS + HOUR - 1))
    after.give_up(NOW_MS + HOUR)
    after.give_up(NOW_MS + HOUR)
    ended = [notice for notice in tell(after, NOW_MS + HOUR) if notice.action is RESOLVE]
    assert [(notice.alert.episode_id, notice.alert.close_reason) for notice in ended] == [("e1", "stale")]
    after.give_up(NOW_MS + DAY)
    assert not [notice for notice in after.due(NOW_MS + DAY) if notice.action is RESOLVE]


def test_what_was_pending_when_events_were_deleted_is_given_up_too() -> None:
    """That its beginning is told only now says nothing about its end."""
    one = desk(give_up_ms=HOUR)
    one.take(change(), NOW_MS)
    one.lose(NOW_MS)
    assert words(tell(one)) == [("trigger", "e1", 0)]
    assert [told.lost_ms for told in one.records()] == [NOW_MS]
    one.give_up(NOW_MS + HOUR)
    assert words(tell(one, NOW_MS + HOUR)) == [("resolve", "e1", 0)]
    one.take(change("updated", 1, offset=1), NOW_MS + HOUR)
    save(one)
    assert words(tell(one, NOW_MS + HOUR)) == [("trigger", "e1", 1)]
    one.give_up(NOW_MS + DAY)
    assert tell(one, NOW_MS + DAY) == []


def test_what_was_pending_when_its_detector_was_given_up_is_told_and_ended() -> None:
    """Nothing is lost because a receiver was away."""
    one = desk()
    one.take(change(), NOW_MS)
    one.end_where(lambda _alert: True, STALE, NOW_MS)
    assert words(tell(one)) == [("trigger", "e1", 0), ("resolve", "e1", 0)]


def test_closed_episodes_are_forgotten_after_their_time_and_open_ones_never() -> None:
    """Memory and Redis stay bounded by what happens, not by how long we run."""
    one = desk(remember_ms=DAY)
    one.take(change(episode="e1", key="m1"), NOW_MS)
    one.take(change("closed", 1, "e2", key="m2", offset=1), NOW_MS)
    tell(one)
    assert one.forget(NOW_MS + DAY - 1) == []
    assert one.forget(NOW_MS + DAY) == ["e2"]
    assert one.forget(NOW_MS + 99 * DAY) == []
    assert [told.alert.episode_id for told in one.records()] == ["e1"]


def test_a_record_of_the_future_keeps_no_other_from_being_forgotten() -> None:
    """A clock that was ahead for a while must not have memory and Redis grow for good."""
    one = desk(remember_ms=DAY)
    one.take(change("closed", 1, "e1", key="m1"), NOW_MS)
    tell(one, NOW_MS + 99 * DAY)
    one.take(change("closed", 1, "e2", key="m2", offset=1), NOW_MS)
    tell(one)
    assert one.forget(NOW_MS + DAY) == ["e2"]
    assert one.forget(NOW_MS + 100 * DAY) == ["e1"]


def test_nothing_is_forgotten_before_it_is_saved() -> None:
    """Else the store would keep it as open for good."""
    one = desk(remember_ms=DAY)
    one.is_stateless = True
    one.take(change("closed", 1), NOW_MS)
    for _ in range(2):
        one.delivered(one.due(NOW_MS)[0], NOW_MS)
    assert one.forget(NOW_MS + 2 * DAY) == []
    save(one)
    assert one.forget(NOW_MS + 2 * DAY) == ["e1"]


def test_only_the_newest_record_counts_as_saved() -> None:
    """A record that changed while it was saved is to be saved again."""
    one = desk()
    one.take(change(), NOW_MS)
    one.delivered(one.due(NOW_MS)[0], NOW_MS)
    records = one.unsaved()
    one.mark_unknown("streamae")
    one.saved(records)
    assert len(one.unsaved()) == 1
    assert one.settled(OUTPUT) == 0


# Alerts of our own


def test_an_alert_of_our_own_begins_goes_on_and_ends() -> None:
    """It is an update where its text changed, nothing where not, and after its end it begins anew."""
    one = desk()
    silent = own_alert(Cause.DETECTOR_SILENT, "detector a is silent", NOW_MS, name="a")
    longer = own_alert(Cause.DETECTOR_SILENT, "detector a is silent for long", NOW_MS + 5, name="a")
    one.take_alert(silent)
    told = tell(one)
    one.take_alert(silent)
    assert tell(one) == []
    one.take_alert(longer)
    told += tell(one)
    one.end_alert(silent.episode_id, "heard", NOW_MS + HOUR)
    one.end_alert(silent.episode_id, "heard", NOW_MS + HOUR)
    told += tell(one, NOW_MS + HOUR)
    one.take_alert(own_alert(Cause.DETECTOR_SILENT, "detector a is silent", NOW_MS + DAY, name="a"))
    told += tell(one, NOW_MS + DAY)
    assert [notice.action for notice in told] == [TRIGGER, UPDATE, RESOLVE, TRIGGER]
    assert [notice.alert.started_ms for notice in told] == [NOW_MS, NOW_MS, NOW_MS, NOW_MS + DAY]
    assert {notice.alert.dedup_key for notice in told} == {silent.dedup_key}
    one.end_alert("no such", "heard", NOW_MS)


def test_the_newer_text_of_our_own_alert_is_told_after_the_held_one() -> None:
    """They have no sequence: the text says what was told."""
    one = desk()
    one.take_alert(own_alert(Cause.DELIVERY_FAILED, "one alert was lost", NOW_MS))
    (held,) = one.due(NOW_MS)
    one.take_alert(own_alert(Cause.DELIVERY_FAILED, "two alerts were lost", NOW_MS))
    one.delivered(held, NOW_MS)
    save(one)
    (update,) = tell(one)
    assert (update.action, update.alert.summary) == (UPDATE, "two alerts were lost")


def test_an_end_that_was_not_told_yet_is_taken_back() -> None:
    """A detector that falls silent again while the receiver is away was silent all the time."""
    one = desk()
    silent = own_alert(Cause.DETECTOR_SILENT, "detector a is silent", NOW_MS, name="a")
    one.take_alert(silent)
    tell(one)
    one.end_alert(silent.episode_id, "heard", NOW_MS)
    one.take_alert(silent)
    assert [notice.action for notice in tell(one)] == [UPDATE]


def test_our_own_alerts_are_no_episodes() -> None:
    """Marks and ends that go over episodes leave them alone."""
    one = desk(FORGETFUL)
    one.take_alert(own_alert(Cause.DETECTOR_SILENT, "x", NOW_MS, name="streamae"))
    tell(one)
    one.mark_unknown("streamae")
    assert one.unsaved() == []
    assert one.end_where(lambda _alert: True, STALE, NOW_MS) == 0


@pytest.mark.parametrize("cause", [Cause.SUMMARY, Cause.DELIVERY_FAILED])
def test_what_only_tells_something_ends_by_itself(cause: Cause) -> None:
    """Nothing else ends a message: it stands for a while, also after a restart, and an update makes it stand longer."""
    one = desk(max_age_ms=HOUR)
    one.take_alert(own_alert(cause, "x", NOW_MS))
    tell(one)
    one.take_alert(own_alert(cause, "y", NOW_MS))
    tell(one, NOW_MS + MINUTE)
    after = desk(records=one.records(), max_age_ms=HOUR)
    assert tell(after, NOW_MS + HOUR) == []
    (end,) = tell(after, NOW_MS + HOUR + MINUTE)
    assert (end.action, end.alert.close_reason) == (RESOLVE, EXPIRED)


# What can be seen


def test_waiting_and_its_age_are_seen() -> None:
    """The age of the oldest change that is not delivered is by Kafka's timestamp, through all folding."""
    one = desk()
    assert (one.waiting, one.oldest_waiting_ms) == (0, None)
    one.take(change(stamped_ms=NOW_MS - HOUR), NOW_MS)
    one.take(change("updated", 1, stamped_ms=NOW_MS - MINUTE, offset=1), NOW_MS)
    assert (one.waiting, one.oldest_waiting_ms) == (1, NOW_MS - HOUR)
    one.take(change(episode="e2", key="m2", stamped_ms=NOW_MS - DAY, offset=2), NOW_MS)
    assert (one.waiting, one.oldest_waiting_ms) == (2, NOW_MS - DAY)
    tell(one)
    assert (one.waiting, one.oldest_waiting_ms) == (0, None)


def test_times_are_wall_clock_and_never_ahead_of_it() -> None:
    """Beginning and end are when they were published; a producer's clock that is ahead does not move them past now."""
    one = desk()
    one.take(change(stamped_ms=NOW_MS - HOUR), NOW_MS)
    one.take(change("closed", 1, stamped_ms=NOW_MS + DAY, offset=1), NOW_MS)
    end = tell(one)[-1].alert
    assert (end.started_ms, end.ended_ms) == (NOW_MS - HOUR, NOW_MS)


def test_a_partition_that_is_read_again_moves_back() -> None:
    """After a new assignment only what was read since is settled, and what waits still holds its place."""
    one = desk()
    one.take(change(offset=5), NOW_MS)
    one.start_at(OUTPUT, 3)
    assert one.settled(OUTPUT) == 3
    one.take(change(episode="e0", key="m0", detector="streamae", offset=3), NOW_MS)
    tell(one)
    assert one.settled(OUTPUT) == 4
