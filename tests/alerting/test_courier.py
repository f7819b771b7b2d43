"""One receiver's way from the output topic to what it has acknowledged, rule by rule."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from streamae.alerting.alert import Action, Notice
from streamae.alerting.detectors import Standing
from streamae.alerting.orders import Orders, Resolution
from streamae.alerting.receiver import Delivered, Outcome, Refused, Retry
from streamae.alerting.silences import Silence, Silences
from streamae.alerting.world import Refusals
from streamae.errors import RetryableError
from tests.alerting.couriers import HERE, LETTERS, TOPIC, WALL_MS, House, Recorder, event

AWAY = RetryableError("away")
OPENED, CLOSED = event("e-1"), event("e-1", "closed", 2)
UPDATED = event("e-1", "updated", 1)


def metric(house: House, series: str) -> float:
    """Return one series of the exposition text."""
    text = house.metrics.render()[0].decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"streamae_alerts_{series}"))


def test_an_episode_is_told_once_and_taken_back_once() -> None:
    """The whole point: one page, one resolve, offsets committed behind them."""
    house = House()
    house.starts_afresh()
    house.happens(OPENED)
    house.turn(3)
    house.happens(CLOSED)
    house.turn(3)
    assert house.receivers[0].told == [("trigger", "e-1", 0), ("resolve", "e-1", 2)]
    assert house.broker.committed(house.group(), HERE) == 2


def test_a_new_process_tells_nothing_a_second_time() -> None:
    """What was recorded is known; the end of what was told before is told by the next process."""
    house = House()
    house.starts_afresh()
    house.happens(OPENED)
    house.turn(3)
    house.begin()
    house.turn(3)
    house.happens(CLOSED)
    house.turn(3)
    assert house.receivers[0].told == [("trigger", "e-1", 0), ("resolve", "e-1", 2)]


def test_it_says_from_where_it_reads() -> None:
    """Whoever wonders why nothing is told sees that reading has begun, and where."""
    house = House()
    house.starts_afresh()
    house.happens(OPENED, CLOSED)
    house.turn(3)
    house.happens(event("e-2"))
    with capture_logs() as lines:
        house.begin()
        house.turn(3)
    (line,) = (line for line in lines if line["event"] == "reading_begins")
    assert (line["receiver"], line["offsets"], line["unread"]) == ("pager", {"anomalies/0": 2}, 1)


def test_at_a_first_start_only_what_is_open_and_young_is_told() -> None:
    """Whoever switches alerts on gets the state of things and one summary, not the past week."""
    house = House()
    house.happens(event("e-old"), event("e-over"), age_ms=2 * house.settings.max_age_ms)
    house.happens(event("e-over", "closed", 1), event("e-young"), age_ms=60_000)
    house.begin()
    house.turn(3)
    assert {(action, episode) for action, episode, _ in house.receivers[0].told} == {
        ("trigger", "e-young"),
        ("trigger", "summary"),
    }
    assert "2 older episodes" in house.receivers[0].calls[0][-1].alert.summary
    assert metric(house, 'dropped_total{reason="old"') == 2


def test_nothing_is_told_before_the_backlog_is_read() -> None:
    """An episode that has ended meanwhile must not page first."""
    house = House(max_age_ms=10**9)
    house.starts_afresh()
    house.happens(OPENED)
    house.turn(3)
    house.happens(UPDATED, event("e-2"), event("e-2", "closed", 1), CLOSED)
    house.begin(max_poll_records=1)
    house.turn(4)
    assert house.receivers[0].told == [("trigger", "e-1", 0)]
    house.turn(3)
    assert house.receivers[0].told[1:] == [("resolve", "e-1", 2), ("trigger", "e-2", 1), ("resolve", "e-2", 1)]


def test_a_first_start_that_dies_right_after_its_first_page_still_takes_it_back() -> None:
    """To a group without any commit the end would be old news, and somebody would stay paged for ever."""
    house = House()
    house.happens(OPENED)
    house.begin()
    house.broker.fail_at("before_commit", AWAY)
    pager = house.receivers[0]

    def die(_notice: Notice) -> Outcome:
        raise KeyboardInterrupt

    pager.answer = die
    with pytest.raises(KeyboardInterrupt):
        house.turn(3)
    pager.answer = lambda _notice: Delivered()
    house.happens(CLOSED)
    house.begin()
    house.turn(5)
    assert pager.told == [("trigger", "e-1", 2), ("resolve", "e-1", 2)]


def test_a_receiver_that_is_away_is_asked_again_later_and_told_the_newest() -> None:
    """An outage costs no alert and sends no history: changes fold while its partitions are paused."""
    house = House()
    house.starts_afresh()
    pager = house.receivers[0]
    pager.answer = lambda _notice: Retry("503")
    house.happens(OPENED)
    house.turn(20)
    assert 3 <= len(pager.calls) <= 7
    assert house.couriers[0].report.failing_since_ms is not None
    assert (house.couriers[0].report.why, metric(house, "failing")) == ("503", 1)
    house.happens(UPDATED, event("e-1", "updated", 2), event("e-1", "updated", 3))
    pager.answer = lambda _notice: Delivered()
    house.turn(70)
    assert pager.told == [("trigger", "e-1", 3)]
    assert (house.couriers[0].report.failing_since_ms, metric(house, "failing")) == (None, 0)


def test_it_stays_in_its_group_while_the_receiver_is_away() -> None:
    """Polling goes on: who stops polling is thrown out, and another member would page anew."""
    house = House()
    house.starts_afresh()
    house.receivers[0].answer = lambda _notice: Retry("503")
    house.happens(OPENED)
    house.turn(5)
    house.happens(event("e-2"))
    house.broker.expel(house.sources[0])
    house.turn(1)
    assert house.sources[0].member in house.broker.group(house.group()).members
    assert house.couriers[0].report.partitions == 1


def test_a_receiver_that_asks_for_time_gets_it() -> None:
    """Retry-After of two minutes means two minutes."""
    house = House()
    house.starts_afresh()
    pager = house.receivers[0]
    pager.answer = lambda _notice: Retry("429", 120_000)
    house.happens(OPENED)
    house.turn(2)
    pager.answer = lambda _notice: Delivered()
    house.turn(115)
    assert pager.told == []
    house.turn(10)
    assert pager.told == [("trigger", "e-1", 0)]


def test_a_receiver_that_asks_for_no_time_is_not_asked_without_a_pause() -> None:
    """`Retry-After: 0`, or a date that is past, is no reason to hammer it, nor to call it well."""
    house = House()
    house.starts_afresh()
    house.receivers[0].answer = lambda _notice: Retry("503", 0)
    house.happens(OPENED)
    house.turn(20)
    assert 3 <= len(house.receivers[0].calls) <= 7
    assert house.couriers[0].report.failing_since_ms is not None


def test_one_alert_that_fails_holds_up_no_other() -> None:
    """A receiver that chokes on one alert is not away."""

    def answer(notice: Notice) -> Outcome:
        return Retry("500") if notice.alert.episode_id == "e-1" else Delivered()

    house = House()
    house.starts_afresh()
    pager = house.receivers[0]
    pager.answer = answer
    house.happens(OPENED, event("e-2"))
    house.turn(3)
    house.happens(event("e-3"))
    house.turn(1)
    assert [episode for _, episode, _ in pager.told] == ["e-2", "e-3"]
    assert house.couriers[0].report.failing_since_ms is None
    house.turn(30)
    tries = [notice for call in pager.calls for notice in call if notice.alert.episode_id == "e-1"]
    assert 3 <= len(tries) <= 8
    pager.answer = lambda _notice: Delivered()
    house.turn(61)
    assert [episode for _, episode, _ in pager.told] == ["e-2", "e-3", "e-1"]


def test_what_was_not_tried_is_neither_counted_nor_left_alone() -> None:
    """Three alerts that a receiver chokes on end its turn: those behind them come with the next one."""
    house = House()
    house.starts_afresh()
    answers = {"e-1": Delivered(), "e-2": Retry("500"), "e-3": Retry("500", may_have_arrived=False, was_tried=False)}
    pager = house.receivers[0]
    pager.answer = lambda notice: answers[notice.alert.episode_id]
    house.happens(OPENED, event("e-2"), event("e-3"))
    house.turn(1)
    assert metric(house, 'deliveries_total{outcome="retried"') == 1
    answers["e-3"] = Delivered()
    house.turn(1)
    assert [episode for _, episode, _ in pager.told] == ["e-1", "e-3"]


@pytest.mark.parametrize("way", ["silence", "operator", "refusal"])
def test_what_may_have_arrived_is_taken_back(way: str) -> None:
    """A page that timed out may have been taken: however its episode goes on, the receiver hears of its end."""
    house = House()
    house.starts_afresh()
    pager = house.receivers[0]
    pager.answer = lambda _notice: Retry("did not answer in time")
    house.happens(OPENED)
    house.turn(3)
    silences = Silences([Silence("s-1", {"key": "key-e-1"}, 0, house.wall_ms + 10**9, "ann", "reboot")])
    order = Resolution("o-1", {"key": "key-e-1"}, house.wall_ms, "ann", "scrapped")
    if way == "silence":
        house.changes_world(orders=Orders(silences))
    elif way == "operator":
        house.changes_world(orders=Orders(Silences(), (order,)))
    pager.answer = lambda _notice: Refused("400") if way == "refusal" else Delivered()
    house.turn(70)
    pager.answer = lambda _notice: Delivered()
    house.happens(CLOSED)
    house.turn(70)
    assert [action for action, _, _ in pager.told][-1:] == ["resolve"]


def test_what_nobody_took_is_not_taken_back_under_a_silence() -> None:
    """A connection that was refused brought nothing: people would read of the end of what they never heard of."""
    house = House()
    house.starts_afresh()
    pager = house.receivers[0]
    pager.answer = lambda _notice: Retry("nobody there", may_have_arrived=False)
    house.happens(OPENED)
    house.turn(3)
    silence = Silence("s-1", {"key": "key-e-1"}, 0, house.wall_ms + 10**9, "ann", "reboot")
    house.changes_world(orders=Orders(Silences([silence])))
    pager.answer = lambda _notice: Delivered()
    house.turn(70)
    house.happens(CLOSED)
    house.turn(70)
    assert pager.told == []


def test_what_waits_pauses_reading_at_its_limit() -> None:
    """Memory stays bounded, however long a receiver that wants every change is away."""
    pager = Recorder()
    pager.wants_every_change = True
    house = House(pager, max_pending=3)
    house.starts_afresh()
    pager.answer = lambda _notice: Retry("503")
    house.happens(*(event("e-1", "updated", sequence) for sequence in range(40)))
    house.begin(max_poll_records=1)
    house.turn(30)
    assert house.couriers[0].report.waiting <= 4
    pager.answer = lambda _notice: Delivered()
    house.turn(150)
    assert [sequence for _, _, sequence in pager.told] == list(range(40))


def test_a_refused_alert_becomes_a_dead_letter_before_its_offset_is_committed() -> None:
    """Nobody may miss that a page was not taken: the event is kept, with why and by whom."""
    house = House()
    house.starts_afresh()
    house.receivers[0].answer = lambda _notice: Refused("400: no such key")
    house.happens(OPENED)
    house.broker.fail_at("before_commit", AWAY)
    house.turn(1)
    assert (house.broker.records(LETTERS), house.broker.committed(house.group(), HERE)) == ([], 0)
    house.turn(4)
    (found,) = house.broker.records(LETTERS)
    (original,) = house.broker.records(TOPIC)
    assert (found.key, found.value) == (original.key, original.value)
    assert found.headers[: len(original.headers)] == list(original.headers)
    ours = dict(found.headers)
    assert ours["streamae-reason"] == b"refused"
    assert ours["streamae-detail"] == b"400: no such key"
    assert ours["streamae-receiver"] == b"pager"
    assert (ours["streamae-source-topic"], ours["streamae-source-offset"]) == (TOPIC.encode(), b"0")
    assert house.broker.committed(house.group(), HERE) == 1
    assert len(house.receivers[0].calls) == 1
    assert metric(house, "dead_letters_total") == 1


def test_a_dead_letter_is_out_before_it_is_recorded_that_its_alert_is_settled() -> None:
    """Else a crash between the two would leave no trace of it."""
    house = House()
    house.starts_afresh()
    house.receivers[0].answer = lambda _notice: Refused("400")
    house.happens(OPENED)
    house.texts["pager"].fail_at("before_save", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        house.turn(3)
    assert len(house.broker.records(LETTERS)) == 1


def test_a_dead_letter_topic_that_is_away_holds_up_no_alert() -> None:
    """Others are told; nothing is committed past the letter, and it is sent once its topic is there."""
    house = House()
    house.starts_afresh()
    pager = house.receivers[0]
    pager.answer = lambda notice: Refused("400") if notice.alert.episode_id == "e-1" else Delivered()
    house.broker.fail_at("before_commit", AWAY, 4)
    house.happens(OPENED, event("e-2"))
    house.turn(6)
    assert ("trigger", "e-2", 0) in pager.told
    assert (house.broker.records(LETTERS), house.broker.committed(house.group(), HERE)) == ([], 0)
    house.turn(20)
    assert len(house.broker.records(LETTERS)) == 1
    assert house.broker.committed(house.group(), HERE) == 2


def test_a_change_that_nobody_understands_is_a_dead_letter_and_an_alert() -> None:
    """Events of a later major version must not vanish without a word."""
    house = House()
    house.starts_afresh()
    house.broker.produce(TOPIC, b"k", b"{}", house.wall_ms, [("ce_type", b"io.streamae.anomaly.opened.v2")])
    house.turn(4)
    (found,) = house.broker.records(LETTERS)
    assert dict(found.headers)["streamae-reason"] == b"unknown_version"
    assert [episode for _, episode, _ in house.receivers[0].told] == ["delivery_failed"]
    assert house.broker.committed(house.group(), HERE) == 1


def test_refusals_of_another_receiver_are_told() -> None:
    """The pager refuses: the chat says so, with why; the pager itself is not told of itself."""
    house = House(Recorder("pager"), Recorder("chat"))
    house.starts_afresh()
    house.changes_world(refusals={"pager": Refusals(2, house.wall_ms, "400: no such key")})
    house.turn(3)
    pager, chat = house.receivers
    assert pager.told == []
    assert [episode for _, episode, _ in chat.told] == ["delivery_failed/pager"]
    assert "2 changes could not be told to pager" in chat.taken[0].alert.summary
    assert "400: no such key" in chat.taken[0].alert.summary


def test_receivers_do_not_wait_for_each_other() -> None:
    """Each has its own group, its own offsets and its own patience."""
    house = House(Recorder("pager"), Recorder("chat"))
    house.starts_afresh()
    pager, chat = house.receivers
    pager.answer = lambda _notice: Retry("timeout")
    house.happens(OPENED, event("e-2"))
    house.turn(4)
    assert len(chat.told) == 2
    assert house.broker.committed(house.group("chat"), HERE) == 2
    assert not house.broker.committed(house.group("pager"), HERE)


def test_redis_away_stops_no_page_and_all_is_kept_when_it_is_back() -> None:
    """Memory goes on; a process that starts afterwards knows everything."""
    house = House()
    house.starts_afresh()
    texts = house.texts["pager"]
    texts.fail_at("before_save", AWAY, 5)
    house.happens(OPENED, event("e-2"))
    house.turn(3)
    assert len(house.receivers[0].told) == 2
    assert house.couriers[0].report.is_stateless
    assert house.broker.committed(house.group(), HERE) == 2
    house.turn(30)
    assert not house.couriers[0].report.is_stateless
    assert set(texts.texts) >= {"e-1", "e-2"}
    house.begin()
    house.happens(CLOSED)
    house.turn(3)
    assert house.receivers[0].told[2:] == [("resolve", "e-1", 2)]


def test_redis_emptied_under_a_running_process_gets_everything_again() -> None:
    """A failover to an empty server is noticed even when nothing happens."""
    house = House()
    house.starts_afresh()
    house.happens(OPENED)
    house.turn(3)
    house.texts["pager"].flush()
    house.turn(40)
    assert set(house.texts["pager"].texts) == {"e-1"}


@pytest.mark.parametrize("loss", ["emptied", "away"])
def test_a_start_without_redis_finds_out_from_the_topic_what_was_told(loss: str) -> None:
    """Nothing is paged again: what was open is taken back at its end, what was over stays over."""
    house = House()
    house.starts_afresh()
    house.happens(OPENED, event("e-2"), event("e-2", "closed", 1))
    house.turn(4)
    before = list(house.receivers[0].told)
    if loss == "emptied":
        house.texts["pager"].flush()
    else:
        house.texts["pager"].fail_at("load", AWAY, 3)
    house.begin()
    house.turn(3)
    assert house.receivers[0].told == before
    house.happens(CLOSED, event("e-2", "closed", 1))
    house.turn(20)
    assert house.receivers[0].told[len(before) :] == [("resolve", "e-1", 2)]
    assert set(house.texts["pager"].texts) >= {"e-1", "e-2"}


def test_records_that_end_before_the_commits_are_completed_from_the_topic() -> None:
    """Redis was away when the process died: what it told meanwhile is not told again."""
    house = House()
    house.starts_afresh()
    house.happens(OPENED)
    house.turn(3)
    house.texts["pager"].fail_at("before_save", AWAY, 50)
    house.happens(CLOSED, event("e-2"), event("e-2", "closed", 1), event("e-3"))
    house.turn(5)
    told = list(house.receivers[0].told)
    assert house.broker.committed(house.group(), HERE) == 5
    house.texts["pager"]._waiting.clear()
    house.begin()
    house.turn(5)
    assert house.receivers[0].told == told
    house.happens(event("e-3", "closed", 1))
    house.turn(3)
    assert house.receivers[0].told[len(told) :] == [("resolve", "e-3", 1)]


def test_own_alerts_that_only_redis_knows_are_adopted_when_it_is_back() -> None:
    """That a detector is silent was told by a process before: its end must still be told."""
    house = House()
    house.starts_afresh()
    house.changes_world(standing=Standing(silent={"pumps": WALL_MS}))
    house.turn(3)
    house.texts["pager"].fail_at("load", AWAY, 3)
    house.begin()
    house.changes_world(standing=Standing())
    house.turn(10)
    house.changes_world(standing=Standing(alive=frozenset({"pumps"})))
    house.turn(3)
    assert [action for action, _, _ in house.receivers[0].told] == ["trigger", "resolve"]


def test_a_silent_detector_is_one_alert_that_ends_with_a_sign_of_life() -> None:
    """Its open episodes stay open; nobody takes them for recovered."""
    house = House()
    house.starts_afresh()
    house.happens(OPENED)
    house.turn(3)
    silent = Standing(silent={"pumps": WALL_MS})
    house.changes_world(standing=silent)
    house.turn(3)
    house.changes_world(standing=replace(silent, unseen=frozenset({"other"})))
    house.turn(3)
    house.changes_world(standing=Standing(alive=frozenset({"pumps"})))
    house.turn(3)
    assert [(action, episode) for action, episode, _ in house.receivers[0].told] == [
        ("trigger", "e-1"),
        ("trigger", "detector_silent/pumps"),
        ("resolve", "detector_silent/pumps"),
    ]
    summary = house.receivers[0].taken[1].alert.summary
    assert "since 2023-11-14 22:13 UTC: its input is idle, or it is dead" in summary


def test_alerts_of_a_detector_that_is_given_up_end_as_stale() -> None:
    """They are never shown as recovered; what others found stays open."""
    house = House()
    house.starts_afresh()
    house.happens(OPENED, event("e-2", detector="press"))
    house.turn(3)
    house.changes_world(standing=Standing(silent={"pumps": WALL_MS}, given_up=frozenset({"pumps"})))
    house.turn(3)
    assert house.receivers[0].ended == [("e-1", "stale")]


def test_an_end_that_was_deleted_before_it_was_read_leaves_nothing_open() -> None:
    """An outage longer than the topic keeps its events: what is not heard of again ends as stale, the rest goes on."""
    house = House(give_up_ms=3_600_000)
    house.starts_afresh()
    house.happens(OPENED, event("e-2"))
    house.turn(3)
    house.happens(CLOSED)
    house.broker.delete_before(HERE, 3)
    with capture_logs() as lines:
        house.begin()
        house.turn(2)
    assert [line["partitions"] for line in lines if line["event"] == "events_deleted_unread"] == [["anomalies/0"]]
    house.happens(event("e-2", "updated", 1))
    house.turn(1_800)
    house.begin()
    house.turn(1_700)
    pager = house.receivers[0]
    assert [action for action, _, _ in pager.told] == ["trigger", "trigger", "update"]
    house.turn(200)
    assert (len(pager.told), pager.ended) == (4, [("e-1", "stale")])


def test_an_operator_ends_what_is_retired() -> None:
    """`streamae alert resolve` reaches every receiver, once."""
    house = House()
    house.starts_afresh()
    house.happens(OPENED, event("e-2"))
    house.turn(3)
    order = Resolution("o-1", {"key": "key-e-1"}, house.wall_ms, "ann", "scrapped")
    house.changes_world(orders=Orders(Silences(), (order,)))
    house.turn(5)
    assert house.receivers[0].ended == [("e-1", "operator")]


def test_what_an_operator_has_ended_stays_ended_when_redis_is_lost() -> None:
    """The topic says that it is open: a start without memory finds that out after it has read the order."""
    house = House()
    pager = house.receivers[0]
    pager.repeat_ms = 60_000
    house.starts_afresh()
    house.happens(OPENED, event("e-2"))
    house.turn(3)
    order = Resolution("o-1", {"key": "key-e-1"}, house.wall_ms, "ann", "scrapped")
    house.changes_world(orders=Orders(Silences(), (order,)))
    house.turn(3)
    house.texts["pager"].flush()
    house.begin(max_poll_records=1)
    house.turn(10)
    assert house.couriers[0].report.firing["critical"] == 1
    pager.taken.clear()
    house.turn(120)
    assert {notice.alert.episode_id for notice in pager.taken} == {"e-2"}


def test_an_operator_ends_the_alert_of_a_silent_detector_that_is_retired() -> None:
    """Nothing else ever would: it will give no sign of life."""
    house = House()
    house.starts_afresh()
    house.changes_world(standing=Standing(silent={"pumps": WALL_MS, "fans": WALL_MS}))
    house.turn(3)
    every_key = Resolution("o-1", {"key": "*"}, house.wall_ms, "ann", "scrapped")
    pumps = Resolution("o-2", {"detector": "pumps"}, house.wall_ms, "ann", "scrapped")
    house.changes_world(orders=Orders(Silences(), (every_key, pumps)))
    house.turn(5)
    ended = [(notice.action.value, notice.alert.episode_id) for notice in house.receivers[0].taken][2:]
    assert ended == [("resolve", "detector_silent/pumps")]


def test_a_silence_withholds_until_it_ends_unless_the_receiver_has_it_itself() -> None:
    """Alertmanager silences by itself; it must know of the alert all the same."""
    house = House(Recorder("pager"), Recorder("manager"))
    house.starts_afresh()
    silence = Silence(
        "s-1", {"key": "key-e-1"}, 0, house.wall_ms + 20_000, "ann", "reboot", elsewhere={"manager": "there-1"}
    )
    house.changes_world(orders=Orders(Silences([silence])))
    house.happens(OPENED, event("e-2"))
    house.turn(5)
    pager, manager = house.receivers
    assert [episode for _, episode, _ in pager.told] == ["e-2"]
    assert [episode for _, episode, _ in manager.told] == ["e-1", "e-2"]
    house.turn(30)
    assert [episode for _, episode, _ in pager.told] == ["e-2", "e-1"]


def test_receivers_that_forget_are_told_again_also_while_kafka_is_away() -> None:
    """Ten minutes without a broker must not let open alerts look resolved."""
    pager = Recorder()
    pager.repeat_ms = 60_000
    house = House(pager)
    house.starts_afresh()
    house.happens(OPENED)
    house.turn(3)
    house.broker.fail_at("poll", AWAY, 10_000)
    house.turn(200)
    assert len([notice for notice in pager.taken if notice.action is Action.REPEAT]) == 3
    assert house.couriers[0].report.why == "away"
    house.begin()
    house.turn(100)
    assert len([notice for notice in pager.taken if notice.action is Action.REPEAT]) >= 4


def test_what_was_told_as_over_before_a_crash_is_not_repeated_as_open_after_it() -> None:
    """Where labels are the identity, an alert that is repeated after its end is a new one: people hear of it twice."""
    pager = Recorder()
    pager.repeat_ms = 60_000
    house = House(pager)
    house.starts_afresh()
    house.happens(OPENED)
    house.turn(3)
    house.happens(event("e-2"), CLOSED)
    pager.answer = _dies_at_ends
    with pytest.raises(InterruptedError):
        house.turn()
    pager.answer = lambda _notice: Delivered()
    house.now_ms += 120_000
    house.begin(max_poll_records=1)
    before = len(pager.calls)
    house.turn(4)
    of_it = [notice for call in pager.calls[before:] for notice in call if notice.alert.episode_id == "e-1"]
    assert [(notice.action, notice.alert.ended_ms is None) for notice in of_it] == [(Action.RESOLVE, False)]


def test_every_class_that_was_told_before_a_crash_is_told_as_over() -> None:
    """Alertmanager knows an alert for each class: one that nobody remembers telling must not go on firing."""
    house = House()
    house.starts_afresh()
    house.happens(event("e-1", severity=60.0))
    house.receivers[0].answer = _dies
    with pytest.raises(InterruptedError):
        house.turn()
    house.receivers[0].answer = lambda _notice: Delivered()
    house.happens(event("e-1", "updated", 1, severity=95.0), event("e-1", "closed", 2, severity=95.0))
    house.begin()
    house.turn(4)
    notice = house.receivers[0].taken[-1]
    assert (notice.action, [each.word for each in notice.alert.classes]) == (Action.RESOLVE, ["warning", "critical"])


def test_a_backlog_that_takes_long_lets_no_open_alert_expire() -> None:
    """A receiver that forgets hears of what is open while a long topic is read: it would count it as over."""
    pager = Recorder()
    pager.repeat_ms = 60_000
    house = House(pager)
    house.starts_afresh()
    house.happens(OPENED)
    house.turn(3)
    house.happens(*(event(f"e-{number}") for number in range(2, 20)))
    house.now_ms += 120_000
    house.begin(max_poll_records=1)
    house.turn(2)
    assert not [notice for notice in pager.taken if notice.action is Action.REPEAT]
    house.now_ms += house.settings.hold_ms // 10
    house.turn(2)
    assert {notice.alert.episode_id for notice in pager.taken if notice.action is Action.REPEAT} == {"e-1"}
    assert len(pager.told) == 1


def _dies(_notice: Notice) -> Outcome:
    raise InterruptedError


def _dies_at_ends(notice: Notice) -> Outcome:
    if notice.action is Action.RESOLVE:
        raise InterruptedError
    return Delivered()


def test_a_storm_is_told_over_many_turns() -> None:
    """A turn that tells thousands one by one would outlast every patience: of the group, of /livez, of the watchdog."""
    house = House()
    house.starts_afresh()
    house.happens(*(event(f"e-{number}") for number in range(1_000)))
    pager = house.receivers[0]
    told = []
    for _ in range(8):
        house.turn()
        told.append(len(pager.taken))
    assert max(now - before for before, now in pairwise([0, *told])) == 300
    assert told[-1] == 1_000


def test_the_watchdog_fires_only_while_all_is_well_and_only_where_it_is_repeated() -> None:
    """It is the absence of this alert that pages when we are dead."""
    manager, pager = Recorder("manager"), Recorder("pager")
    manager.repeat_ms = 60_000
    house = House(manager, pager)
    house.starts_afresh()
    house.turn(120)
    assert manager.taken == []
    house.changes_world(is_well=True)
    house.turn(121)
    names = [notice.alert.identity["alertname"] for notice in manager.taken]
    assert names == ["StreamaeWatchdog"] * 3
    assert pager.taken == []


def test_receivers_that_do_not_group_get_one_message_of_a_dead_rack() -> None:
    """Five hundred keys at once are one message, what joins comes later, and there is one end."""
    chat = Recorder("chat")
    chat.groups_alerts = False
    house = House(chat)
    house.starts_afresh()
    house.happens(*(event(f"e-{number}") for number in range(500)))
    house.turn(29)
    assert chat.calls == []
    house.turn(10)
    assert [len(call) for call in chat.calls] == [500]
    house.happens(*(event(f"e-{number}", "closed", 1) for number in range(500)))
    house.turn(5)
    assert [len(call) for call in chat.calls] == [500, 500]


def test_what_was_refused_does_not_delay_the_end_of_its_group() -> None:
    """Of a bad alert no end will come: the message that all others are over does not wait for it."""

    class Chat(Recorder):
        groups_alerts = False

    house = House(Chat())
    house.starts_afresh()
    chat = house.receivers[0]
    chat.answer = lambda notice: Refused("template") if notice.alert.episode_id == "e-1" else Delivered()
    house.happens(OPENED, event("e-2"))
    house.turn(60)
    house.happens(event("e-2", "closed", 1))
    house.turn(3)
    assert chat.told == [("trigger", "e-2", 0), ("resolve", "e-2", 1)]


def test_what_only_goes_on_is_no_message_and_holds_nothing_up() -> None:
    """A chat is not told every window of an episode; the offsets behind those are committed all the same."""
    chat = Recorder("chat")
    chat.groups_alerts = False
    house = House(chat)
    house.starts_afresh()
    house.happens(event("e-1", severity=60.0))
    house.turn(40)
    house.happens(*(event("e-1", "updated", number, severity=61.0) for number in range(1, 10)))
    house.turn(400)
    assert [len(call) for call in chat.calls] == [1]
    assert house.broker.committed(house.group("chat"), HERE) == 10
    assert (house.couriers[0].report.waiting, house.couriers[0].report.oldest_ms) == (0, 0)
    house.happens(event("e-1", "updated", 10))
    house.turn(400)
    assert [len(call) for call in chat.calls] == [1, 1]


def test_what_is_long_over_is_forgotten_everywhere() -> None:
    """Redis does not grow with the years."""
    house = House(remember_ms=100_000)
    house.starts_afresh()
    house.happens(OPENED, CLOSED, event("e-2"))
    house.turn(5)
    assert set(house.texts["pager"].texts) == {"e-1", "e-2"}
    house.turn(300)
    assert set(house.texts["pager"].texts) == {"e-2"}


def test_a_clean_stop_records_and_commits_what_is_settled() -> None:
    """The next process has nothing to read again."""
    house = House()
    house.starts_afresh()
    house.happens(OPENED)
    house.turn(1)
    courier = house.couriers[0]
    courier.drain(house.now_ms)
    courier.close()
    assert house.broker.committed(house.group(), HERE) == 1
    assert set(house.texts["pager"].texts) == {"e-1"}
    assert house.receivers[0].is_closed
