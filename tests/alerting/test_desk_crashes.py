"""However sends, saves, commits and crashes fall: as many incidents as episodes, each in its order, none left open."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streamae.alerting.alert import Action, Notice
from streamae.alerting.change import read_change
from streamae.alerting.desk import Desk
from streamae.alerting.told import Told
from streamae.batches import Record
from tests.alerting.changes import EVERY, FORGETFUL, MINUTE, NEWEST, NOW_MS, OUTPUT, START_MS, Nature, record, rules

KEYS = ("a", "b")
CRITICAL_ONLY = ({"receiver": "pager", "classes": ("critical",), "states": ("ready",)},)


class Incidents:
    """A receiver with dedup keys: a trigger of what is not open is a new incident, the end of what is not is nothing."""

    def __init__(self) -> None:
        self.open: dict[str, str] = {}  # episodes by dedup key
        self.opened: Counter[str] = Counter()
        self.newest: Counter[str] = Counter()

    def take(self, notice: Notice) -> None:
        """Take a notice as it comes; none is older than what was told of its episode, none touches another one."""
        alert = notice.alert
        is_end = alert.ended_ms is not None
        assert alert.sequence >= self.newest[alert.episode_id]
        assert notice.action is Action.REPEAT or is_end == (notice.action is Action.RESOLVE)
        assert self.open.get(alert.dedup_key, alert.episode_id) == alert.episode_id
        self.newest[alert.episode_id] = alert.sequence
        if is_end:
            self.open.pop(alert.dedup_key, None)
        elif alert.dedup_key not in self.open:
            self.open[alert.dedup_key] = alert.episode_id
            self.opened[alert.episode_id] += 1


class Desks(RuleBasedStateMachine):
    """A topic that grows, one receiver, a desk that dies, and a store that gets what it is given in time or not."""

    nature: Nature = NEWEST
    routes: tuple[dict[str, Any], ...] = ()

    @initialize()
    def begin(self) -> None:
        """Start for the first time."""
        self.rules = rules(routes=self.routes)
        self.topic: list[Record] = []
        self.store: dict[str, Told] = {}
        self.committed = 0
        self.now_ms = NOW_MS
        self.running: dict[str, tuple[str, int, float]] = {}  # by key: episode, sequence, severity
        self.begun = 0
        self.wanted: set[str] = set()
        self.incidents = Incidents()
        self.got: dict[str, list[int]] = {}  # where each change is told
        self.start()

    def start(self) -> None:
        """Begin anew from what was saved and committed."""
        self.desk = Desk(self.nature, self.rules, list(self.store.values()))
        self.desk.start_at(OUTPUT, self.committed)
        self.position = self.committed
        self.end_at_start = len(self.topic)
        self.due: list[Notice] = []

    def publish(self, key: str, kind: str, episode: str, sequence: int, severity: float, state: str = "ready") -> None:
        """Append an event to the topic."""
        number = int(episode[1:])
        event = record(
            kind,
            sequence,
            episode,
            key=key,
            severity=severity,
            state=state,
            offset=len(self.topic),
            stamped_ms=self.now_ms,
            start_time_ms=START_MS + number * 1_000,
            end_time_ms=START_MS + number * 1_000 + sequence,
        )
        self.topic.append(event)
        if not self.routes or (severity >= 90 and state == "ready"):
            self.wanted.add(episode)

    @rule(
        key=st.sampled_from(KEYS), severity=st.sampled_from((10.0, 95.0)), state=st.sampled_from(("ready", "resuming"))
    )
    def open(self, key: str, severity: float, state: str) -> None:
        """Open an episode; one that was open is lost, and nobody will close it."""
        self.begun += 1
        episode = f"e{self.begun}"
        self.running[key] = episode, 0, severity
        self.publish(key, "opened", episode, 0, severity, state)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), more=st.sampled_from((0.0, 85.0)), state=st.sampled_from(("ready", "resuming")))
    def go_on(self, data: st.DataObject, more: float, state: str) -> None:
        """Update an episode, whose severity never falls."""
        key = data.draw(st.sampled_from(sorted(self.running)))
        episode, sequence, severity = self.running[key]
        self.running[key] = episode, sequence + 1, max(severity, more + 10.0)
        self.publish(key, "updated", episode, sequence + 1, max(severity, more + 10.0), state)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        """Close an episode."""
        key = data.draw(st.sampled_from(sorted(self.running)))
        episode, sequence, severity = self.running.pop(key)
        self.publish(key, "closed", episode, sequence + 1, severity)

    @precondition(lambda self: self.topic)
    @rule(data=st.data())
    def publish_again(self, data: st.DataObject) -> None:
        """Publish the end of the topic once more, with the same ids: a detector without transactions came back."""
        back = data.draw(st.integers(1, min(4, len(self.topic))))
        for one in self.topic[-back:]:
            again = Record(one.topic, one.partition, len(self.topic), self.now_ms, one.key, one.value, one.headers)
            self.topic.append(again)

    @rule(
        count=st.integers(0, 4),
        answers=st.lists(st.sampled_from((True, True, True, False)), max_size=4),
        then=st.lists(st.sampled_from(("save", "commit", "die")), max_size=4),
    )
    def turn(self, count: int, answers: list[bool], then: list[str]) -> None:
        """Read, ask, send, and then save, commit and die in any order, or not."""
        self.read(max(count, self.end_at_start - self.position))
        for is_answered in answers:
            self.ask()
            if self.due:
                self.send(is_answered, is_asked_again=False)
        for each in then:
            getattr(self, each)()

    def read(self, count: int) -> None:
        """Read on."""
        for one in self.topic[self.position : self.position + count]:
            self.desk.take(read_change(one), self.now_ms)
            self.position += 1

    @rule()
    def ask(self) -> None:
        """Ask what is due, maybe long before it is sent; never before the backlog is read."""
        self.due = self.desk.due(self.now_ms) if self.position >= self.end_at_start else []

    @precondition(lambda self: self.due)
    @rule(is_answered=st.booleans(), is_asked_again=st.booleans())
    def send(self, is_answered: bool, is_asked_again: bool) -> None:
        """Send the first that is due; the answer may be lost."""
        notice = self.due.pop(0)
        self.receive(notice)
        if is_answered:
            self.desk.delivered(notice, self.now_ms)
        else:
            self.desk.unanswered(notice)
        if is_asked_again:
            self.due = self.desk.due(self.now_ms)

    def receive(self, notice: Notice) -> None:
        """Be the receiver."""
        self.incidents.take(notice)

    def save(self) -> None:
        """Save what is new."""
        records = self.desk.unsaved()
        self.store.update({told.alert.episode_id: told for told in records})
        self.desk.saved(records)

    @rule()
    def save_and_die(self) -> None:
        """Die between the save and the word that it was done."""
        self.store.update({told.alert.episode_id: told for told in self.desk.unsaved()})
        self.start()

    def commit(self) -> None:
        """Commit what is settled."""
        settled = self.desk.settled(OUTPUT)
        if settled is not None and settled > self.committed:
            self.committed = settled

    def die(self) -> None:
        """Lose all that is in memory."""
        self.start()

    @rule(minutes=st.sampled_from((1, 20)))
    def wait(self, minutes: int) -> None:
        """Let time pass."""
        self.now_ms += minutes * MINUTE

    @invariant()
    def nothing_is_committed_that_was_not_read(self) -> None:
        """The settled part never lies beyond what was read."""
        settled = self.desk.settled(OUTPUT) if hasattr(self, "desk") else None
        assert settled is None or settled <= self.position

    def teardown(self) -> None:
        """Close all episodes, let everything go well, and count."""
        if not hasattr(self, "desk"):
            return
        for key in sorted(self.running):
            episode, sequence, severity = self.running.pop(key)
            self.publish(key, "closed", episode, sequence + 1, severity)
        for key in KEYS:  # those that were lost are ended by the next
            self.open(key, 95.0, "ready")
            episode, sequence, severity = self.running.pop(key)
            self.publish(key, "closed", episode, sequence + 1, severity)
        self.read(len(self.topic))
        self.save()
        while notices := [one for one in self.desk.due(self.now_ms) if one.action is not Action.REPEAT]:
            for notice in notices:
                self.receive(notice)
                self.desk.delivered(notice, self.now_ms)
            self.save()
        self.save()
        self.commit()
        self.check()

    def check(self) -> None:
        """As many incidents as episodes that a route leads here, none open, and the whole topic settled."""
        assert self.incidents.opened == Counter(self.wanted)
        assert not self.incidents.open
        assert self.committed == len(self.topic)
        assert not self.desk.waiting


class RoutedDesks(Desks):
    """The same where only some changes lead to the receiver."""

    routes = CRITICAL_ONLY


class ForgetfulDesks(Desks):
    """The same for a receiver that is told again what is open, and for a while what is over."""

    nature = FORGETFUL


class EveryChange(Desks):
    """A receiver that is told each change, and knows them by their ids."""

    nature = EVERY

    def receive(self, notice: Notice) -> None:
        """Keep what is new."""
        if notice.alert.close_reason == "superseded":
            return
        known = self.got.setdefault(notice.alert.episode_id, [])
        if notice.alert.sequence not in known:
            known.append(notice.alert.sequence)

    def check(self) -> None:
        """Each change was told, each episode in its order; only what comes after a successor began is not."""
        published: dict[str, set[int]] = {}
        for one in map(read_change, self.topic):
            published.setdefault(one.episode_id, set()).add(one.sequence)
        assert {episode: sorted(known) for episode, known in published.items()} == self.got
        assert self.committed == len(self.topic)


@pytest.mark.slow
@pytest.mark.parametrize("machine", [Desks, RoutedDesks, ForgetfulDesks, EveryChange])
def test_each_episode_is_one_incident_whatever_crashes(machine: type[Desks]) -> None:
    """As many incidents as episodes, none open, none lost, nothing older after newer, whatever dies when."""
    run_state_machine_as_test(machine, settings=settings(max_examples=100, stateful_step_count=30))
