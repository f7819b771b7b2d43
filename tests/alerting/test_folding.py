"""Folding: a dead rack is one message, then what joined, then one end; and nothing is lost on the way."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from streamae.alerting.alert import Action, Notice, SeverityClass
from streamae.alerting.folding import Folder
from tests.alerting.alerts import alert, notice

WAIT_MS, INTERVAL_MS = 30_000, 300_000


def folder(**more: object) -> Folder:
    """Return a folder by detector and cause."""
    return Folder(("detector", "cause"), WAIT_MS, INTERVAL_MS, **more)  # type: ignore[arg-type]


def tell(folder: Folder, due: Sequence[Notice], now_ms: int) -> list[list[Notice]]:
    """Let go what may go, all of it delivered."""
    batches = folder.batches(due, now_ms)
    for batch in batches:
        folder.settled(batch, now_ms)
    return batches


def triggers(*numbers: int) -> list[Notice]:
    """Return new alerts."""
    return [notice(number) for number in numbers]


def ends(*numbers: int) -> list[Notice]:
    """Return ends of alerts."""
    return [notice(number, Action.RESOLVE) for number in numbers]


def test_a_dead_rack_is_one_message_what_joined_and_one_end() -> None:
    """500 pages for one cause are worse than none."""
    one, rack, late = folder(), triggers(*range(500)), triggers(*range(500, 520))
    assert one.batches(rack[:100], 0) == []
    assert one.batches(rack, WAIT_MS - 1) == []
    (first,) = tell(one, rack, WAIT_MS)
    assert len(first) == 500
    assert tell(one, late[:5], WAIT_MS + 1) == []
    assert tell(one, late, WAIT_MS + INTERVAL_MS - 1) == []
    (joined,) = tell(one, late, WAIT_MS + INTERVAL_MS)
    assert len(joined) == 20
    over = WAIT_MS + 3 * INTERVAL_MS
    assert tell(one, ends(*range(519)), over) == []
    (end,) = tell(one, ends(*range(520)), over + 60_000)
    assert len(end) == 520


def test_the_worst_stands_first() -> None:
    """A message shows the head of its batch only."""
    mild = notice(1, severity=99.0, classes=(SeverityClass.WARNING,))
    bad, worse = notice(2, severity=91.0), notice(3, severity=97.0)
    over = notice(4, Action.RESOLVE, severity=100.0)
    one = folder()
    one.batches([mild, bad, worse, over], 0)
    (batch,) = one.batches([over, mild, bad, worse], WAIT_MS)
    assert batch == [worse, bad, mild, over]


def test_groups_do_not_wait_for_each_other() -> None:
    """What has another cause is another message, at its own time."""
    one, first, second = folder(), notice(1), notice(2, cause="silence")
    assert one.batches([first], 0) == []
    assert tell(one, [first, second], WAIT_MS) == [[first]]
    assert tell(one, [second], WAIT_MS + 1) == []
    assert tell(one, [second], 2 * WAIT_MS) == [[second]]


def test_a_message_that_did_not_arrive_is_offered_again_with_what_joined() -> None:
    """Only what the receiver has starts the interval."""
    one, due = folder(), triggers(1, 2)
    one.batches(due, 0)
    assert [len(batch) for batch in one.batches(due, WAIT_MS)] == [2]
    assert [len(batch) for batch in one.batches([*due, notice(3)], WAIT_MS + 1)] == [3]


def test_some_that_are_over_wait_for_the_others() -> None:
    """Ends trickle in while a rack comes back; if it does not as a whole, what is over is told after an interval."""
    one = folder(known=[alert(number) for number in range(3)])
    assert tell(one, ends(0), 0) == []
    assert tell(one, ends(0, 1), INTERVAL_MS - 1) == []
    (part,) = tell(one, ends(0, 1), INTERVAL_MS)
    assert len(part) == 2
    assert [len(batch) for batch in tell(one, ends(2), INTERVAL_MS + 1)] == [1]


def test_ends_go_with_the_next_message_of_news() -> None:
    """One message tells what is new and what is over."""
    one = folder(known=[alert(0), alert(1)])
    due = [*ends(0), notice(2)]
    assert tell(one, due, 0) == []
    (both,) = tell(one, due, WAIT_MS)
    assert [each.action for each in both] == [Action.TRIGGER, Action.RESOLVE]


def test_news_soon_after_an_end_keep_the_interval() -> None:
    """A key that flaps brings a message an interval, not one each time."""
    one = folder(known=[alert(0)])
    assert len(tell(one, ends(0), 0)) == 1
    assert tell(one, triggers(0), 1_000) == []
    assert tell(one, triggers(0), INTERVAL_MS - 1) == []
    assert len(tell(one, triggers(0), INTERVAL_MS)) == 1


def test_what_was_silenced_while_it_waited_does_not_hurry_later_news() -> None:
    """The wait belongs to those that wait: news that went away leave no time behind."""
    one = folder(known=[alert(0)])
    assert one.batches(triggers(1), 0) == []
    assert one.batches([], 10_000) == []
    assert one.batches(triggers(2), WAIT_MS) == []
    assert len(one.batches(triggers(2), 2 * WAIT_MS)) == 1


def test_an_alert_stays_in_the_group_that_told_of_it() -> None:
    """Its end is the end of that group, also if its labels have changed: a class that rose, another owner."""
    one = Folder(("severity",), WAIT_MS, INTERVAL_MS, [alert(1, classes=(SeverityClass.WARNING,)), alert(2)])
    risen = notice(1, Action.RESOLVE, classes=(SeverityClass.WARNING, SeverityClass.CRITICAL))
    assert one.batches([risen], 0) == [[risen]]


def test_only_a_class_that_rises_is_worth_another_message() -> None:
    """An episode that goes on for a day is not a message every five minutes, and is none that waits for ever."""
    mild = alert(1, classes=(SeverityClass.WARNING,))
    one = folder(known=[mild])
    same, unknown = Notice(Action.UPDATE, mild), notice(2, Action.UPDATE)
    worse = notice(1, Action.UPDATE, classes=(SeverityClass.WARNING, SeverityClass.CRITICAL))
    assert one.quiet([same, worse, unknown]) == [same]
    assert [one.batches([same], now_ms) for now_ms in (0, 10 * INTERVAL_MS)] == [[], []]
    one.batches([worse, unknown], 20 * INTERVAL_MS)
    (batch,) = tell(one, [worse, unknown], 20 * INTERVAL_MS + WAIT_MS)
    assert batch == [worse, unknown]
    assert one.quiet([worse, same]) == [worse, same]
    assert one.quiet(ends(1)) == []


def test_groups_that_are_over_are_forgotten() -> None:
    """Grouped by key, a year of alerts must not stay in memory."""
    one = Folder(("key",), 0, INTERVAL_MS)
    for number in range(100):
        now_ms = number * 2 * INTERVAL_MS
        tell(one, triggers(number), now_ms)
        tell(one, ends(number), now_ms)
    one.batches([], 1_000 * INTERVAL_MS)
    assert one._groups == {}
    assert one._known == {}


def test_what_was_refused_is_not_waited_for() -> None:
    """The receiver never hears of its end: it must not stay in memory, nor keep the others' end from being all of it."""
    one = folder()
    one.settled(triggers(1), 0, refused={"episode-1"})
    one.settled(triggers(2), 0)
    assert tell(one, ends(2), 1) == [ends(2)]
    one.batches([], 2 * INTERVAL_MS)
    assert (one._groups, one._known) == ({}, {})


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 400_000)), max_size=40))
def test_everything_that_is_due_goes_at_last_and_news_keep_their_distance(
    steps: list[tuple[int, bool, int]],
) -> None:
    """Whatever comes when: each notice goes within wait and interval, and messages with news are an interval apart."""
    one, due, told, sent, now_ms = folder(), dict[int, Notice](), set[int](), list[int](), 0

    def let_go() -> None:
        for batch in tell(one, list(due.values()), now_ms):
            if any(each.action is not Action.RESOLVE for each in batch):
                sent.append(now_ms)
            for each in batch:
                number = int(each.alert.episode_id.removeprefix("episode-"))
                del due[number]
                (told.discard if each.action is Action.RESOLVE else told.add)(number)

    for number, ending, wait_ms in steps:
        if (number in told) == ending and number not in due:
            due[number] = notice(number, Action.RESOLVE if ending else Action.TRIGGER)
        let_go()
        now_ms += wait_ms
        let_go()
    let_go()
    now_ms += INTERVAL_MS
    let_go()
    assert due == {}
    assert all(later - earlier >= INTERVAL_MS for earlier, later in itertools.pairwise(sent))
