"""First start, lost group, long outage, lost memory: what is open and young is told, the rest is one summary."""

from __future__ import annotations

import gc
import weakref
from dataclasses import astuple
from typing import Any

import pytest

from streamae.alerting.alert import Action, Cause
from streamae.alerting.change import read_change
from streamae.alerting.desk import Desk, Dropped
from streamae.batches import Record
from tests.alerting.changes import (
    DAY,
    EVERY,
    FORGETFUL,
    HOUR,
    MINUTE,
    NOW_MS,
    OUTPUT,
    START_MS,
    change,
    record,
)
from tests.alerting.desks import desk, tell, words

CRITICAL_ONLY = ({"receiver": "pager", "classes": ("critical",)},)


class Held(Record):
    """A record of which it can be seen whether anybody still holds it."""


def backlog(one: Desk, *changes: Any) -> None:
    """Read old news, and settle it."""
    for each in changes:
        one.take(each, NOW_MS, is_old_news=True)
    one.settle_old_news(NOW_MS)


def test_only_what_is_open_and_young_is_told_one_by_one() -> None:
    """A first start on a full topic pages for what goes on now, and says in one alert how much it leaves out."""
    one = desk()
    backlog(
        one,
        change(episode="young", key="a", stamped_ms=NOW_MS - HOUR + 1, offset=0),
        change(episode="old", key="b", stamped_ms=NOW_MS - HOUR, severity=95.0, offset=1),
        change(episode="over", key="c", stamped_ms=NOW_MS - MINUTE, offset=2),
        change("closed", 1, "over", key="c", stamped_ms=NOW_MS - MINUTE, offset=3),
        change("closed", 4, "ended", key="c", stamped_ms=NOW_MS - MINUTE, offset=4),
    )
    assert one.settled(OUTPUT) == 0
    young, summary = tell(one)
    assert words([young]) == [("trigger", "young", 0)]
    assert (summary.alert.episode_id, summary.alert.identity["cause"]) == ("summary", Cause.SUMMARY)
    assert summary.alert.summary == "3 older episodes were not told one by one, 1 of them still open"
    assert summary.alert.extra == {
        "episodes": "3",
        "still open": "1",
        "critical": "1",
        "warning": "2",
        "keys": "c (2), b (1)",
    }
    assert one.dropped == {Dropped.OLD: 3}
    assert one.settled(OUTPUT) == 5


def test_what_was_counted_is_settled_only_when_the_summary_is_told() -> None:
    """A crash before that reads and counts it again."""
    one = desk()
    backlog(one, change(stamped_ms=NOW_MS - DAY), change("closed", 1, stamped_ms=NOW_MS - DAY, offset=1))
    assert one.settled(OUTPUT) == 0
    one.delivered(one.due(NOW_MS)[0], NOW_MS)
    assert one.settled(OUTPUT) == 0
    one.saved(one.unsaved())
    assert one.settled(OUTPUT) == 2


def test_without_old_news_there_is_no_summary() -> None:
    """Nothing is said where nothing is left out, and it may be asked again."""
    one = desk()
    assert one.settle_old_news(NOW_MS) is None
    one.take(change(stamped_ms=NOW_MS), NOW_MS, is_old_news=True)
    assert one.settle_old_news(NOW_MS) is None
    assert words(tell(one)) == [("trigger", "e1", 0)]


def test_nothing_old_is_told_before_the_backlog_is_read() -> None:
    """Its end may stand further on."""
    one = desk()
    one.take(change(stamped_ms=NOW_MS), NOW_MS, is_old_news=True)
    assert one.due(NOW_MS) == []
    assert one.settled(OUTPUT) == 0


def test_what_the_receiver_was_told_of_goes_on_however_old_it_is() -> None:
    """An outage leaves no page open: the end of what was announced is always told."""
    one = desk()
    one.take(change(), NOW_MS)
    tell(one)
    after = desk(records=one.records())
    backlog(after, change("closed", 1, stamped_ms=NOW_MS - DAY, offset=1))
    assert words(tell(after)) == [("resolve", "e1", 1)]


def test_fresh_news_of_an_old_episode_is_told() -> None:
    """What happens after the start is news, whatever was before."""
    one = desk()
    one.take(change(stamped_ms=NOW_MS - DAY, severity=95.0), NOW_MS, is_old_news=True)
    one.take(change("updated", 1, offset=1), NOW_MS)
    assert one.settle_old_news(NOW_MS) is None
    (told,) = tell(one)
    assert (told.action, told.alert.sequence, told.alert.severity.word) == (Action.TRIGGER, 1, "critical")
    assert one.settled(OUTPUT) == 2


def test_old_news_enters_routes_like_any_other() -> None:
    """What nobody would be told of is not counted, and what met a route once is."""
    one = desk(routes=CRITICAL_ONLY)
    backlog(
        one,
        change(severity=1.0, offset=0),
        change("updated", 1, severity=95.0, offset=1),
        change("updated", 2, severity=1.0, offset=2),
        change(episode="e2", key="b", severity=1.0, offset=3),
    )
    assert words(tell(one)) == [("trigger", "e1", 2)]


def test_old_news_that_comes_again_is_dropped() -> None:
    """The same ids say nothing new."""
    one = desk()
    backlog(one, change("updated", 3, offset=0), change("updated", 2, offset=1))
    assert words(tell(one)) == [("trigger", "e1", 3)]
    assert one.dropped == {Dropped.NOT_NEWER: 1}


def test_where_each_change_is_told_old_news_is_folded_too() -> None:
    """A first start does not post a week of events."""
    one = desk(nature=EVERY)
    backlog(one, change(offset=0), change("updated", 1, offset=1), change("updated", 2, offset=2))
    assert words(tell(one)) == [("trigger", "e1", 2)]


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_successor_in_the_past_ends_what_is_open(is_closed: bool) -> None:
    """What was told before an outage, and was superseded in it, is ended although its successor is only counted."""
    one = desk()
    one.take(change(), NOW_MS)
    tell(one)
    after = desk(records=one.records())
    past = [change(episode="e2", start_time_ms=START_MS + 1, stamped_ms=NOW_MS - DAY, offset=1)]
    past += [change("closed", 1, "e2", start_time_ms=START_MS + 1, stamped_ms=NOW_MS - DAY, offset=2)] * is_closed
    backlog(after, *past)
    (end, summary) = tell(after)
    assert (end.action, end.alert.episode_id, end.alert.close_reason) == (Action.RESOLVE, "e1", "superseded")
    assert summary.alert.extra["episodes"] == "1"
    assert after.settled(OUTPUT) == len(past) + 1


def test_of_several_open_ones_of_a_line_only_the_newest_is_told() -> None:
    """Those that nobody closed are not open any more, whichever order they come in."""
    one = desk()
    backlog(
        one,
        change(episode="e2", start_time_ms=START_MS + 2, offset=0),
        change(episode="e1", start_time_ms=START_MS + 1, offset=1),
        change("updated", 1, "e1", start_time_ms=START_MS + 1, offset=2),
        change(episode="e3", start_time_ms=START_MS + 3, offset=3),
    )
    told = tell(one)
    assert words(told)[0] == ("trigger", "e3", 0)
    assert told[1].alert.extra["still open"] == "0"
    assert len(told) == 2


def test_fresh_news_of_a_successor_leaves_the_old_one_to_the_summary() -> None:
    """The old one was never told: there is nothing to end."""
    one = desk()
    one.take(change(), NOW_MS, is_old_news=True)
    one.take(change(episode="e2", start_time_ms=START_MS + 1, offset=1), NOW_MS)
    one.settle_old_news(NOW_MS)
    assert [word[1] for word in words(tell(one))] == ["e2", "summary"]


def test_what_was_superseded_stays_so() -> None:
    """More old news of it, or of one before it, does not open it again."""
    one = desk()
    one.take(change(episode="e1", start_time_ms=START_MS + 1), NOW_MS, is_old_news=True)
    one.take(change(episode="e2", start_time_ms=START_MS + 2, offset=1), NOW_MS)
    one.take(change(episode="e0", start_time_ms=START_MS, offset=2), NOW_MS)
    one.take(change("updated", 1, "e1", start_time_ms=START_MS + 1, offset=3), NOW_MS, is_old_news=True)
    summary = one.settle_old_news(NOW_MS)
    assert summary is not None
    assert summary.extra["still open"] == "0"
    assert [word[1] for word in words(tell(one))] == ["e2", "summary"]


def test_an_older_episode_does_not_end_what_is_only_old_news() -> None:
    """What began later goes on: the older one is told as over before it."""
    one = desk()
    one.take(change(episode="e2", start_time_ms=START_MS + 2), NOW_MS, is_old_news=True)
    one.take(change(episode="e1", start_time_ms=START_MS + 1, offset=1), NOW_MS)
    one.settle_old_news(NOW_MS)
    assert words(tell(one)) == [("trigger", "e1", 0), ("resolve", "e1", 0), ("trigger", "e2", 0)]


# Memory lost


def history() -> list[Any]:
    """Return an open episode, a closed one, one that was superseded, its successor, and one that no route wants."""
    return [
        change(episode="open", key="a", severity=95.0, offset=0, stamped_ms=NOW_MS - HOUR),
        change(episode="over", key="b", severity=95.0, offset=1, stamped_ms=NOW_MS - HOUR),
        change("closed", 1, "over", key="b", severity=95.0, offset=2, stamped_ms=NOW_MS - HOUR),
        change(episode="lost", key="c", severity=95.0, offset=3, stamped_ms=NOW_MS - HOUR),
        change(episode="next", key="c", severity=95.0, offset=4, stamped_ms=NOW_MS, start_time_ms=START_MS + 1),
        change(episode="other", key="d", severity=1.0, offset=5, stamped_ms=NOW_MS),
        change("closed", 1, "ancient", key="e", severity=95.0, offset=6, stamped_ms=NOW_MS - 8 * DAY),
    ]


def test_what_was_read_in_an_earlier_life_counts_as_told() -> None:
    """Memory is lost although offsets are committed: nobody is told again, and ends are still told."""
    one = desk(routes=CRITICAL_ONLY)
    one.rebuild(history(), NOW_MS)
    one.start_at(OUTPUT, 7)
    assert (one.due(NOW_MS), one.settled(OUTPUT), one.dropped.total()) == ([], 7, 0)
    resolved = {told.alert.episode_id: told.is_resolved for told in one.records()}
    assert resolved == {"open": False, "over": True, "lost": True, "next": False}
    assert [told.alert.episode_id for told in one.records() if told.alert.event] == ["open", "next"]
    one.saved(one.unsaved())
    one.take(change("closed", 1, "open", key="a", offset=7), NOW_MS)
    one.take(change("closed", 1, "next", key="c", offset=8), NOW_MS)
    assert words(tell(one)) == [("resolve", "open", 1), ("resolve", "next", 1)]


def test_many_ended_episodes_of_a_key_do_not_make_rebuilding_slow() -> None:
    """What is over leaves its line at once: a long history costs as much for each change as a short one."""
    one = desk()
    for number in range(50):
        one.rebuild([change("closed", 1, f"e{number}", start_time_ms=START_MS + number, offset=number)], NOW_MS)
    one.take(change(episode="e50", start_time_ms=START_MS + 50, offset=50), NOW_MS)
    one.is_stateless = True
    assert words(one.due(NOW_MS)) == [("trigger", "e50", 0)]
    assert [len(members) for members in one._cases._lines.values()] == [1]


def test_what_is_rebuilt_is_repeated_where_that_is_needed() -> None:
    """Alertmanager goes on with what is open, and is not told of old ends."""
    one = desk(nature=FORGETFUL, routes=CRITICAL_ONLY)
    one.rebuild(history(), NOW_MS)
    one.saved(one.unsaved())
    assert words(one.due(NOW_MS)) == [("repeat", "open", 0)]
    assert words(one.due(NOW_MS + MINUTE)) == [("repeat", "open", 0), ("repeat", "next", 0)]


def test_each_change_of_an_earlier_life_counts_as_told() -> None:
    """Also where each one is told."""
    one = desk(nature=EVERY)
    one.rebuild([change(offset=0), change("updated", 1, offset=1)], NOW_MS)
    assert one.due(NOW_MS) == []
    assert one.told("e1").alert.sequence == 1  # type: ignore[union-attr]


def test_records_of_a_store_that_is_back_are_taken_where_nothing_newer_is_known() -> None:
    """What the topic does not hold any more may still be open."""
    before = desk()
    for number in (1, 2):
        before.take(change(episode=f"e{number}", key=f"k{number}", offset=number), NOW_MS)
    tell(before)
    one = desk()
    one.take(change("closed", 1, "e1", key="k1"), NOW_MS)
    tell(one)
    one.adopt(before.records())
    assert {told.alert.episode_id: told.is_resolved for told in one.records()} == {"e1": True, "e2": False}


def test_of_two_open_records_of_a_line_the_older_one_was_ended() -> None:
    """The newer one was told only after that; what a crash kept from being saved is not told again."""
    records = []
    for number in (1, 2):
        before = desk()
        before.take(change(episode=f"e{number}", start_time_ms=START_MS + number), NOW_MS)
        tell(before)
        records += before.records()
    one = desk(records=list(reversed(records)))
    assert tell(one) == []
    assert {told.alert.episode_id: told.is_resolved for told in one.records()} == {"e1": True, "e2": False}


def test_an_open_record_of_a_line_ends_before_what_waits_there() -> None:
    """What was told before comes first, when the store is back before its successor was told."""
    before = desk()
    before.take(change(), NOW_MS)
    tell(before)
    one = desk()
    one.take(change(episode="e2", start_time_ms=START_MS + 1), NOW_MS)
    one.adopt(before.records())
    assert words(tell(one)) == [("resolve", "e1", 0), ("trigger", "e2", 0)]


def test_what_is_only_counted_is_not_held() -> None:
    """A topic can hold a million episodes that are over, or replaced: whole, they would be more than memory is."""
    one = desk()
    found = []
    for offset, (kind, episode) in enumerate((("opened", "e1"), ("closed", "e1"), ("opened", "e2"), ("opened", "e3"))):
        start_ms = START_MS + offset
        raw = Held(*astuple(record(kind, offset, episode, offset=offset, start_time_ms=start_ms)))
        found.append(weakref.ref(raw))
        one.take(read_change(raw), NOW_MS, is_old_news=True)
        del raw
    gc.collect()
    assert [reference() is None for reference in found] == [True, True, True, False]
    one.settle_old_news(NOW_MS)
    assert {(notice.alert.episode_id, notice.action) for notice in tell(one)} == {
        ("e3", Action.TRIGGER),
        ("summary", Action.TRIGGER),
    }
